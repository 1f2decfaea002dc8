"""Cancelation of synchronous code: a signal that becomes an exception in the main thread."""

from __future__ import annotations

import signal
from types import FrameType

from .channel import Channel

CANCEL_SIGNAL = signal.SIGUSR1


class Canceler:
    """Raises CancelationException in the prediction that the server means, and in no other.

    The server sends a frame that names the prediction, and then the signal. The signal may come early, when that
    prediction's frame has not been taken yet, or late, when the next one is running: so the frame decides.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._running = ""
        self._signaled = False
        self._looking = False
        signal.signal(CANCEL_SIGNAL, self._handle)

    def enter(self, id: str) -> None:
        """From here on the exception may come.

        Raises:
            CancelationException: it was canceled before it started.
        """
        self._running = id
        while self._signaled:
            self._signaled = False
            if self._is_canceled():
                self._channel.interrupt()

    def leave(self) -> None:
        """From here on it does not come any more."""
        self._running = ""

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if not self._running or self._looking:
            self._signaled = True
        elif self._is_canceled():
            self._channel.interrupt()

    def _is_canceled(self) -> bool:
        self._looking = True  # another signal must not read the socket in the middle of this
        try:
            return self._channel.find_cancel(self._running)
        finally:
            self._looking = False
