"""What the server and its worker say to each other, and the server's end of the socket.

The form of a frame is in ``isolated/layerforge_worker/framing.py``, the worker's end in ``channel.py`` beside it.

To the worker: ``predict`` (body: the inputs), ``cancel``, ``healthcheck``, ``stop``. To the server: the structs below.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec
from layerforge_worker.framing import FrameBuffer, FrameError, pack

Files = dict[str, tuple[str, bool]]
"""Token in the JSON to (path of the file, whether to remove it once it is read)."""


class Ready(msgspec.Struct, frozen=True, tag_field="kind", tag="ready"):
    """Setup is done. ``fields``: "path", "file" or "secret" by the name of the input; ``slots``: at the same time."""

    fields: dict[str, str]
    slots: int
    asynchronous: bool
    streaming: bool
    healthcheck: bool
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


class Health(msgspec.Struct, frozen=True, tag_field="kind", tag="healthcheck"):
    """The answer to a ``healthcheck``; ``error`` is empty if the model is well."""

    id: str
    error: str


class Canceled(msgspec.Struct, frozen=True, tag_field="kind", tag="canceled"):
    """A prediction was stopped because the server asked for it."""

    id: str


Message = Ready | SetupFailed | Health | Output | Log | Metric | Done | Failed | Canceled

_decode_head = msgspec.json.Decoder(Message).decode
_encode_head = msgspec.json.Encoder().encode


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
        self._gathered = bytearray()
        self._waiting = False
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(connection.fileno(), self._read)

    def send(self, kind: str, body: bytes = b"", *, gather: bool = False, **head: Any) -> None:
        """Send a frame; what the socket does not take at once is sent later, in order; nothing if it is closed.

        With ``gather`` it waits for others that are sent in this round of the event loop: one system call, and one
        wake-up of the worker, for all of them.
        """
        if self._socket.fileno() < 0:
            return
        parts = pack(_encode_head({"kind": kind, **head}), body)
        if gather and len(parts) == 1 and not self._unsent:
            if not self._gathered:
                self._loop.call_soon(self._flush)
            self._gathered += parts[0]
            return
        self._take_gathered()
        self._unsent.extend(map(memoryview, parts))
        if not self._waiting:
            self._write()

    def _flush(self) -> None:
        self._take_gathered()
        if self._unsent and not self._waiting:
            self._write()

    def _take_gathered(self) -> None:
        if self._gathered:
            self._unsent.append(memoryview(self._gathered))
            self._gathered = bytearray()

    def _write(self) -> None:
        if self._socket.fileno() < 0:
            self._unsent.clear()
            return
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
        buffer = self._buffer
        try:
            count = self._socket.recv_into(buffer.room())
        except BlockingIOError:
            return False
        except OSError:
            count = 0
        if not count:
            return self._stop("closed its connection to the server")
        buffer.filled(count)
        try:
            while (frame := buffer.next()) is not None:
                self._receive(_decode_head(frame[0]), frame[1])
        except (FrameError, msgspec.DecodeError) as error:
            return self._stop(f"broke its connection to the server: {error}")
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
