"""One prediction, as the server sees it: status, outputs, logs, metrics, and the JSON that shows them."""

from __future__ import annotations

import asyncio
import base64
import os
import time
from typing import Any

import msgspec

from layerforge_runtime.logs import now

LOG_LIMIT = 8 * 1024 * 1024
"""Bytes of logs kept for one prediction, or of setup. The container's own output has all of them."""

_encode = msgspec.json.Encoder().encode


class Snapshot(msgspec.Struct, omit_defaults=True):
    """What clients and webhooks are told about a prediction."""

    id: str
    status: str
    logs: str | msgspec.UnsetType = msgspec.UNSET
    metrics: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    output: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: str | msgspec.UnsetType = msgspec.UNSET
    created_at: str | msgspec.UnsetType = msgspec.UNSET
    started_at: str | msgspec.UnsetType = msgspec.UNSET
    completed_at: str | msgspec.UnsetType = msgspec.UNSET


class Logs:
    """What was printed, up to LOG_LIMIT bytes."""

    __slots__ = ("_data", "_left_out")

    def __init__(self) -> None:
        self._data = bytearray()
        self._left_out = 0

    def add(self, data: bytes) -> None:
        room = LOG_LIMIT - len(self._data)
        self._data += data[:room]
        self._left_out += max(0, len(data) - room)

    def text(self) -> str:
        text = self._data.decode("utf-8", "replace")
        return f"{text}\n[{self._left_out} more bytes of logs were left out]\n" if self._left_out else text


class Prediction:
    """A prediction from its request to its end. ``finished`` is resolved at the end, whichever it is."""

    def __init__(self, id: str, created_at: str) -> None:
        self.id = id
        self.status = "starting"
        self.created_at = created_at
        self.started_at = now()
        self.completed_at = ""
        self.logs = Logs()
        self.metrics: dict[str, Any] = {}
        self.outputs: list[bytes] = []
        self.output: bytes | None = None
        self.error = ""
        self.folder = ""
        self.cancel_requested = False
        self.sent = False
        self.tail: asyncio.Task[None] | None = None
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._started = time.monotonic()

    @property
    def ended(self) -> bool:
        return self.completed_at != ""

    def end(self, status: str, *, output: bytes | None = None, error: str = "") -> None:
        """Take the final state; only the first call counts."""
        if self.ended:
            return
        self.metrics["predict_time"] = time.monotonic() - self._started
        self.status, self.output, self.error = status, output, error
        self.completed_at = now()
        if not self.finished.done():
            self.finished.set_result(None)

    def snapshot(self) -> bytes:
        """The JSON of its state now."""
        shown = Snapshot(
            id=self.id,
            status=self.status,
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
    return base64.b32encode(os.urandom(16)).decode().rstrip("=").lower()
