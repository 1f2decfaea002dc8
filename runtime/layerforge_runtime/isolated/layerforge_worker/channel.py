"""Frames over the socket to the server: ``u32 length of the head, u64 length of the body, head, body``, big endian.

The head is a JSON object whose ``kind`` says what it is; the body is bytes, mostly a JSON value. The other end is
``layerforge_runtime/frames.py``, which has the list of kinds.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
from typing import Any

_PREFIX = struct.Struct(">IQ")

Frame = tuple[dict[str, Any], bytes]


class Channel:
    """The worker's end of the socket. Any thread may send; one receives."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._lock = threading.Lock()
        self._pending = bytearray()

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, kind: str, body: bytes = b"", **head: Any) -> None:
        """Send one frame whole; blocks while the socket is full.

        Raises:
            TypeError, ValueError: the head has no JSON form; nothing was sent.
        """
        text = json.dumps({"kind": kind, **head}, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        packed = text.encode("utf-8", "replace")  # half a surrogate pair has no UTF-8
        prefix = _PREFIX.pack(len(packed), len(body)) + packed
        with self._lock:
            if len(body) < 65536:
                self._socket.sendall(prefix + body)
            else:
                self._socket.sendall(prefix)
                self._socket.sendall(body)

    def receive(self) -> Frame | None:
        """Wait for the next frame; None when the server is gone."""
        prefix = self._read(_PREFIX.size)
        if prefix is None:
            return None
        head_size, body_size = _PREFIX.unpack(prefix)
        content = self._read(head_size + body_size)
        return None if content is None else (json.loads(content[:head_size]), bytes(content[head_size:]))

    def _read(self, size: int) -> bytes | bytearray | None:
        first = self._socket.recv(size)
        if len(first) == size:
            return first
        content = bytearray(size)
        content[: len(first)] = first
        view, position = memoryview(content), len(first)
        while position < size:
            received = self._socket.recv_into(view[position:])
            if not received:
                return None
            position += received
        return content

    def receive_ready(self) -> list[Frame] | None:
        """The frames that have arrived, without waiting; None when the server is gone and all were taken."""
        closed = False
        try:
            while chunk := self._socket.recv(1 << 20, socket.MSG_DONTWAIT):
                self._pending += chunk
            closed = True
        except BlockingIOError:
            pass
        frames = []
        while len(self._pending) >= _PREFIX.size:
            head_size, body_size = _PREFIX.unpack_from(self._pending)
            start, end = _PREFIX.size + head_size, _PREFIX.size + head_size + body_size
            if len(self._pending) < end:
                break
            frames.append((json.loads(self._pending[_PREFIX.size : start]), bytes(self._pending[start:end])))
            del self._pending[:end]
        return None if closed and not frames else frames

    def close(self) -> None:
        self._socket.close()
