"""Frames, the one place that knows their form; both ends of the socket use it (the server's is ``frames.py``).

A frame is ``u32 length of the head, u64 length of the body, head, body``, big endian. The head is a JSON object whose
``kind`` says what it is, the body is bytes, where there are any a JSON value.
"""

from __future__ import annotations

import struct

PREFIX = struct.Struct(">IQ")
HEAD_LIMIT, BODY_LIMIT = 1 << 28, 1 << 33
LARGE = 1 << 16
"""From this size on a body is not copied to stand in one piece with its head."""

Frame = tuple[bytes, bytes]


class FrameError(Exception):
    """Bytes that are no frame: something has written to the socket that is not ours."""


def pack(head: bytes, body: bytes = b"") -> list[bytes]:
    """What to send for a frame, in as few pieces as make sense."""
    prefix = PREFIX.pack(len(head), len(body)) + head
    return [prefix + body] if len(body) < LARGE else [prefix, body]


class FrameBuffer:
    """Cuts bytes as they arrive into frames: receive into :meth:`room`, tell :meth:`filled`, then take :meth:`next`.

    It grows with what has arrived and not with what a frame announces, so a broken length takes no memory.
    """

    __slots__ = ("_data", "_end", "_start")

    def __init__(self) -> None:
        self._data = bytearray(LARGE)
        self._start = 0
        self._end = 0

    def room(self) -> memoryview:
        """Where the next bytes are to go; never empty."""
        if self._start == self._end:
            self._start = self._end = 0
            if len(self._data) > 4 * LARGE:
                self._data = bytearray(LARGE)
        held = self._end - self._start
        if self._needed() > len(self._data) - self._start or self._end == len(self._data):
            data = bytearray(max(LARGE, min(self._needed(), 4 * held), held + PREFIX.size))
            data[:held] = memoryview(self._data)[self._start : self._end]
            self._data, self._start, self._end = data, 0, held
        return memoryview(self._data)[self._end :]

    def filled(self, count: int) -> None:
        """``count`` bytes have arrived in the room."""
        self._end += count

    def next(self) -> Frame | None:
        """The head and the body of the next frame, or None if it has not arrived whole.

        Raises:
            FrameError: no frame has these lengths.
        """
        start = self._start + PREFIX.size
        if self._end < start:
            return None
        head_size, body_size = PREFIX.unpack_from(self._data, self._start)
        if head_size > HEAD_LIMIT or body_size > BODY_LIMIT:
            raise FrameError(f"a frame cannot have a head of {head_size} and a body of {body_size} bytes")
        body = start + head_size
        end = body + body_size
        if self._end < end:
            return None
        self._start = end
        view = memoryview(self._data)
        return bytes(view[start:body]), bytes(view[body:end])

    def _needed(self) -> int:
        """The size of the frame at the front, as far as it is known."""
        if self._end - self._start < PREFIX.size:
            return PREFIX.size
        head_size, body_size = PREFIX.unpack_from(self._data, self._start)
        return int(PREFIX.size + head_size + body_size)
