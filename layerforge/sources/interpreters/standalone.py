"""A standalone build on this machine: what compiling needs of its archive, unpacked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

from layerforge.errors import SourceError
from layerforge.lock import LockedDeb, LockedFile
from layerforge.oci import Digest
from layerforge.sources.interpreters.debian import unpack_loader
from layerforge.sources.interpreters.packages import PackageRoots
from layerforge.sources.interpreters.roots import make_root
from layerforge.sources.interpreters.worker import Program, runs
from layerforge.sources.pythons.entries import read_archive
from layerforge.store import Store

_NEEDED = ("bin/python3", "lib/libpython", "lib/python3", "lib/lib")


def unpack_standalone(
    store: Store,
    archive: LockedFile,
    minor: str,
    debs: Iterable[LockedDeb],
    architecture: str,
    find: Callable[[Digest], Path],
) -> Program:
    """The Python ``minor`` of ``archive``, which is for this machine's processor.

    It is started as it is where that works; where this machine has an older C library, or another one, through the
    loader of the libc6 among ``debs``.

    Raises:
        SourceError: it does not run here, or the archive holds no such Python.
        LayerError: the archive is damaged or unsafe.
    """
    root = make_root(
        store,
        f"standalone-python-{minor}-{archive.digest.short}",
        lambda folder: _extract(find(archive.digest), folder, archive.filename),
    )
    path = root / f"bin/python{minor}"
    if not path.exists():
        raise SourceError(f"the archive holds no Python {minor}", where=archive.filename)
    program = Program((str(path),), root)
    if runs(program):
        return program
    others = [deb for deb in debs if deb.name == "libc6" and deb.architecture == architecture]
    if others:
        loader, option, folders = unpack_loader(PackageRoots(store), others, architecture, find)
        program = Program((loader, option, f"{folders}:{root}/lib", str(path)), root)
        if runs(program):
            return program
    raise SourceError(f"the standalone build of Python {minor} does not run on this machine", where=archive.filename)


def _extract(path: Path, folder: Path, name: str) -> None:
    with closing(read_archive(path, name)) as entries:
        for entry, content in entries:
            target = folder / entry.path
            if not entry.path.startswith(_NEEDED):
                continue
            if entry.kind == "dir":
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            if entry.kind == "symlink":
                target.symlink_to(entry.target)
            elif entry.kind == "hardlink":
                target.hardlink_to(folder / entry.target)
            else:
                with target.open("xb") as file:
                    for chunk in content:
                        file.write(chunk)
                target.chmod(0o755 if entry.executable else 0o644)
