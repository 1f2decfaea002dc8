"""Debian's interpreter on this machine: a few packages, unpacked, started through the dynamic loader among them.

So it runs on any Linux of its processor, whatever C library that has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from layerforge.errors import SourceError
from layerforge.lock import LockedDeb
from layerforge.oci import Digest
from layerforge.sources.interpreters.packages import PackageRoots
from layerforge.sources.interpreters.worker import Program

_PACKAGES = ("libc6", "libpython{}-minimal", "python{}-minimal", "libexpat1", "zlib1g")
"""What compiling takes: the interpreter, the part of the library that it starts with, and what it is linked to."""

LOADERS = {"amd64": "ld-linux-x86-64.so.2", "arm64": "ld-linux-aarch64.so.1", "armhf": "ld-linux-armhf.so.3"}
"""The dynamic loader of each architecture, by Debian's name for it."""


def choose_packages(debs: Iterable[LockedDeb], minor: str, architecture: str) -> tuple[LockedDeb, ...]:
    """What running the Python ``minor`` takes of ``debs``."""
    names = {name.format(minor) for name in _PACKAGES}
    return tuple(deb for deb in debs if deb.name in names and deb.architecture in (architecture, "all"))


def unpack_debian(
    roots: PackageRoots, debs: Iterable[LockedDeb], minor: str, architecture: str, find: Callable[[Digest], Path]
) -> Program:
    """The Python ``minor`` among ``debs``; ``architecture`` is Debian's name for this machine's processor.

    Raises:
        SourceError: a package is missing, or the packages hold no such Python.
    """
    chosen = _choose(debs, [name.format(minor) for name in _PACKAGES], architecture)
    folders = [roots.unpack(deb, find) for deb in chosen]
    return _make_program(folders, find_loader(folders, architecture), minor)


def unpack_added(
    roots: PackageRoots,
    debs: Iterable[LockedDeb],
    minor: str,
    architecture: str,
    find: Callable[[Digest], Path],
    libraries: Path,
) -> Program:
    """The same where ``debs`` are only what a base lacks; the rest is in ``libraries``, taken out of the base.

    Raises:
        SourceError: a package is missing, or the packages hold no such Python.
    """
    by_name = {deb.name: deb for deb in debs if deb.architecture in (architecture, "all")}
    names = [name.format(minor) for name in _PACKAGES]
    needed = [name for name in names if name in by_name or "python" in name]
    folders = [roots.unpack(deb, find) for deb in _choose(by_name.values(), needed, architecture)]
    own = find_loader(folders, architecture)
    loader = own[0] if own else str(libraries / LOADERS[architecture])
    return _make_program(folders, (loader, "--library-path", ":".join((*_libraries(folders), str(libraries)))), minor)


def _make_program(folders: Sequence[Path], loader: tuple[str, ...], minor: str) -> Program:
    program = next((found for folder in folders if (found := folder / f"usr/bin/python{minor}").exists()), None)
    if not loader or program is None:
        where = ", ".join(str(folder) for folder in folders)
        raise SourceError(f"Debian's packages hold no Python {minor} that runs here", where=where)
    library = next((folder for folder in folders if (folder / f"usr/lib/python{minor}").is_dir()), folders[0])
    return Program((*loader, str(program)), library / "usr")


def unpack_loader(
    roots: PackageRoots, debs: Iterable[LockedDeb], architecture: str, find: Callable[[Digest], Path]
) -> tuple[str, ...]:
    """The command that starts any program of Debian's, without the program: the loader with its C library.

    Raises:
        SourceError: there is none among ``debs``.
    """
    folders = [roots.unpack(deb, find) for deb in _choose(debs, ["libc6"], architecture)]
    loader = find_loader(folders, architecture)
    if not loader:
        raise SourceError("the package libc6 holds no dynamic loader that runs here", where=str(folders[0]))
    return loader


def find_loader(folders: Sequence[Path], architecture: str) -> tuple[str, ...]:
    """The loader in unpacked packages, told to look for libraries in all of them; nothing if there is none."""
    name = LOADERS[architecture]
    patterns = (f"usr/lib*/{name}", f"usr/lib/*/{name}")
    loader = next((found for pattern in patterns for folder in folders for found in folder.glob(pattern)), None)
    return (str(loader), "--library-path", ":".join(_libraries(folders))) if loader is not None else ()


def _libraries(folders: Sequence[Path]) -> list[str]:
    return [str(path) for folder in folders for path in sorted(folder.glob("usr/lib/*-linux-gnu*"))]


def _choose(debs: Iterable[LockedDeb], names: Sequence[str], architecture: str) -> list[LockedDeb]:
    by_name = {deb.name: deb for deb in debs if deb.architecture in (architecture, "all")}
    missing = [name for name in names if name not in by_name]
    if missing:
        raise SourceError(f"the lock lacks {', '.join(missing)}, without which bytecode cannot be compiled")
    return [by_name[name] for name in names]
