"""Work that must keep its order, but need not hold up the thread that gives it: hashing, and writing to a file."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor

_BATCH = 128 << 10  # bytes that are worth waking a thread
_ROOM = 4 << 20  # bytes that may wait, which bounds memory


class Lane:
    """Gives every ``data`` to ``work``, in order, in the threads of ``executor``, one at a time.

    Without an executor it is done at once. Several lanes share an executor fairly. What ``work`` raises is raised by
    the next call, and nothing more is done. For one giving thread, which must not be one of the executor's.
    """

    def __init__(self, executor: Executor | None, work: Callable[[bytes], object]) -> None:
        self._executor = executor
        self._work = work
        self._changed = threading.Condition()
        self._waiting: list[bytes] = []
        self._size = 0
        self._busy = False
        self._error: BaseException | None = None

    def put(self, data: bytes) -> None:
        """Give ``data``; waits while too much is waiting."""
        if self._executor is None:
            self._work(data)
            return
        with self._changed:
            self._waiting.append(data)
            self._size += len(data)
            if self._size >= _BATCH:
                self._start()
                self._changed.wait_for(lambda: self._size <= _ROOM)
            self._check()

    def finish(self) -> None:
        """Wait until everything is done."""
        with self._changed:
            while self._busy or (self._waiting and self._error is None):
                self._start()
                self._changed.wait_for(lambda: not self._busy)
            self._check()

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _start(self) -> None:
        if not self._busy and self._error is None:
            assert self._executor is not None
            self._busy = True
            self._executor.submit(self._run)

    def _run(self) -> None:
        with self._changed:
            batch, self._waiting = self._waiting, []
        error: BaseException | None = None
        try:
            for data in batch:
                self._work(data)
        except BaseException as raised:  # also what cancels a build: it is for the giving thread
            error = raised
        with self._changed:
            self._error = error
            self._size = sum(map(len, self._waiting)) if error is None else 0
            self._busy = False
            if self._size >= _BATCH:  # behind what others have submitted meanwhile
                self._start()
            self._changed.notify_all()
