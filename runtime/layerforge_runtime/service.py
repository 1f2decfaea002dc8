"""Who may run: slots, the queue, and each prediction's way to the worker and to its end."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections import deque
from typing import Any

import msgspec

from layerforge_runtime.files import FileError
from layerforge_runtime.frames import Message, Ready
from layerforge_runtime.lifecycle import Lifecycle
from layerforge_runtime.logs import Log
from layerforge_runtime.outcomes import Outcomes
from layerforge_runtime.predictions import Prediction
from layerforge_runtime.preparation import Preparation
from layerforge_runtime.settings import Settings
from layerforge_runtime.spawn import Worker
from layerforge_runtime.validation import Validator

_encode = msgspec.json.Encoder().encode

NOT_READY = "Setup has not finished yet. Wait until it has finished, or GET /health-check for status."
AT_CAPACITY = "At capacity - all prediction slots busy"


_CANCELED_KEPT = 256  # ids of canceled predictions that are remembered


class Unavailable(Exception):
    """A prediction cannot start now; ``status`` is the HTTP status to answer with."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Service:
    """The model behind the routes. Made and used on the event loop.

    ``running`` has the predictions that were admitted and have not ended, by id: those with a slot and those that wait
    for one (``waiting``).
    """

    def __init__(self, settings: Settings, worker: Worker, validator: Validator, trainer: Validator, log: Log) -> None:
        self.trainer = trainer if trainer.known else validator
        self.validator = self.trainer if settings.job.mode == "train" else validator
        self.running: dict[str, Prediction] = {}
        self.waiting: deque[Prediction] = deque()
        self.slots = 1
        self.draining = False
        self._settings = settings
        self._log = log
        self._folder = worker.folder
        self._preparation = Preparation(settings, worker.folder, self.validator, self.trainer)
        self._canceled: deque[str] = deque(maxlen=_CANCELED_KEPT)
        self._idle = asyncio.Event()
        self._idle.set()
        self.lifecycle = Lifecycle(settings, worker, log, self)
        self._outcomes = Outcomes(self, settings, worker.folder, log)

    @property
    def ready(self) -> Ready | None:
        """What the worker said when its setup was done."""
        return self.lifecycle.ready

    @property
    def free(self) -> int:
        """How many predictions could start at once."""
        return self.slots - len(self.running) + len(self.waiting)

    @property
    def status(self) -> str:
        """What ``GET /health-check`` says, but for the model's own check."""
        health = self.lifecycle.health
        return "BUSY" if health == "READY" and self.free <= 0 else health

    @property
    def worker_pid(self) -> int:
        """The process id of the worker."""
        return self.lifecycle.supervisor.pid

    @property
    def streaming(self) -> bool:
        """Whether clients may read outputs as they come."""
        ready = self.ready
        return self.validator.streaming or (ready is not None and ready.streaming and not self.validator.known)

    async def health(self) -> dict[str, Any]:
        """The body of ``GET /health-check``."""
        problem = await self.lifecycle.check_health()
        life = self.lifecycle
        version = {"cog": self._settings.cog_version}
        if life.ready:
            version |= {"python_sdk": life.ready.sdk, "python": life.ready.python}
        body: dict[str, Any] = {
            "status": "UNHEALTHY" if problem else self.status,
            "setup": {**life.setup, "logs": life.setup_logs.text()},
            "version": version,
        }
        if life.reason:
            body["error"] = life.reason
        if problem:
            body["user_healthcheck_error"] = problem
        return body

    def admit(self, id: str, created_at: str, *, training: bool = False) -> Prediction:
        """Give a slot to a new prediction, or a place in the queue.

        Raises:
            Unavailable: the model is not ready, or every slot and every place is taken.
        """
        if self.draining:
            raise Unavailable(503, "The server is shutting down.")
        if self.lifecycle.health != "READY":
            raise Unavailable(503, self.lifecycle.reason or NOT_READY)
        if id in self.running or (self.free <= 0 and len(self.waiting) >= self._settings.max_queue):
            raise Unavailable(409, AT_CAPACITY)
        prediction = Prediction(id, created_at, self._settings.limits.log)
        prediction.training = training
        if self.free <= 0:
            prediction.turn = asyncio.get_running_loop().create_future()
            self.waiting.append(prediction)
        self.running[id] = prediction
        self._idle.clear()
        return prediction

    async def start(
        self,
        prediction: Prediction,
        inputs: dict[str, Any],
        context: dict[str, str],
        trace: dict[str, str] | None = None,
    ) -> None:
        """Wait for the prediction's turn, fetch the files among its inputs, and hand it to the worker.

        ``trace`` has the headers of W3C Trace Context that came with its request.
        """
        if prediction.turn is not None:
            await prediction.turn
            if prediction.ended:
                return
        prediction.start()
        try:
            inputs = await self._preparation.prepare(prediction, inputs)
        except (FileError, OSError) as error:
            self.end(prediction, "failed", error=f"Input validation error: {error}")
            return
        if prediction.ended:  # the worker died while files were fetched
            return
        if prediction.cancel_requested:
            self.end(prediction, "canceled")
            return
        prediction.sent = True
        self._log.debug("prediction started", prediction_id=prediction.id)
        head: dict[str, Any] = {"id": prediction.id, "folder": prediction.folder}
        if self.slots > 1:
            head["routed"] = True
        if context:
            head["context"] = context
        if trace:
            head["trace"] = trace
        if prediction.training:
            head["training"] = True
        self.lifecycle.supervisor.channel.send("predict", _encode(inputs), gather=len(self.running) > 1, **head)

    def cancel(self, id: str) -> bool:
        """Stop a running or waiting prediction; False if there is none with this id, nor was one canceled lately."""
        prediction = self.running.get(id)
        if prediction is None:
            return id in self._canceled  # whoever repeats a request has not done anything wrong
        if not prediction.cancel_requested:
            prediction.cancel_requested = True
            if prediction.fetching is not None:
                prediction.fetching.cancel()
            if prediction.turn is not None and not prediction.turn.done():
                self.end(prediction, "canceled")
            elif prediction.sent and self.ready is not None:
                self.lifecycle.supervisor.cancel(id, asynchronous=self.ready.asynchronous)
        return True

    async def drain(self, seconds: float) -> None:
        """Take no more predictions; end those that still run after ``seconds``."""
        self.draining = True
        try:
            await asyncio.wait_for(self._idle.wait(), seconds)
        except asyncio.TimeoutError:
            self._fail_all("The server was shut down before the prediction was done.")

    async def stop(self, seconds: float) -> None:
        """End the worker, after ``seconds`` by force, and remove its files."""
        await self.lifecycle.stop(seconds)
        shutil.rmtree(self._folder, ignore_errors=True)

    def end(self, prediction: Prediction, status: str, *, output: bytes | None = None, error: str = "") -> None:
        """Take the final state of a prediction, and give its slot to the next one."""
        if prediction.ended:
            return
        self.running.pop(prediction.id, None)
        if status == "canceled":
            self._canceled.append(prediction.id)
        if prediction.folder and (prediction.has_files or status != "succeeded"):
            shutil.rmtree(os.path.join(self._folder, prediction.folder), ignore_errors=True)
        prediction.end(status, output=output, error=error)
        self._log.debug("prediction ended", prediction_id=prediction.id, status=status)
        if prediction.turn is not None and not prediction.turn.done():
            self.waiting.remove(prediction)
            prediction.turn.set_result(None)
        elif self.waiting:
            self._admit_waiting()
        if status == "succeeded":
            self.lifecycle.settle()
        if not self.running:
            self._idle.set()

    def _admit_waiting(self) -> None:
        while self.waiting and self.free > 0 and self.lifecycle.health == "READY":
            turn = self.waiting.popleft().turn
            if turn is not None:
                turn.set_result(None)

    def _fail_all(self, error: str, *, waiting: bool = True) -> None:
        for prediction in list(self.running.values()):
            if not prediction.reported and (waiting or prediction not in self.waiting):
                self.end(prediction, "failed", error=error)

    # What the lifecycle tells.

    def model_ready(self, ready: Ready) -> None:
        """Take predictions from now on."""
        self._outcomes.end_lines()
        self.slots = self._settings.max_concurrency or ready.slots
        if self.slots > 1 and not ready.asynchronous:
            self._log.warning(f"COG_MAX_CONCURRENCY={self.slots} needs an async run(): one prediction at a time")
            self.slots = 1
        self._preparation.learn(ready)
        self._log.info("ready", slots=self.slots)
        self._admit_waiting()

    def model_reports(self, message: Message, body: bytes) -> None:
        """Take a frame about a prediction."""
        self._outcomes.take(message, body)

    def model_prints(self, data: bytes) -> None:
        """Take what came through the pipe."""
        self._outcomes.take_printed(data)

    def model_gone(self, how: str, *, returns: bool) -> None:
        """The worker is gone: what it ran has failed; what waits goes on if another one ``returns``."""
        self._outcomes.end_lines()
        self._fail_all(f"Worker crashed: it {how} while it ran this prediction.", waiting=not returns)
