"""The model's life over one worker process after another: setup, health, and starting anew after a crash."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Any, Protocol

from layerforge_runtime.frames import Health, Message, Ready, SetupFailed
from layerforge_runtime.logs import Log, iso_time, now
from layerforge_runtime.predictions import Logs
from layerforge_runtime.reaper import Reaper
from layerforge_runtime.settings import Settings
from layerforge_runtime.spawn import Worker, spawn_worker
from layerforge_runtime.supervisor import Supervisor

HEALTHCHECK_TIMEOUT = 5.0
"""Seconds for the model's ``healthcheck()``, as in Cog."""
SETTLED_AFTER = 60.0
"""Seconds of work after which earlier crashes are forgotten; a prediction that succeeds has the same effect."""
_LONGEST_PAUSE = 30.0  # seconds between a crash and the next start


class Owner(Protocol):
    """Who has the predictions."""

    def model_ready(self, ready: Ready) -> None: ...

    def model_reports(self, message: Message, body: bytes) -> None: ...

    def model_prints(self, data: bytes) -> None: ...

    def model_gone(self, how: str, *, returns: bool) -> None: ...


class Lifecycle:
    """Keeps a worker running and tells ``owner``. Made and used on the event loop.

    ``health`` is STARTING, READY, SETUP_FAILED or DEFUNCT; ``reason`` says why it is neither of the first two;
    ``restarts`` counts the workers that came after the first.
    """

    def __init__(self, settings: Settings, worker: Worker, log: Log, owner: Owner) -> None:
        self.health = "STARTING"
        self.reason = ""
        self.ready: Ready | None = None
        self.restarts = 0
        self.setup: dict[str, str] = {}
        self._settings = settings
        self._log = log
        self._owner = owner
        self._folder = worker.folder
        self._reaper = Reaper()
        self._crashes = 0  # in a row
        self._stopping = False
        self._checks: dict[str, asyncio.Future[str]] = {}
        self._check_ids = itertools.count(1)
        self._timer: asyncio.TimerHandle | None = None
        self.supervisor = self._watch(worker)

    def _watch(self, worker: Worker) -> Supervisor:
        self.health = "STARTING"
        self.setup = {"started_at": iso_time(worker.started), "status": "starting"}
        self.setup_logs = Logs(self._settings.limits.log)
        if self._settings.setup_timeout:
            self._call_later(self._settings.setup_timeout, self._setup_timed_out)
        self._ready_at = 0.0
        return Supervisor(worker, self, self._reaper)

    @property
    def setting_up(self) -> bool:
        """Whether ``setup()`` runs."""
        return self.setup["status"] == "starting"

    async def check_health(self) -> str:
        """What is wrong according to the model's own ``healthcheck()``; empty if nothing is, or it has none.

        Requests that come while one is answered get the same answer: a check may be expensive.
        """
        if self.ready is None or not self.ready.healthcheck or self.health != "READY":
            return ""
        if not self._checks:
            id = str(next(self._check_ids))
            self._checks[id] = asyncio.get_running_loop().create_future()
            self.supervisor.check_health(id, asynchronous=self.ready.asynchronous)
        id, answer = next(iter(self._checks.items()))
        try:
            return await asyncio.wait_for(asyncio.shield(answer), HEALTHCHECK_TIMEOUT)
        except asyncio.TimeoutError:
            self._checks.pop(id, None)
            return f"Healthcheck failed: user-defined healthcheck timed out after {HEALTHCHECK_TIMEOUT:.1f} seconds"

    def settle(self) -> None:
        """A prediction succeeded: crashes before do not count any more."""
        self._crashes = 0

    @property
    def ended(self) -> bool:
        """Whether there is no worker now."""
        return self.supervisor.ended.is_set()

    def kill(self, reason: str) -> None:
        """End the worker at once, and start no other."""
        self._stopping = True
        self.supervisor.kill(reason)

    def forward(self, number: int) -> None:
        """Pass on a signal to the model, if it handles it."""
        self.supervisor.forward(number)

    async def stop(self, seconds: float) -> None:
        """End the worker, after ``seconds`` by force."""
        self._stopping = True
        if self._timer is not None:
            self._timer.cancel()
        await self.supervisor.stop(seconds)

    # What the supervisor tells.

    def worker_says(self, message: Message, body: bytes) -> None:
        """Take a frame."""
        if isinstance(message, Ready):
            self._become_ready(message)
        elif isinstance(message, SetupFailed):
            self._setup_failed(message.error)
        elif isinstance(message, Health):
            if (answer := self._checks.pop(message.id, None)) and not answer.done():
                answer.set_result(message.error)
        else:
            self._owner.model_reports(message, body)

    def worker_prints(self, data: bytes) -> None:
        """Take what came through the pipe."""
        if self.setting_up:
            self.setup_logs.add(data)
        self._owner.model_prints(data)

    def worker_ended(self, how: str) -> None:
        """The process is gone: start another one, if that makes sense."""
        for answer in self._checks.values():
            if not answer.done():
                answer.set_result(f"Healthcheck failed: the worker {how}")
        self._checks.clear()
        if self.setting_up:
            self._setup_failed(f"the worker {how} during setup")
        first_setup_failed = self.health == "SETUP_FAILED" and not self.restarts
        if not self._stopping:
            self._log.error(f"the worker {how}")
        if self._ready_at and time.monotonic() - self._ready_at > SETTLED_AFTER:
            self._crashes = 0
        self._crashes += 1
        returns = not first_setup_failed and not self._stopping and self._crashes <= self._settings.restarts
        if returns:
            self.health = "STARTING"
            pause = 0 if self._crashes == 1 else min(_LONGEST_PAUSE, 0.5 * 2.0 ** (self._crashes - 2))
            self._log.warning(
                f"starting another worker in {pause:g} seconds", crash=self._crashes, limit=self._settings.restarts
            )
            self._call_later(pause, self._restart)
        elif not first_setup_failed:
            self.health = "DEFUNCT"
            last = self.reason or f"the worker {how}"
            times = f"after {self._crashes} crashes in a row: " if self._crashes > 1 else ""
            self.reason = f"The model cannot make predictions any more, {times or 'because '}{last}"
        self._owner.model_gone(how, returns=returns)

    def _restart(self) -> None:
        self.restarts += 1
        self.reason = ""
        try:
            worker = spawn_worker(self._settings.job, self._folder)
        except OSError as error:
            self.worker_ended(f"could not be started: {error}")
            return
        self.supervisor = self._watch(worker)

    def _become_ready(self, ready: Ready) -> None:
        self.supervisor.read_output()
        self.ready = ready
        self.health = "READY"
        self._ready_at = time.monotonic()
        self._finish_setup("succeeded")
        self._owner.model_ready(ready)

    def _setup_failed(self, error: str) -> None:
        self.supervisor.read_output()
        self.health = "SETUP_FAILED"
        self.reason = f"Setup failed: {error}"
        self.setup_logs.add(f"Setup failed: {error}\n".encode())
        self._finish_setup("failed")
        self._log.error(f"setup failed: {error}")

    def _finish_setup(self, status: str) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.setup |= {"status": status, "completed_at": now()}

    def _setup_timed_out(self) -> None:
        if self.setting_up:
            limit = f"{self._settings.setup_timeout:g} seconds (COG_SETUP_TIMEOUT)"
            self.supervisor.kill(f"had not finished after {limit}")

    def _call_later(self, seconds: float, call: Any) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, call)
