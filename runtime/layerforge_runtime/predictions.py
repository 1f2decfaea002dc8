"""One prediction, as the server sees it: status, outputs, logs, metrics, and the JSON that shows them.

Who wants to follow it (an event stream, a webhook) is an :class:`Observer`.
"""

from __future__ import annotations

import asyncio
import base64
import os
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import msgspec

from layerforge_runtime.attachments import Attachments
from layerforge_runtime.limits import Limits
from layerforge_runtime.logs import now

_encode = msgspec.json.Encoder().encode


class Snapshot(msgspec.Struct, omit_defaults=True):
    """What clients and webhooks are told about a prediction."""

    id: str
    status: str
    input: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    logs: str | msgspec.UnsetType = msgspec.UNSET
    metrics: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    output: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: str | msgspec.UnsetType = msgspec.UNSET
    created_at: str | msgspec.UnsetType = msgspec.UNSET
    started_at: str | msgspec.UnsetType = msgspec.UNSET
    completed_at: str | msgspec.UnsetType = msgspec.UNSET


SHORTEST_SECRET = 4
"""Characters. Shorter ones are not masked in logs: they would be found everywhere."""


class Logs:
    """What was printed, up to ``limit`` bytes. The container's own output has all of it."""

    __slots__ = ("_data", "_left_out", "_limit")

    def __init__(self, limit: int) -> None:
        self._data = bytearray()
        self._left_out = 0
        self._limit = limit

    def add(self, data: bytes) -> None:
        room = self._limit - len(self._data)
        self._data += data[:room]
        self._left_out += max(0, len(data) - room)

    def text(self) -> str:
        text = self._data.decode("utf-8", "replace")
        return f"{text}\n[{self._left_out} more bytes of logs were left out]\n" if self._left_out else text


class Observer(Protocol):
    """Follows one prediction. Everything is called on the event loop, in the order in which it happened."""

    def started(self, prediction: Prediction) -> None:
        """It is with the worker."""

    def output_added(self, prediction: Prediction, body: bytes) -> None:
        """It has another output, or its only one; ``body`` is its JSON."""

    def logged(self, prediction: Prediction, source: str, data: bytes) -> None:
        """It printed ``data``, which need not end where a line or a character does."""

    def metric_recorded(self, prediction: Prediction, name: str, value: Any, mode: str) -> None:
        """It recorded a metric."""

    def ended(self, prediction: Prediction) -> None:
        """It has its final state."""


class Prediction:
    """A prediction from its request to its end. ``finished`` is resolved at the end, whichever it is."""

    def __init__(self, id: str, created_at: str, log_limit: int = Limits().log) -> None:
        self.id = id
        self.status = "starting"
        self.created_at = created_at
        self.started_at = now()
        self.completed_at = ""
        self.logs = Logs(log_limit)
        self.inputs: dict[str, Any] = {}
        self.metrics: dict[str, Any] = {}
        self.outputs: list[bytes] = []
        self.output: bytes | None = None
        self.error = ""
        self.folder = ""
        self.upload_url = ""
        self.attachments: Attachments | None = None
        self.observers: tuple[Observer, ...] = ()
        self.when_ended: list[Callable[[], None]] = []
        self.secrets: tuple[bytes, ...] = ()
        self.has_files = False
        self.training = False
        self.turn: asyncio.Future[None] | None = None  # while it waits in the queue
        self.cancel_requested = False
        self.sent = False
        self.reported = False  # the worker has told its end
        self.fetching: asyncio.Task[dict[str, Any]] | None = None
        self.tail: asyncio.Task[None] | None = None
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._started = time.monotonic()

    @property
    def ended(self) -> bool:
        return self.completed_at != ""

    def start(self) -> None:
        """It goes to the worker."""
        self.status = "processing"
        for observer in self.observers:
            observer.started(self)

    def add_output(self, body: bytes) -> None:
        """Take one of several outputs."""
        self.outputs.append(body)
        for observer in self.observers:
            observer.output_added(self, body)

    def add_log(self, data: bytes, source: str = "stdout") -> None:
        """Take what it printed."""
        self.logs.add(data)
        for observer in self.observers:
            observer.logged(self, source, data)

    def hide(self, names: Iterable[str], inputs: Mapping[str, Any]) -> None:
        """Keep the values of the inputs ``names`` out of logs and errors."""
        found: set[bytes] = set()
        for name in names:
            value = inputs.get(name)
            for each in value if isinstance(value, list) else [value]:
                if isinstance(each, str) and len(each) >= SHORTEST_SECRET:
                    found.add(each.encode("utf-8", "replace"))
        self.secrets = tuple(sorted(found, key=len, reverse=True))

    def mask(self, data: bytes) -> bytes:
        """``data`` without the values that are hidden."""
        for secret in self.secrets:
            data = data.replace(secret, b"**********")
        return data

    def end(self, status: str, *, output: bytes | None = None, error: str = "") -> None:
        """Take the final state; only the first call counts."""
        if self.ended:
            return
        if self.observers and output is not None and not self.outputs:  # its only output
            self.output = output
            for observer in self.observers:
                observer.output_added(self, output)
        self.metrics["predict_time"] = time.monotonic() - self._started
        if self.secrets:
            error = self.mask(error.encode("utf-8", "replace")).decode("utf-8", "replace")
        self.status, self.output, self.error = status, output, error
        self.completed_at = now()
        for observer in self.observers:
            observer.ended(self)
        for call in self.when_ended:
            call()
        if not self.finished.done():
            self.finished.set_result(None)

    def snapshot(self, inputs: dict[str, Any] | None = None) -> bytes:
        """The JSON of its state now, with ``inputs`` if they are given; ``attachments`` belong into it."""
        shown = Snapshot(
            id=self.id,
            status=self.status,
            input=msgspec.UNSET if inputs is None else inputs,
            logs=self.logs.text(),
            metrics=self.metrics,
            created_at=self.created_at,
            started_at=self.started_at,
        )
        if self.output is not None:
            shown.output = msgspec.Raw(self.output)
        elif self.outputs:
            shown.output = msgspec.Raw(join_outputs(self.outputs))
        if self.error:
            shown.error = self.error
        if self.completed_at:
            shown.completed_at = self.completed_at
        return _encode(shown)

    def record_metric(self, name: str, value: Any, mode: str) -> None:
        """Take a metric; dots in its name make nested objects."""
        for observer in self.observers:
            observer.metric_recorded(self, name, value, mode)
        *parents, leaf = name.split(".")
        place = self.metrics
        for parent in parents:
            inner = place.get(parent)
            if not isinstance(inner, dict):
                inner = place[parent] = {}
            place = inner
        if mode == "incr":
            before = place.get(leaf, 0)
            place[leaf] = before + value if isinstance(before, (int, float)) else value
        elif mode == "append":
            before = place.get(leaf, [])
            place[leaf] = [*(before if isinstance(before, list) else [before]), value]
        elif value is None:
            place.pop(leaf, None)
        else:
            place[leaf] = value


def join_outputs(outputs: list[bytes]) -> bytes:
    """The JSON array of ``outputs``, each of which is JSON already."""
    return b"[" + b",".join(outputs) + b"]"


def new_id() -> str:
    """26 letters and digits, random; the form that Cog's documentation recommends."""
    if not _ids:
        text = base64.b32encode(os.urandom(20 * _BATCH)).decode().lower()
        _ids.extend(text[start : start + 26] for start in range(0, 32 * _BATCH, 32))
    return _ids.pop()


_ids: list[str] = []
_BATCH = 64
