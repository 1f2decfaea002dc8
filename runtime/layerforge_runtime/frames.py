"""What the server and its worker say to each other, and the server's end of the socket.

A frame is ``u32 length of the head, u64 length of the body, head, body``, big endian; the head is a JSON object whose
``kind`` says what it is, the body is bytes, where there is any a JSON value. The worker's end is
``isolated/layerforge_worker/channel.py``.

To the worker: ``predict`` (body: the inputs), ``cancel``, ``stop``. To the server: the structs below.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

PREFIX = struct.Struct(">IQ")

Files = dict[str, tuple[str, bool]]
"""Token in the JSON to (path of the file, whether to remove it once it is read)."""


class Ready(msgspec.Struct, frozen=True, tag_field="kind", tag="ready"):
    """Setup is done. ``fields``: "path", "file" or "secret" by the name of the input; ``slots``: at the same time."""

    fields: dict[str, str]
    slots: int
    asynchronous: bool
    streaming: bool
    python: str
    sdk: str


class SetupFailed(msgspec.Struct, frozen=True, tag_field="kind", tag="setup_failed"):
    """The model could not be loaded, or its ``setup()`` raised."""

    error: str


class Output(msgspec.Struct, frozen=True, tag_field="kind", tag="output"):
    """One of several outputs; the body is its JSON."""

    id: str
    files: Files = {}


class Log(msgspec.Struct, frozen=True, tag_field="kind", tag="log"):
    """Whole lines that a prediction printed, where the pipes cannot tell whose they are."""

    id: str
    source: str
    data: str


class Metric(msgspec.Struct, frozen=True, tag_field="kind", tag="metric"):
    """A metric was recorded; None deletes it. ``mode``: "replace", "incr" or "append"."""

    id: str
    name: str
    value: Any
    mode: str


class Done(msgspec.Struct, frozen=True, tag_field="kind", tag="done"):
    """A prediction succeeded. The body is the output's JSON, unless the outputs came one by one (``stream``)."""

    id: str
    stream: bool = False
    files: Files = {}


class Failed(msgspec.Struct, frozen=True, tag_field="kind", tag="failed"):
    """A prediction raised."""

    id: str
    error: str


class Canceled(msgspec.Struct, frozen=True, tag_field="kind", tag="canceled"):
    """A prediction was stopped because the server asked for it."""

    id: str


Message = Ready | SetupFailed | Output | Log | Metric | Done | Failed | Canceled

_decode_head = msgspec.json.Decoder(Message).decode
_encode_head = msgspec.json.Encoder().encode


class FrameError(Exception):
    """The worker sent bytes that are no frame: something in it has written to our socket."""


class FrameBuffer:
    """Bytes as they arrive, cut into frames."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> list[tuple[Message, bytes]]:
        """Take ``data``, and return the frames that are complete now.

        Raises:
            FrameError: a head is not one of the messages.
        """
        buffer = self._data
        buffer += data
        frames = []
        position = 0
        while len(buffer) - position >= PREFIX.size:
            head_size, body_size = PREFIX.unpack_from(buffer, position)
            start = position + PREFIX.size
            end = start + head_size + body_size
            if head_size > 1 << 28:
                raise FrameError(f"a frame's head cannot have {head_size} bytes")
            if len(buffer) < end:
                break
            body = start + head_size
            try:
                message = _decode_head(memoryview(buffer)[start:body])
            except msgspec.DecodeError as error:
                raise FrameError(f"a frame's head cannot be read: {error}") from error
            frames.append((message, bytes(memoryview(buffer)[body:end])))
            position = end
        if position:
            del buffer[:position]
        return frames


class Channel:
    """The server's end of the socket, on the event loop.

    Args:
        connection: the socket; becomes non-blocking and is owned from here on.
        receive: called with each message and its body.
        broken: called once, with what the worker did, when nothing more will come.
    """

    def __init__(
        self,
        connection: socket.socket,
        receive: Callable[[Message, bytes], None],
        broken: Callable[[str], None],
    ) -> None:
        connection.setblocking(False)
        self._socket = connection
        self._receive = receive
        self._broken = broken
        self._buffer = FrameBuffer()
        self._unsent: deque[memoryview] = deque()
        self._waiting = False
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(connection.fileno(), self._read)

    def send(self, kind: str, body: bytes = b"", **head: Any) -> None:
        """Send a frame; what the socket does not take at once is sent later, in order."""
        packed = _encode_head({"kind": kind, **head})
        prefix = PREFIX.pack(len(packed), len(body)) + packed
        parts = [prefix + body] if len(body) < 65536 else [prefix, body]
        idle = not self._unsent
        self._unsent.extend(map(memoryview, parts))
        if idle:
            self._write()

    def _write(self) -> None:
        try:
            while self._unsent:
                sent = self._socket.send(self._unsent[0])
                if sent == len(self._unsent[0]):
                    self._unsent.popleft()
                else:
                    self._unsent[0] = self._unsent[0][sent:]
        except BlockingIOError:
            if not self._waiting:
                self._loop.add_writer(self._socket.fileno(), self._write)
                self._waiting = True
            return
        except OSError:
            self._unsent.clear()  # the worker is gone; _read and the supervisor learn it too
        if self._waiting:
            self._loop.remove_writer(self._socket.fileno())
            self._waiting = False

    def drain(self) -> None:
        """Take everything that has arrived; for when the worker has ended."""
        while self._read():
            pass

    def _read(self) -> bool:
        try:
            data = self._socket.recv(1 << 20)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            return self._stop("closed its connection to the server")
        try:
            frames = self._buffer.feed(data)
        except FrameError as error:
            return self._stop(f"broke its connection to the server: {error}")
        for message, body in frames:
            self._receive(message, body)
        return True

    def _stop(self, reason: str) -> bool:
        if self._socket.fileno() >= 0 and self._loop.remove_reader(self._socket.fileno()):
            self._broken(reason)
        return False

    def close(self) -> None:
        """Close the socket, which ends an idle worker."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
            self._loop.remove_writer(self._socket.fileno())
            self._socket.close()
