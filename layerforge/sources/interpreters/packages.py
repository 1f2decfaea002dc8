"""Debian packages unpacked for running, each in a folder of its own: while a layer reads it anyway, or by itself.

The interpreter that compiles an image's bytecode consists of packages that layers of the same image hold. To read them
twice took a tenth of all the processor time of a first build, before anything could be compiled.
"""

from __future__ import annotations

import functools
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from layerforge.lock import LockedDeb
from layerforge.oci import Digest
from layerforge.sources.debian.deb import DebEntry, DebFile, read_entries
from layerforge.sources.debian.placement import merge_path
from layerforge.sources.interpreters.roots import make_root, new_root, place_root
from layerforge.store import Store, translate_os_errors

_NEEDED = ("usr/bin/", "usr/lib/", "usr/lib64/")
_NEEDLESS = "/gconv/"
"""libc6's conversions of character sets other than UTF-8: 250 files."""


class PackageRoots:
    """The unpacked packages in ``store``, whole or not there. Safe to use from several threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._guard = threading.Lock()
        self._expected: dict[Digest, threading.Event] = {}

    def unpack(self, deb: LockedDeb, find: Callable[[Digest], Path]) -> Path:
        """The folder with ``deb`` in it. Where :meth:`expect` announced it, this waits for it to come by.

        Raises:
            LayerError: the package is damaged or unsafe.
            StoreError: the disk is full.
        """
        with self._guard:
            event = self._expected.get(deb.digest)
        if event is not None:
            event.wait()
        return make_root(self._store, _name(deb.digest), lambda root: _extract(find(deb.digest), root, deb.name))

    @contextmanager
    def expect(self, debs: Iterable[Digest]) -> Iterator[Callable[[Digest], Unpacking | None]]:
        """Announce that ``debs`` will be read, and give what begins to unpack one of them on the way.

        That gives None for a package that is not among ``debs`` or unpacked already. Whoever waits for one that was
        not read when the block ends unpacks it by itself.
        """
        events = {}
        with self._guard:
            for digest in debs:
                if digest not in self._expected and not (self._store.root / "roots" / _name(digest)).is_dir():
                    events[digest] = self._expected[digest] = threading.Event()
        fresh: list[Path] = []

        def begin(digest: Digest) -> Unpacking | None:
            if digest not in events:
                return None
            fresh.append(new_root(self._store))
            return Unpacking(fresh[-1], functools.partial(self._finish, digest))

        try:
            yield begin
        finally:
            for digest in events:
                self._forget(digest)
            for folder in fresh:
                shutil.rmtree(folder, ignore_errors=True)

    def _finish(self, digest: Digest, fresh: Path) -> None:
        place_root(self._store, _name(digest), fresh)
        self._forget(digest)

    def _forget(self, digest: Digest) -> None:
        with self._guard:
            event = self._expected.pop(digest, None)
        if event is not None:
            event.set()


class Unpacking:
    """One package on its way into ``folder``; ``done`` is called with that when it is there."""

    def __init__(self, folder: Path, done: Callable[[Path], None]) -> None:
        self._folder = folder
        self._done = done

    def add(self, entry: DebEntry, path: str, content: Iterable[bytes]) -> Iterable[bytes]:
        """Unpack ``entry``, which lies at ``path`` in our roots.

        Its content is what is returned, which must be read to its end in any case.

        Raises:
            StoreError: the disk is full.
        """
        if not path.startswith(_NEEDED) or _NEEDLESS in path:
            return content
        target = self._folder / path
        with translate_os_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            if entry.kind == "dir":
                target.mkdir(exist_ok=True)
            elif entry.kind == "symlink" and not entry.target.startswith("/"):
                target.symlink_to(entry.target)
        return _write(target, content, entry.mode) if entry.kind == "file" else content

    def finish(self) -> None:
        """All entries have passed."""
        self._done(self._folder)


def _write(target: Path, content: Iterable[bytes], mode: int) -> Iterator[bytes]:
    with translate_os_errors(target), target.open("xb") as file:
        for chunk in content:
            file.write(chunk)
            yield chunk
    target.chmod(0o755 if mode & 0o111 else 0o644)


def _extract(path: Path, root: Path, name: str) -> None:
    unpacking = Unpacking(root, lambda _: None)
    with DebFile(path, where=f"package {name}") as deb:
        for entry, content in read_entries(deb.data_chunks(), where=f"package {name}"):
            for _ in unpacking.add(entry, merge_path(entry), content):
                pass


def _name(digest: Digest) -> str:
    return f"package-{digest.hex[:32]}"
