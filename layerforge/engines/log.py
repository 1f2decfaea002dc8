"""The output of a container, read so that it never blocks and kept so that memory stays bounded."""

from __future__ import annotations

import codecs
import threading
from collections.abc import Callable
from typing import BinaryIO

LIMIT = 1 << 20
"""Characters kept."""


class LogTail:
    """Reads ``stream`` to its end in a thread of its own and keeps the last ``limit`` characters."""

    def __init__(self, stream: BinaryIO, limit: int = LIMIT) -> None:
        self._stream = stream
        self._limit = limit
        self._pieces: list[str] = []
        self._kept = 0
        self._sinks: list[Callable[[str], object]] = []
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._pump, name="container log", daemon=True)
        self._thread.start()

    def text(self) -> str:
        """What is kept."""
        with self._lock:
            return "".join(self._pieces)[-self._limit :]

    def follow(self, sink: Callable[[str], object]) -> None:
        """Give ``sink`` what is kept, and everything from now on. A sink that raises is called no more."""
        with self._lock:
            if self._pieces:
                sink("".join(self._pieces)[-self._limit :])
            self._sinks.append(sink)

    def join(self, timeout: float) -> None:
        """Wait up to ``timeout`` seconds for the end of the stream, so that nothing written before it is missed."""
        self._thread.join(timeout)

    def _pump(self) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        read = getattr(self._stream, "read1", self._stream.read)
        with self._stream:
            while data := self._read(read):
                self._take(decoder.decode(data))
        self._take(decoder.decode(b"", final=True))

    def _read(self, read: Callable[[int], bytes]) -> bytes:
        try:
            return read(1 << 16)
        except (OSError, ValueError):  # closed under us
            return b""

    def _take(self, text: str) -> None:
        if not text:
            return
        with self._lock:
            self._pieces.append(text)
            self._kept += len(text)
            if self._kept > 2 * self._limit:
                self._pieces = ["".join(self._pieces)[-self._limit :]]
                self._kept = len(self._pieces[0])
            for sink in tuple(self._sinks):
                try:
                    sink(text)
                except Exception:
                    self._sinks.remove(sink)
