"""What the worker reports about predictions, put in order: outputs, logs, metrics, ends."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Protocol

from layerforge_runtime.attachments import Attachments
from layerforge_runtime.files import FileError, embed
from layerforge_runtime.frames import Canceled, Done, Failed, Message, Metric, Output
from layerforge_runtime.frames import Log as LogFrame
from layerforge_runtime.lifecycle import Lifecycle
from layerforge_runtime.logs import Log
from layerforge_runtime.predictions import Prediction, join_outputs
from layerforge_runtime.settings import Settings
from layerforge_runtime.transfers import upload
from layerforge_runtime.validation import Validator


class Owner(Protocol):
    """Who has the predictions."""

    running: dict[str, Prediction]
    slots: int
    lifecycle: Lifecycle
    validator: Validator
    trainer: Validator

    def end(self, prediction: Prediction, status: str, *, output: bytes | None = None, error: str = "") -> None: ...


class Outcomes:
    """Passes on what the worker says and prints to the predictions of ``owner``. ``folder`` takes large outputs."""

    def __init__(self, owner: Owner, settings: Settings, folder: str, log: Log) -> None:
        self._owner = owner
        self._settings = settings
        self._folder = folder
        self._log = log
        self._partial = b""

    def take(self, message: Message, body: bytes) -> None:
        """Take a frame about a prediction."""
        if not isinstance(message, (Done, Output, Failed, Canceled, Metric, LogFrame)):
            return
        prediction = self._owner.running.get(message.id)
        if prediction is None or prediction.ended:
            return
        if isinstance(message, LogFrame):
            data = prediction.mask(message.data.encode())
            prediction.add_log(data, message.source)
            self._log.model_output(data, prediction.id)
            return
        if isinstance(message, Metric):
            prediction.record_metric(message.name, message.value, message.mode)
            return
        if not isinstance(message, Output):
            prediction.reported = True
        files = isinstance(message, (Output, Done)) and message.files
        if files:
            prediction.has_files = True
        if prediction.tail is None and not files:
            self._apply(prediction, message, body)
        else:  # files are read or uploaded first, and what follows keeps its place
            prediction.tail = asyncio.ensure_future(self._apply_later(prediction, prediction.tail, message, body))

    async def _apply_later(
        self,
        prediction: Prediction,
        before: asyncio.Task[None] | None,
        message: Done | Output | Failed | Canceled,
        body: bytes,
    ) -> None:
        if before is not None:
            await before
        if isinstance(message, (Output, Done)) and message.files and not prediction.ended:
            if prediction.attachments is None:
                prediction.attachments = Attachments(self._folder, self._settings.limits.spool)
            try:
                body = await embed(body, message.files, self._sender(prediction), prediction.attachments)
            except FileError as error:
                prediction.error = prediction.error or str(error)
        self._apply(prediction, message, body)

    def _sender(self, prediction: Prediction) -> Callable[[str], str] | None:
        """What uploads the files of ``prediction``, if they are to be uploaded."""
        settings = self._settings
        base = prediction.upload_url or settings.upload_url
        if not base:
            return None
        deny = settings.deny_private and bool(prediction.upload_url)  # the operator's own may be anywhere
        return functools.partial(upload, base=base, user_agent=settings.user_agent, deny_private=deny)

    def _apply(self, prediction: Prediction, message: Done | Output | Failed | Canceled, body: bytes) -> None:
        if isinstance(message, Output):
            prediction.add_output(body)
            return
        if self._owner.slots == 1:
            # What it printed is in the pipe before its end is in the socket.
            self._owner.lifecycle.supervisor.read_output()
            self.end_lines()
        end = self._owner.end
        if isinstance(message, Canceled):
            end(prediction, "canceled")
        elif isinstance(message, Failed):
            end(prediction, "failed", error=f"Prediction failed: {message.error}")
        elif prediction.error:
            end(prediction, "failed", error=f"Prediction failed: {prediction.error}")
        elif message.stream:
            end(prediction, "succeeded", output=join_outputs(prediction.outputs))
        else:
            validator = self._owner.trainer if prediction.training else self._owner.validator
            wrap = validator.output_is_array and not body.startswith(b"[")
            end(prediction, "succeeded", output=join_outputs([body]) if wrap else body)

    def take_printed(self, data: bytes) -> None:
        """Take what came through the pipe: it belongs to setup, or to the prediction that runs alone."""
        prediction = self._sole()
        if prediction is not None and not prediction.secrets:
            prediction.add_log(data)
        lines, newline, self._partial = (self._partial + data).rpartition(b"\n")
        if newline:
            self._show(lines + newline, prediction)

    def end_lines(self) -> None:
        """Show what was printed without the end of a line."""
        if self._partial:
            data, self._partial = self._partial, b""
            self._show(data, self._sole(), b"\n")

    def _show(self, data: bytes, prediction: Prediction | None, end: bytes = b"") -> None:
        if prediction is not None and prediction.secrets:  # whole lines, so that none is cut in two
            data = prediction.mask(data)
            prediction.add_log(data)
        self._log.model_output(data + end, prediction.id if prediction else "")

    def _sole(self) -> Prediction | None:
        if self._owner.slots > 1 or self._owner.lifecycle.setting_up:
            return None
        return next((each for each in self._owner.running.values() if each.sent), None)
