"""The bytes of a blob on their way out: from any position on, and the last of them only when all have been verified."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from layerforge.errors import SourceError

CHUNK = 1 << 20
"""Bytes read, hashed and sent at a time; two of these are held for each blob on its way."""


class Readable(Protocol):
    """A blob's bytes. Reading to the end verifies them."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Fill ``buffer`` from its start; 0 at the end."""

    def close(self) -> None:
        """Give back what it holds."""


class Feed:
    """The blob that ``open_blob`` opens, of ``size`` bytes. ``what`` names it in messages. Close it.

    It is read from front to back, so that it can be verified. Who asks for a position that has been passed makes it
    open the blob again. ``acknowledged`` is the most that a registry has said to have of it.
    """

    def __init__(self, open_blob: Callable[[], Readable], size: int, what: str) -> None:
        self._open_blob = open_blob
        self._size = size
        self._what = what
        self._reader: Readable | None = None
        self._position = 0
        self.acknowledged = 0

    def pieces(self, start: int, end: int) -> Iterator[memoryview]:
        """The bytes from ``start`` to ``end``; each piece is valid until the next but one is asked for.

        Raises:
            SourceError: the blob cannot be read, or is not what it should be. Its last byte has not been given then.
        """
        buffers = memoryview(bytearray(CHUNK)), memoryview(bytearray(CHUNK))
        try:
            self._seek(start, buffers[0])
            held = buffers[0][:0]
            turn = 0
            while self._position < end:
                buffer = buffers[turn & 1][: min(CHUNK, end - self._position)]
                if not self._fill(buffer):
                    raise SourceError(f"has fewer than {self._size:,} bytes", where=self._what)
                if held:
                    yield held
                held, turn = buffer, turn + 1
            if end == self._size:
                self._see_the_end(buffers[turn & 1])
            if held:
                yield held
        except OSError as error:
            raise SourceError(f"cannot be read: {error.strerror or error}", where=self._what) from error

    def close(self) -> None:
        """Close the reader, if one is open."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _seek(self, start: int, buffer: memoryview) -> None:
        if self._reader is None or self._position > start:
            self.close()
            self._reader, self._position = self._open_blob(), 0
        while self._position < start:
            if not self._fill(buffer[: min(CHUNK, start - self._position)]):
                raise SourceError(f"has fewer than {self._size:,} bytes", where=self._what)

    def _fill(self, buffer: memoryview) -> bool:
        """Read until ``buffer`` is full; False when the blob ends before."""
        assert self._reader is not None
        filled = 0
        while filled < len(buffer) and (count := self._reader.readinto(buffer[filled:])):
            filled += count
        self._position += filled
        return filled == len(buffer)

    def _see_the_end(self, buffer: memoryview) -> None:
        """Read on to where the reader compares the digest."""
        assert self._reader is not None
        if self._reader.readinto(buffer[:1]):
            raise SourceError(f"has more than {self._size:,} bytes", where=self._what)
