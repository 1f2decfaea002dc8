"""The worker process on the event loop: what it prints, what it says, how it ends; and other processes' ends too.

In a container the server is process 1, to which the kernel gives every orphan: all of them are reaped here, and the
worker's own status is told apart by its id.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Callable
from typing import Protocol

from layerforge_runtime.frames import Channel, Message
from layerforge_runtime.spawn import Worker

CANCEL_SIGNAL = signal.SIGUSR1


class Listener(Protocol):
    """Who is told about the worker."""

    def worker_says(self, message: Message, body: bytes) -> None: ...

    def worker_prints(self, data: bytes) -> None: ...

    def worker_ended(self, how: str) -> None: ...


class Supervisor:
    """Watches over ``worker`` and tells ``listener``. Made and used on the event loop."""

    def __init__(self, worker: Worker, listener: Listener) -> None:
        self._worker = worker
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._reason = ""
        self.ended = asyncio.Event()
        self.channel = Channel(worker.connection, listener.worker_says, self._channel_broken)
        os.set_blocking(worker.output, False)
        self._loop.add_reader(worker.output, self._read_pipe)
        self._loop.add_signal_handler(signal.SIGCHLD, self._reap)
        self._loop.call_soon(self._reap)  # it may have ended already

    @property
    def pid(self) -> int:
        return self._worker.pid

    def read_output(self) -> None:
        """Pass on everything that the worker has printed until now."""
        while self._read_pipe():
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

    def interrupt(self) -> None:
        """Raise CancelationException in the worker's main thread."""
        if not self.ended.is_set():
            os.kill(self._worker.pid, CANCEL_SIGNAL)

    def kill(self, reason: str) -> None:
        """Kill the worker and its process group; ``reason`` is told as the way it ended."""
        self._reason = self._reason or reason
        self._signal_group(signal.SIGKILL)

    def forward(self, number: int) -> None:
        """Pass on a signal, if the worker has a handler for it: the default of most signals is death."""
        if not self.ended.is_set() and _handles(self._worker.pid, number):
            os.kill(self._worker.pid, number)

    async def stop(self, seconds: float) -> None:
        """Ask the worker to end, and make it end after ``seconds``; then remove what it leaves."""
        self._reason = self._reason or "was stopped"
        self.channel.send("stop")
        steps: tuple[tuple[Callable[[], None], float], ...] = (
            (lambda: None, seconds),
            (lambda: self._signal_group(signal.SIGTERM), 0.5),
            (lambda: self._signal_group(signal.SIGKILL), 5),
        )
        for step, patience in steps:
            step()
            try:
                await asyncio.wait_for(self.ended.wait(), patience)
                break
            except asyncio.TimeoutError:
                continue
        self._signal_group(signal.SIGKILL)  # processes that the model started and left behind
        self.channel.close()
        shutil.rmtree(self._worker.folder, ignore_errors=True)

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

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._worker.pid:
                self._worker_ended(status)

    def _worker_ended(self, status: int) -> None:
        self.channel.drain()
        self.read_output()
        self.ended.set()
        self._listener.worker_ended(self._reason or describe_status(status))


def describe_status(status: int) -> str:
    """A wait status in words."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exited with status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = " (out of memory, perhaps)" if -code == signal.SIGKILL else ""
    return f"was killed by {name}{hint}"


def _handles(pid: int, number: int) -> bool:
    """Whether the process has a handler for a signal (``SigCgt`` in proc(5))."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
            caught = next((line for line in file if line.startswith("SigCgt:")), "SigCgt: 0")
    except OSError:
        return False
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)
