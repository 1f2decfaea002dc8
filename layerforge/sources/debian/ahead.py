"""Several packages decompressed at once, ahead of the one reader that takes them in order."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from layerforge.sources.debian.deb import ControlFile, DebFile

_THREADS = 2
_QUEUED = 12
"""Chunks (of about a MiB) that wait per package: with the threads, the bound on memory."""


class OpenedDeb:
    """One package whose data is being decompressed in another thread. Iterate ``data`` once, to its end."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.control: Future[dict[str, ControlFile]] = Future()
        self._chunks: queue.Queue[bytes | BaseException | None] = queue.Queue(_QUEUED)

    def fill(self, find: Callable[[], Path], stop: threading.Event) -> None:
        """Decompress into the queue. An error is handed to the reader."""
        try:
            with DebFile(find(), where=self.name) as deb:
                self.control.set_result(deb.control)
                for chunk in deb.data_chunks():
                    self._put(chunk, stop)
            self._put(None, stop)
        except BaseException as error:
            if not self.control.done():
                self.control.set_exception(error)
            self._put(error, stop)

    def _put(self, item: bytes | BaseException | None, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                self._chunks.put(item, timeout=0.2)
                return
            except queue.Full:
                continue

    @property
    def data(self) -> Iterator[bytes]:
        """The chunks of ``data.tar``.

        Raises:
            LayerError: the package is damaged.
            SourceError: it cannot be had.
        """
        while True:
            item = self._chunks.get()
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item


def open_ahead(sources: Sequence[tuple[str, Callable[[], Path]]]) -> Generator[OpenedDeb, None, None]:
    """The packages of ``sources`` (a name for messages, and what finds the file), in order.

    The next ones are found and decompressed while the caller works on the current one.
    """
    stop = threading.Event()
    waiting: deque[OpenedDeb] = deque()
    rest = iter(sources)
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="deb") as threads:
        try:
            while True:
                while len(waiting) < _THREADS and (source := next(rest, None)) is not None:
                    opened = OpenedDeb(source[0])
                    threads.submit(opened.fill, source[1], stop)
                    waiting.append(opened)
                if not waiting:
                    return
                yield waiting.popleft()
        finally:
            stop.set()
