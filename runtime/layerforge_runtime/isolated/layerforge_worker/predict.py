"""One prediction: from its frame to the frames with its outputs and its end. The same steps for both kinds of code."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from cog.exceptions import CancelationException
from cog.scope import Scope, enter_scope

from .capture import finish_lines, flush_streams
from .channel import Channel
from .inputs import decode_inputs
from .model import Model, Models
from .outputs import Encoder, OutputError
from .tracing import enter_trace


class Prediction:
    """A prediction, or a training, that this worker makes. ``folder`` takes files that hold its outputs."""

    def __init__(self, channel: Channel, models: Models, folder: str, head: dict[str, Any], body: bytes) -> None:
        self.id: str = head["id"]
        self.scope = Scope(self._record_metric, head.get("context"), head.get("trace"))
        self._training = bool(head.get("training"))
        self._channel = channel
        self._models = models
        self._body = body
        self._folder = f"{folder}/{head['folder']}"
        self._leave: Callable[[], None] | None = None

    def enter(self, *, sole: bool) -> None:
        """Make this the current prediction; ``sole``: of the whole process."""
        enter_scope(self.scope, sole=sole)
        if self.scope.trace:
            self._leave = enter_trace(self.scope.trace, sole=sole)

    def leave(self) -> None:
        """Undo what :meth:`enter` has done outside of this context."""
        if self._leave is not None:
            self._leave()

    def prepare(self) -> tuple[Model, Any]:
        """The model to call, and what has to be awaited before: a trainer's asynchronous setup."""
        return self._models.pick(training=self._training)

    def call(self, model: Model) -> Any:
        """Call the model; the result may still have to be awaited or iterated."""
        inputs = decode_inputs(self._body, model.fields)
        self._body = b""
        return model.run(**inputs)

    def send_output(self, value: Any) -> None:
        """Send one of several outputs."""
        encoder = Encoder(self._folder, snapshot=True)
        body = encoder.encode(value)
        self._channel.send("output", body, id=self.id, files=encoder.files)

    def finish(self, value: Any) -> None:
        """Send the output, or the outputs one by one if ``value`` yields them, and then the end."""
        if is_stream(value):
            for item in value:
                self.send_output(item)
            self.succeed_stream()
            return
        encoder = Encoder(self._folder)
        body = encoder.encode(value)
        self._end("done", body, files=encoder.files)

    def succeed_stream(self) -> None:
        """Send the end of a prediction whose outputs were all sent."""
        self._end("done", stream=True)

    def fail(self, error: BaseException) -> None:
        """Send the end of a prediction that raised."""
        print_traceback(error)
        self._end("failed", error=describe(error))

    def cancel(self) -> None:
        """Send the end of a prediction that was stopped."""
        self._end("canceled")

    def _end(self, kind: str, body: bytes = b"", **head: Any) -> None:
        finish_lines(self.id)
        flush_streams()
        self._channel.send_last(kind, body, id=self.id, **head)

    def _record_metric(self, name: str, value: Any, mode: str) -> None:
        self._channel.send("metric", id=self.id, name=name, value=value, mode=mode)


def is_stream(value: Any) -> bool:
    """Whether ``value`` yields outputs one after another; open files do too, but are one output."""
    return isinstance(value, Iterator) and not hasattr(value, "fileno") and not hasattr(value, "read")


def describe(error: BaseException) -> str:
    """The exception in one line, or as many as its message has."""
    message = str(error)
    if isinstance(error, OutputError):
        return message
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def print_traceback(error: BaseException) -> None:
    """Show where the model's code raised ``error``, without the frames of this package."""
    here = os.path.dirname(__file__)
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(here):
        trace = trace.tb_next
    if not isinstance(error, (CancelationException, OutputError)):
        traceback.print_exception(type(error), error, trace, file=sys.stderr)
