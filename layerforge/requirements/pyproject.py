"""The requirements of a ``pyproject.toml``, or of the ``uv.lock`` beside one, when cog.yaml says so.

Sources: https://packaging.python.org/en/latest/specifications/pyproject-toml/ and
https://packaging.python.org/en/latest/specifications/dependency-groups/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tomli

from layerforge.errors import ConfigError, Problem
from layerforge.requirements.places import join
from layerforge.requirements.reader import ProjectFiles, Reader
from layerforge.requirements.values import Requirements, normalise_name

UV_LOCK = "uv.lock"


def parse_project(
    path: str, extras: Sequence[str], groups: Sequence[str], files: ProjectFiles, named: tuple[str, int]
) -> Requirements:
    """What the ``pyproject.toml`` or ``uv.lock`` at ``path`` asks for, with ``extras`` and dependency ``groups``.

    ``named`` is the file and line that name it. A project that is a package is installed as with ``-e .``.

    Raises:
        ConfigError: it cannot be read or understood, or has no such extra or group.
    """
    if path.rpartition("/")[2] == UV_LOCK:
        for needed in (path, join(path, "pyproject.toml")):
            if files.kind(needed) != "file":
                hint = "run `uv lock`" if needed == path else "uv.lock stands beside the pyproject.toml that it is of"
                raise ConfigError((Problem(*named, f"{needed}: there is no such file", hint),))
        return Requirements(frozen=path, extras=tuple(extras), groups=tuple(groups))
    try:
        text = files.read(path)
        document = tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        raise ConfigError((Problem(path, error.lineno, f"is not valid TOML: {error.msg}"),)) from error
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError((Problem(*named, f"{path} cannot be read: {reason}"),)) from error
    reader = Reader(files)
    lines = text.splitlines()
    for requirement in _list_requirements(document, path, extras, groups, named):
        number = next((n for n, line in enumerate(lines, 1) if requirement in line), 0)
        reader.take(requirement, path, number)
    if "build-system" in document and document.get("tool", {}).get("uv", {}).get("package") is not False:
        reader.take(f"-e ./{path.rpartition('/')[0] or '.'}", path, 0)
    return reader.finish()


def _list_requirements(
    document: Mapping[str, Any], path: str, extras: Sequence[str], groups: Sequence[str], named: tuple[str, int]
) -> Iterator[str]:
    project = document.get("project", {})
    if not isinstance(project, dict):
        raise ConfigError((Problem(path, 0, "[project] is no table"),))
    if "dependencies" in project.get("dynamic", ()):
        hint = "list them under [project] dependencies, or lock with uv and name uv.lock"
        raise ConfigError((Problem(path, 0, "the dependencies are dynamic: only a build could tell them", hint),))
    if sources := document.get("tool", {}).get("uv", {}).get("sources"):
        hint = "run `uv lock`, and name uv.lock in layerforge.packages"
        message = f"[tool.uv.sources] says where {', '.join(sorted(sources))} comes from, which only uv understands"
        raise ConfigError((Problem(path, 0, message, hint),))
    yield from _strings(project.get("dependencies", []), path, "project.dependencies")
    optional = {normalise_name(name): value for name, value in project.get("optional-dependencies", {}).items()}
    for extra in extras:
        if normalise_name(extra) not in optional:
            known = ", ".join(sorted(optional)) or "none"
            raise ConfigError((Problem(*named, f"{path} has no extra {extra!r}; there are: {known}"),))
        yield from _strings(optional[normalise_name(extra)], path, f"the extra {extra}")
    for group in groups:
        yield from _expand_group(document.get("dependency-groups", {}), group, path, named, ())


def _expand_group(
    table: Mapping[str, Any], group: str, path: str, named: tuple[str, int], above: tuple[str, ...]
) -> Iterator[str]:
    known = {normalise_name(name): value for name, value in table.items()}
    name = normalise_name(group)
    if name in above:
        raise ConfigError((Problem(path, 0, f"the dependency group {group!r} includes itself"),))
    if name not in known:
        listed = ", ".join(sorted(known)) or "none"
        raise ConfigError((Problem(*named, f"{path} has no dependency group {group!r}; there are: {listed}"),))
    for item in known[name]:
        if isinstance(item, dict) and isinstance(item.get("include-group"), str):
            yield from _expand_group(table, item["include-group"], path, named, (*above, name))
        else:
            yield from _strings([item], path, f"the dependency group {group}")


def _strings(value: Any, path: str, what: str) -> Iterator[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ConfigError((Problem(path, 0, f"{what} is no list of requirements"),))
    yield from value
