"""Ends of processes. In a container the server is process 1, to which the kernel gives every orphan."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable


class Reaper:
    """Reaps every child that ends, and tells who waits for it. Made on the event loop."""

    def __init__(self) -> None:
        self._watched: dict[int, Callable[[int], None]] = {}
        self._loop = asyncio.get_running_loop()
        self._loop.add_signal_handler(signal.SIGCHLD, self.reap)

    def watch(self, pid: int, ended: Callable[[int], None]) -> None:
        """Call ``ended`` with the wait status of ``pid`` once it has ended, which may be so already."""
        self._watched[pid] = ended
        self._loop.call_soon(self.reap)

    def reap(self) -> None:
        """Take the status of every child that has ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if ended := self._watched.pop(pid, None):
                ended(status)


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
