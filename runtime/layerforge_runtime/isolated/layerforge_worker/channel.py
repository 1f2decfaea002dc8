"""The worker's end of the socket to the server; ``framing.py`` has the form of frames, ``frames.py`` of the server's
package the list of kinds.
"""

from __future__ import annotations

import json
import socket
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from cog.exceptions import CancelationException

from .framing import LARGE, FrameBuffer, pack

Message = tuple[dict[str, Any], bytes]

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_identify = threading.get_ident
_decode = json.JSONDecoder().raw_decode


def decode(text: bytes) -> Any:
    """The value of JSON that the server has written: UTF-8, and no space around it (``json.loads`` looks for it)."""
    return _decode(str(text, "utf-8"))[0]


class Channel:
    """Any thread may send; one receives.

    A frame is sent whole or not at all: if the signal to cancel comes in between, :meth:`interrupt` keeps the
    exception back until the frame is out.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._lock = threading.Lock()
        self._main = threading.get_ident()
        self._buffer = FrameBuffer()
        self._received: deque[Message] = deque()
        self._unsent: list[bytes] = []
        self._later: Callable[[Callable[[], None]], object] | None = None
        self._sending = False
        self._interrupted = False

    def fileno(self) -> int:
        return self._socket.fileno()

    def defer(self, later: Callable[[Callable[[], None]], object]) -> None:
        """From now on :meth:`send_last` may wait for others: ``later`` calls what it is given very soon."""
        self._later = later

    def send(self, kind: str, body: bytes = b"", **head: Any) -> None:
        """Send one frame; blocks while the socket is full.

        Raises:
            TypeError, ValueError: the head has no JSON form; nothing was sent.
            CancelationException: the prediction was canceled meanwhile; the frame has been sent.
        """
        parts = pack(_encode({"kind": kind, **head}).encode("utf-8", "replace"), body)  # half a surrogate has no UTF-8
        if _identify() != self._main:
            self._put(parts)
            return
        self._sending = True
        try:
            self._put(parts)
        finally:
            self._sending = False
            interrupted, self._interrupted = self._interrupted, False
        if interrupted:
            raise CancelationException

    def send_last(self, kind: str, body: bytes = b"", **head: Any) -> None:
        """Send a prediction's last frame, together with those of others that end at this moment."""
        if self._later is None or _identify() != self._main or len(body) >= 65536:
            self.send(kind, body, **head)
            return
        if not self._unsent:
            self._later(self.flush)
        self._unsent += pack(_encode({"kind": kind, **head}).encode("utf-8", "replace"), body)

    def flush(self) -> None:
        """Send what waits."""
        self._put([])

    def _put(self, parts: list[bytes]) -> None:
        with self._lock:
            if self._unsent:
                parts = [b"".join(self._unsent), *parts]
                self._unsent = []
            for part in parts:
                self._socket.sendall(part)

    def interrupt(self) -> None:
        """Raise CancelationException, now or as soon as the frame that is being sent is out. Main thread."""
        if not self._sending:
            raise CancelationException
        self._interrupted = True

    def receive(self) -> Message | None:
        """Wait for the next frame; None when the server is gone."""
        while not self._received:
            if not self._fill(0):
                return None
        return self._received.popleft()

    def receive_ready(self) -> tuple[list[Message], bool]:
        """The frames that have arrived, without waiting, and whether the server may send more."""
        open = self._fill_ready()
        frames = list(self._received)
        self._received.clear()
        return frames, open

    def _fill_ready(self) -> bool:
        try:
            while (count := self._fill(socket.MSG_DONTWAIT)) >= LARGE:  # there may be more
                pass
        except BlockingIOError:
            return True
        return count > 0

    def find_cancel(self, id: str) -> bool:
        """Whether the server has asked to cancel ``id``. What has arrived is kept for :meth:`receive`."""
        self._fill_ready()
        return any(head["kind"] == "cancel" and head["id"] == id for head, _ in self._received)

    def _fill(self, flags: int) -> int:
        room = self._buffer.room()
        count = self._socket.recv_into(room, 0, flags)
        self._buffer.filled(count)
        while (frame := self._buffer.next()) is not None:
            self._received.append((decode(frame[0]), frame[1]))
        return count

    def close(self) -> None:
        self._socket.close()
