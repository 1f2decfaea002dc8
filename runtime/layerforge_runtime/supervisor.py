"""One worker process on the event loop: what it prints, what it says, how it ends."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Protocol

from layerforge_runtime.frames import Channel, Message
from layerforge_runtime.reaper import Reaper, describe_status
from layerforge_runtime.spawn import Worker

CANCEL_SIGNAL = signal.SIGUSR1


class Listener(Protocol):
    """Who is told about the worker."""

    def worker_says(self, message: Message, body: bytes) -> None: ...

    def worker_prints(self, data: bytes) -> None: ...

    def worker_ended(self, how: str) -> None: ...


class Supervisor:
    """Watches over ``worker`` and tells ``listener``. Made and used on the event loop."""

    def __init__(self, worker: Worker, listener: Listener, reaper: Reaper) -> None:
        self._worker = worker
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._reason = ""
        self.ended = asyncio.Event()
        self.channel = Channel(worker.connection, listener.worker_says, self._channel_broken)
        os.set_blocking(worker.output, False)
        self._loop.add_reader(worker.output, self._read_pipe)
        os.set_blocking(worker.control, False)
        reaper.watch(worker.pid, self._worker_ended)

    @property
    def pid(self) -> int:
        return self._worker.pid

    def read_output(self) -> None:
        """Pass on everything that the worker has printed until now."""
        while not self.ended.is_set() and self._read_pipe():
            pass

    def _read_pipe(self) -> bool:
        try:
            data = os.read(self._worker.output, 1 << 16)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if data:
            self._listener.worker_prints(data)
        else:
            self._loop.remove_reader(self._worker.output)
        return bool(data)

    def cancel(self, id: str, *, asynchronous: bool) -> None:
        """Stop a prediction; in a synchronous model the signal makes the worker look at what was sent."""
        self.channel.send("cancel", id=id)
        if not asynchronous:
            self.forward(CANCEL_SIGNAL)

    def check_health(self, id: str, *, asynchronous: bool) -> None:
        """Ask for the model's own health check; a synchronous model may not look at its socket for long."""
        if asynchronous:
            self.channel.send("healthcheck", id=id)
            return
        try:
            if not self.ended.is_set():
                os.write(self._worker.control, f"{id}\n".encode())
        except OSError:  # full, because a check hangs; or the worker is gone
            pass

    def kill(self, reason: str) -> None:
        """Kill the worker and its process group; ``reason`` is told as the way it ended."""
        self._reason = self._reason or reason
        self._signal_group(signal.SIGKILL)

    def forward(self, number: int) -> None:
        """Pass on a signal, if the worker has a handler for it: the default of most signals is death."""
        if not self.ended.is_set() and _handles(self._worker.pid, number):
            os.kill(self._worker.pid, number)

    async def stop(self, seconds: float) -> None:
        """Ask the worker to end, and make it end after ``seconds``."""
        self._reason = self._reason or "was stopped"
        self.channel.send("stop")
        steps: tuple[tuple[Callable[[], None], float], ...] = (
            (lambda: None, seconds),
            (lambda: self._signal_group(signal.SIGTERM), 0.5),
            (lambda: self._signal_group(signal.SIGKILL), 5),
        )
        for step, patience in steps:
            if self.ended.is_set():
                return
            step()
            try:
                await asyncio.wait_for(self.ended.wait(), patience)
            except asyncio.TimeoutError:
                continue

    def _signal_group(self, number: int) -> None:
        try:
            os.killpg(self._worker.pid, number)
        except (ProcessLookupError, PermissionError):
            pass

    def _channel_broken(self, reason: str) -> None:
        if self.ended.is_set():
            return
        # It cannot take predictions any more. It gets a moment to end by itself, and so to tell us how.
        self._loop.call_later(1, lambda: None if self.ended.is_set() else self.kill(reason))

    def _worker_ended(self, status: int) -> None:
        self._signal_group(signal.SIGKILL)  # processes that the model started and left behind
        self.channel.drain()
        self.read_output()
        self.ended.set()
        self.channel.close()
        self._loop.remove_reader(self._worker.output)
        for descriptor in (self._worker.output, self._worker.control):
            os.close(descriptor)
        self._listener.worker_ended(self._reason or describe_status(status))


def _handles(pid: int, number: int) -> bool:
    """Whether the process has a handler for a signal (``SigCgt`` in proc(5))."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
            caught = next((line for line in file if line.startswith("SigCgt:")), "SigCgt: 0")
    except OSError:
        return False
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)
