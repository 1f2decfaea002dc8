"""Several packages decompressed at once, ahead of the one reader that takes them in order."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from layerforge.errors import LayerError, VerificationError
from layerforge.oci import Digest
from layerforge.sources.debian.deb import ControlFile, DebFile
from layerforge.store import digest_file

_THREADS = max(2, min(4, os.cpu_count() or 1))
_AHEAD = 48 << 20
"""Bytes that wait in all packages together: with the threads' own state, the bound on memory."""
_OWN = 4 << 20
"""Bytes that the package being read may have waiting whatever the others have, so that it never waits for them."""


class DebSource(msgspec.Struct, frozen=True):
    """A package to be read: its digest, its name for messages, what finds the file, and its control files if known."""

    digest: Digest
    name: str
    find: Callable[[], Path]
    control: dict[str, ControlFile] | None = None


class _Shelf:
    """Counts the bytes that wait, and lets threads wait for room or for bytes."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.waiting = 0
        self.current: OpenedDeb | None = None
        self.is_stopped = False


class OpenedDeb:
    """One package whose data is being decompressed in another thread. Iterate ``data`` once, to its end."""

    def __init__(self, source: DebSource, shelf: _Shelf) -> None:
        self.digest = source.digest
        self.name = source.name
        self._source = source
        self._shelf = shelf
        self._chunks: deque[bytes] = deque()
        self._waiting = 0
        self._control: dict[str, ControlFile] | None = None
        self._error: BaseException | None = None
        self._is_complete = False

    def fill(self) -> None:
        """Decompress. An error is handed to the reader."""
        try:
            self._read(self._source.find())
        except BaseException as error:
            with self._shelf.changed:
                self._error = error
                self._shelf.changed.notify_all()

    def _read(self, path: Path) -> None:
        try:
            with DebFile(path, where=self.name, digest=self.digest, control=self._source.control) as deb:
                with self._shelf.changed:
                    self._control = deb.control
                    self._shelf.changed.notify_all()
                for chunk in deb.data_chunks():
                    if not self._put(chunk):
                        return
        except (LayerError, VerificationError) as error:
            if digest_file(path)[0] == self.digest:
                raise
            hint = f"remove {path} and build again"
            raise VerificationError("the downloaded package was damaged", where=self.name, hint=hint) from error
        with self._shelf.changed:
            self._is_complete = True
            self._shelf.changed.notify_all()

    def _put(self, chunk: bytes) -> bool:
        shelf = self._shelf
        with shelf.changed:
            shelf.changed.wait_for(lambda: shelf.is_stopped or self._has_room())
            if shelf.is_stopped:
                return False
            self._chunks.append(chunk)
            self._waiting += len(chunk)
            shelf.waiting += len(chunk)
            shelf.changed.notify_all()
        return True

    def _has_room(self) -> bool:
        return self._shelf.waiting < _AHEAD or (self._shelf.current is self and self._waiting < _OWN)

    @property
    def control(self) -> dict[str, ControlFile]:
        """The control files, waited for.

        Raises:
            LayerError: the package is damaged.
            SourceError: it cannot be had.
        """
        with self._shelf.changed:
            self._shelf.changed.wait_for(lambda: self._control is not None or self._error is not None)
        if self._control is None:
            assert self._error is not None
            raise self._error
        return self._control

    @property
    def data(self) -> Iterator[bytes]:
        """The chunks of ``data.tar``.

        Raises:
            LayerError: the package is damaged.
            VerificationError: it is not the one with its digest.
            SourceError: it cannot be had.
        """
        shelf = self._shelf
        while True:
            with shelf.changed:
                shelf.changed.wait_for(lambda: bool(self._chunks) or self._is_complete or self._error is not None)
                if not self._chunks:
                    break
                chunk = self._chunks.popleft()
                self._waiting -= len(chunk)
                shelf.waiting -= len(chunk)
                shelf.changed.notify_all()
            yield chunk
        if self._error is not None:
            raise self._error


def open_ahead(sources: Sequence[DebSource]) -> Generator[OpenedDeb, None, None]:
    """The packages of ``sources`` in order.

    The next ones are decompressed while the caller works on the current one, as far as memory allows.
    """
    shelf = _Shelf()
    opened = [OpenedDeb(source, shelf) for source in sources]
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="deb") as threads:
        try:
            for package in opened:
                threads.submit(package.fill)
            opened.reverse()
            while opened:
                package = opened.pop()
                with shelf.changed:
                    shelf.current = package
                    shelf.changed.notify_all()
                yield package
        finally:
            with shelf.changed:
                shelf.is_stopped = True
                shelf.changed.notify_all()
            threads.shutdown(cancel_futures=True)
