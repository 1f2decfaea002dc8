"""Debian's interpreter on this machine: a few packages, unpacked, started through the dynamic loader among them.

So it runs on any Linux of its processor, whatever C library that has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from layerforge.errors import SourceError
from layerforge.lock import LockedDeb
from layerforge.oci import Digest, encode
from layerforge.sources.debian.deb import DebFile, read_entries
from layerforge.sources.debian.placement import merge_path
from layerforge.sources.interpreters.roots import make_root
from layerforge.sources.interpreters.worker import Program
from layerforge.store import Store

_PACKAGES = ("libc6", "libpython{}-minimal", "python{}-minimal", "libexpat1", "zlib1g")
"""What compiling takes: the interpreter, the part of the library that it starts with, and what it is linked to."""

LOADERS = {"amd64": "ld-linux-x86-64.so.2", "arm64": "ld-linux-aarch64.so.1", "armhf": "ld-linux-armhf.so.3"}
"""The dynamic loader of each architecture, by Debian's name for it."""


def unpack_debian(
    store: Store, debs: Iterable[LockedDeb], minor: str, architecture: str, find: Callable[[Digest], Path]
) -> Program:
    """The Python ``minor`` among ``debs``; ``architecture`` is Debian's name for this machine's processor.

    Raises:
        SourceError: a package is missing, or the packages hold no such Python.
    """
    chosen = _choose(debs, [name.format(minor) for name in _PACKAGES], architecture)
    root = _unpack(store, chosen, f"python-{minor}", find)
    return _make_program(root, find_loader(root, architecture), minor)


def unpack_added(
    store: Store,
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
    root = _unpack(store, _choose(by_name.values(), needed, architecture), f"added-python-{minor}", find)
    own = find_loader(root, architecture)
    folders = [str(path) for path in sorted(root.glob("usr/lib/*-linux-gnu*"))]
    loader = own[0] if own else str(libraries / LOADERS[architecture])
    return _make_program(root, (loader, "--library-path", ":".join((*folders, str(libraries)))), minor)


def _make_program(root: Path, loader: tuple[str, ...], minor: str) -> Program:
    program = root / f"usr/bin/python{minor}"
    if not loader or not program.exists():
        raise SourceError(f"Debian's packages hold no Python {minor} that runs here", where=str(root))
    return Program((*loader, str(program)), root / "usr")


def unpack_loader(
    store: Store, debs: Iterable[LockedDeb], architecture: str, find: Callable[[Digest], Path]
) -> tuple[str, ...]:
    """The command that starts any program of Debian's, without the program: the loader with its C library.

    Raises:
        SourceError: there is none among ``debs``.
    """
    root = _unpack(store, _choose(debs, ["libc6"], architecture), "libc", find)
    loader = find_loader(root, architecture)
    if not loader:
        raise SourceError("the package libc6 holds no dynamic loader that runs here", where=str(root))
    return loader


def find_loader(root: Path, architecture: str) -> tuple[str, ...]:
    """The loader in an unpacked root, told to look for libraries there; nothing if there is none."""
    name = LOADERS[architecture]
    loader = next(root.glob(f"usr/lib*/{name}"), None) or next(root.glob(f"usr/lib/*/{name}"), None)
    folders = ":".join(str(path) for path in sorted(root.glob("usr/lib/*-linux-gnu*")))
    return (str(loader), "--library-path", folders) if loader is not None else ()


def _choose(debs: Iterable[LockedDeb], names: Sequence[str], architecture: str) -> list[LockedDeb]:
    by_name = {deb.name: deb for deb in debs if deb.architecture in (architecture, "all")}
    missing = [name for name in names if name not in by_name]
    if missing:
        raise SourceError(f"the lock lacks {', '.join(missing)}, without which bytecode cannot be compiled")
    return [by_name[name] for name in names]


def _unpack(store: Store, debs: Sequence[LockedDeb], name: str, find: Callable[[Digest], Path]) -> Path:
    key = Digest.of(encode([str(deb.digest) for deb in debs]))

    def fill(folder: Path) -> None:
        for deb in debs:
            _extract(find(deb.digest), folder, deb.name)

    return make_root(store, f"{name}-{key.short}", fill)


def _extract(path: Path, root: Path, name: str) -> None:
    """Unpack what running needs: programs and libraries. Links are kept, for file names contain the versions."""
    with DebFile(path, where=f"package {name}") as deb:
        for entry, content in read_entries(deb.data_chunks(), where=f"package {name}"):
            target = root / merge_path(entry)
            if not merge_path(entry).startswith(("usr/bin/", "usr/lib/", "usr/lib64/")):
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            if entry.kind == "dir":
                target.mkdir(exist_ok=True)
            elif entry.kind == "symlink":
                if not entry.target.startswith("/"):
                    target.symlink_to(entry.target)
            elif entry.kind == "file":
                with target.open("xb") as file:
                    for chunk in content:
                        file.write(chunk)
                target.chmod(0o755 if entry.mode & 0o111 else 0o644)
