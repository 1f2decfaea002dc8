"""What a source tree says about how it is to be built. Source: PEP 518 and PEP 517."""

from __future__ import annotations

from pathlib import Path

import msgspec
import tomli

from layerforge.errors import ResolveError

_LEGACY = "setuptools.build_meta:__legacy__"
_DEFAULT_REQUIRES = ("setuptools>=40.8.0",)


class BuildSystem(msgspec.Struct, frozen=True):
    """The table ``build-system`` of ``pyproject.toml``, or what stands for it."""

    backend: str = _LEGACY
    requires: tuple[str, ...] = _DEFAULT_REQUIRES
    backend_path: tuple[str, ...] = ()


def read_build_system(source: Path, what: str, where: str) -> BuildSystem:
    """How the source in the folder ``source``, called ``what`` in messages, is built.

    Raises:
        ResolveError: it is no Python package, or its ``pyproject.toml`` cannot be understood.
    """
    path = source / "pyproject.toml"
    if not path.is_file():
        if (source / "setup.py").is_file():
            return BuildSystem()
        hint = "name the folder of the package with #subdirectory=…" if where else ""
        raise ResolveError(f"{what} has neither pyproject.toml nor setup.py", where=where, hint=hint)
    try:
        table = tomli.loads(path.read_text("utf-8")).get("build-system")
        if table is None:
            return BuildSystem()
        found = msgspec.convert(table, _Table)
    except (tomli.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError, OSError) as error:
        raise ResolveError(f"the pyproject.toml of {what} cannot be understood: {error}", where=where) from error
    for folder in found.backend_path:
        if folder.startswith("/") or ".." in folder.split("/"):
            raise ResolveError(f"the backend-path of {what} leads out of it ({folder})", where=where)
    return BuildSystem(found.build_backend or _LEGACY, found.requires, found.backend_path)


class _Table(msgspec.Struct, rename="kebab"):
    requires: tuple[str, ...] = _DEFAULT_REQUIRES
    build_backend: str = ""
    backend_path: tuple[str, ...] = ()
