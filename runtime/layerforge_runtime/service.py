"""Who may run: the model's health, its slots, and what the worker reports about predictions."""

from __future__ import annotations

import asyncio
import functools
import os
import shutil
from collections.abc import Callable
from typing import Any

import msgspec

from layerforge_runtime.files import FileError, embed, localize
from layerforge_runtime.frames import Canceled, Done, Failed, Message, Metric, Output, Ready, SetupFailed
from layerforge_runtime.frames import Log as LogFrame
from layerforge_runtime.logs import Log, iso_time, now
from layerforge_runtime.predictions import Logs, Prediction, join_outputs
from layerforge_runtime.settings import Settings
from layerforge_runtime.spawn import Worker
from layerforge_runtime.supervisor import Supervisor
from layerforge_runtime.transfers import upload
from layerforge_runtime.validation import Validator

_encode = msgspec.json.Encoder().encode

NOT_READY = "Setup has not finished yet. Wait until it has finished, or GET /health-check for status."
AT_CAPACITY = "At capacity - all prediction slots busy"


class Unavailable(Exception):
    """A prediction cannot start now; ``status`` is the HTTP status to answer with."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Service:
    """The model behind the routes. Made and used on the event loop."""

    def __init__(self, settings: Settings, worker: Worker, validator: Validator, log: Log) -> None:
        self.validator = validator
        self.running: dict[str, Prediction] = {}
        self.ready: Ready | None = None
        self.draining = False
        self._settings = settings
        self._log = log
        self._health = "STARTING"
        self._setup: dict[str, str] = {"started_at": iso_time(worker.started), "status": "starting"}
        self._reason = ""
        self._setup_logs = Logs(settings.limits.log)
        self._partial = b""
        self._folder = worker.folder
        self._files: dict[str, str] = {}
        self._slots = 1
        self._idle = asyncio.Event()
        self._idle.set()
        self.supervisor = Supervisor(worker, self)
        if settings.setup_timeout:
            asyncio.get_running_loop().call_later(settings.setup_timeout, self._setup_timed_out)

    @property
    def status(self) -> str:
        """What ``GET /health-check`` says."""
        return "BUSY" if self._health == "READY" and len(self.running) >= self._slots else self._health

    @property
    def slots(self) -> int:
        """How many predictions can run at a time."""
        return self._slots

    @property
    def worker_pid(self) -> int:
        """The process id of the worker."""
        return self.supervisor.pid

    @property
    def streaming(self) -> bool:
        """Whether clients may read outputs as they come."""
        ready = self.ready
        return self.validator.streaming or (ready is not None and ready.streaming and not self.validator.known)

    def health(self) -> dict[str, Any]:
        """The body of ``GET /health-check``."""
        version = {"cog": self._settings.cog_version}
        if self.ready:
            version |= {"python_sdk": self.ready.sdk, "python": self.ready.python}
        setup = {**self._setup, "logs": self._setup_logs.text()}
        problem = {"error": self._reason} if self._reason else {}
        return {"status": self.status, "setup": setup, "version": version, **problem}

    def admit(self, id: str, created_at: str) -> Prediction:
        """Give a slot to a new prediction.

        Raises:
            Unavailable: the model is not ready, or every slot is taken.
        """
        if self.draining:
            raise Unavailable(503, "The server is shutting down.")
        if self._health != "READY":
            raise Unavailable(503, self._reason or NOT_READY)
        if len(self.running) >= self._slots or id in self.running:
            raise Unavailable(409, AT_CAPACITY)
        prediction = self.running[id] = Prediction(id, created_at, self._settings.limits.log)
        self._idle.clear()
        return prediction

    async def start(self, prediction: Prediction, inputs: dict[str, Any], context: dict[str, str]) -> None:
        """Fetch the files among the inputs, and hand the prediction to the worker."""
        prediction.start()
        if self._files:
            prediction.fetching = asyncio.ensure_future(self._localize(prediction, inputs))
            try:
                inputs = await prediction.fetching
            except asyncio.CancelledError:
                if not prediction.cancel_requested:
                    raise
            except FileError as error:
                self._end(prediction, "failed", error=f"Input validation error: {error}")
                return
        if prediction.ended:  # canceled, or the worker died, while files were fetched
            return
        if prediction.cancel_requested:
            self._end(prediction, "canceled")
            return
        prediction.sent = True
        self._log.debug("prediction started", prediction_id=prediction.id)
        head = {"id": prediction.id, "context": context, "routed": self._slots > 1}
        self.supervisor.channel.send("predict", _encode(inputs), **head)

    async def _localize(self, prediction: Prediction, inputs: dict[str, Any]) -> dict[str, Any]:
        if not any(isinstance(inputs.get(name), (str, list)) for name in self._files):
            return inputs
        prediction.folder = os.path.join(self._folder, os.urandom(8).hex())
        os.mkdir(prediction.folder, 0o700)
        return await localize(inputs, self._files, prediction.folder, self._settings.terms)

    def _sender(self, prediction: Prediction) -> Callable[[str], str] | None:
        """What uploads the files of ``prediction``, if they are to be uploaded."""
        settings = self._settings
        base = prediction.upload_url or settings.upload_url
        if not base:
            return None
        deny = settings.deny_private and bool(prediction.upload_url)  # the operator's own may be anywhere
        return functools.partial(upload, base=base, user_agent=settings.user_agent, deny_private=deny)

    def cancel(self, id: str) -> bool:
        """Stop a running prediction; False if there is none with this id."""
        prediction = self.running.get(id)
        if prediction is None:
            return False
        if not prediction.cancel_requested:
            prediction.cancel_requested = True
            if prediction.fetching is not None:
                prediction.fetching.cancel()
            if prediction.sent and self.ready is not None and not prediction.ended:
                if self.ready.asynchronous:
                    self.supervisor.channel.send("cancel", id=id)
                else:
                    self.supervisor.interrupt()
        return True

    async def drain(self, seconds: float) -> None:
        """Take no more predictions; end those that still run after ``seconds``."""
        self.draining = True
        try:
            await asyncio.wait_for(self._idle.wait(), seconds)
        except asyncio.TimeoutError:
            for prediction in list(self.running.values()):
                self._end(prediction, "failed", error="The server was shut down before the prediction was done.")

    # What the supervisor tells.

    def worker_says(self, message: Message, body: bytes) -> None:
        """Take a frame."""
        if isinstance(message, Ready):
            self._become_ready(message)
            return
        if isinstance(message, SetupFailed):
            self._setup_failed(message.error)
            return
        prediction = self.running.get(message.id)
        if prediction is None or prediction.ended:
            return
        if isinstance(message, LogFrame):
            data = message.data.encode()
            prediction.add_log(data, message.source)
            self._log.model_output(data, prediction.id)
        elif isinstance(message, Metric):
            prediction.record_metric(message.name, message.value, message.mode)
        elif prediction.tail is None and not getattr(message, "files", None):
            self._take(prediction, message, body)
        else:  # files are read or uploaded first, and what follows keeps its place
            prediction.tail = asyncio.ensure_future(self._take_later(prediction, prediction.tail, message, body))

    async def _take_later(
        self, prediction: Prediction, before: asyncio.Task[None] | None, message: Message, body: bytes
    ) -> None:
        if before is not None:
            await before
        if isinstance(message, (Output, Done)) and message.files and not prediction.ended:
            try:
                body = await embed(body, message.files, self._sender(prediction))
            except FileError as error:
                prediction.error = prediction.error or str(error)
        self._take(prediction, message, body)

    def _take(self, prediction: Prediction, message: Message, body: bytes) -> None:
        if isinstance(message, Output):
            prediction.add_output(body)
            return
        if not isinstance(message, (Done, Failed, Canceled)):
            return
        # What it printed is in the pipes before its end is in the socket.
        self.supervisor.read_output()
        self._end_lines()
        if isinstance(message, Canceled):
            self._end(prediction, "canceled")
        elif isinstance(message, Failed):
            self._end(prediction, "failed", error=f"Prediction failed: {message.error}")
        elif prediction.error:
            self._end(prediction, "failed", error=f"Prediction failed: {prediction.error}")
        elif message.stream:
            self._end(prediction, "succeeded", output=join_outputs(prediction.outputs))
        else:
            wrap = self.validator.output_is_array and not body.startswith(b"[")
            self._end(prediction, "succeeded", output=join_outputs([body]) if wrap else body)

    def worker_prints(self, data: bytes) -> None:
        """Take what came through the pipe: it belongs to setup, or to the prediction that runs alone."""
        prediction = None
        if self._setup["status"] == "starting":
            self._setup_logs.add(data)
        elif self._slots == 1 and (prediction := next(iter(self.running.values()), None)):
            prediction.add_log(data)
        lines, newline, self._partial = (self._partial + data).rpartition(b"\n")
        if newline:
            self._log.model_output(lines + newline, prediction.id if prediction else "")

    def _end_lines(self) -> None:
        if self._partial:
            self._log.model_output(self._partial + b"\n", next(iter(self.running), "") if self._slots == 1 else "")
            self._partial = b""

    def worker_ended(self, how: str) -> None:
        """The process is gone: nothing can run any more."""
        self._end_lines()
        if self._setup["status"] == "starting":
            self._setup_failed(f"the worker {how} during setup")
        elif self._health == "READY":
            self._health = "DEFUNCT"
            self._reason = f"The worker {how}. The model cannot make predictions any more."
            if not self.draining:
                self._log.error(f"the worker {how}")
        for prediction in list(self.running.values()):
            self._end(prediction, "failed", error=f"Worker crashed: it {how} while it ran this prediction.")

    def _become_ready(self, ready: Ready) -> None:
        self.supervisor.read_output()
        self._end_lines()
        self.ready = ready
        self._slots = self._settings.max_concurrency or ready.slots
        if self._slots > 1 and not ready.asynchronous:
            self._log.warning(f"COG_MAX_CONCURRENCY={self._slots} needs an async run(): one prediction at a time")
            self._slots = 1
        self._files = dict.fromkeys(self.validator.urls, "path")
        self._files |= {name: kind for name, kind in ready.fields.items() if kind != "secret"}
        self._health = "READY"
        self._finish_setup("succeeded")
        self._log.info("ready", slots=self._slots)

    def _setup_failed(self, error: str) -> None:
        self.supervisor.read_output()
        self._health = "SETUP_FAILED"
        self._reason = f"Setup failed: {error}"
        self._setup_logs.add(f"Setup failed: {error}\n".encode())
        self._finish_setup("failed")
        self._log.error(f"setup failed: {error}")

    def _finish_setup(self, status: str) -> None:
        self._setup |= {"status": status, "completed_at": now()}

    def _setup_timed_out(self) -> None:
        if self._setup["status"] == "starting":
            self.supervisor.kill(f"had not finished after {self._settings.setup_timeout:g} seconds (COG_SETUP_TIMEOUT)")

    def _end(self, prediction: Prediction, status: str, *, output: bytes | None = None, error: str = "") -> None:
        self.running.pop(prediction.id, None)
        if prediction.folder:
            shutil.rmtree(prediction.folder, ignore_errors=True)
        prediction.end(status, output=output, error=error)
        self._log.debug("prediction ended", prediction_id=prediction.id, status=status)
        if not self.running:
            self._idle.set()
