"""The running prediction, as its code sees it: metrics to record and the request's context."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

Sender = Callable[[str, Any, str], None]
"""Takes a metric's name, value (None deletes it) and mode."""

_SEGMENT = re.compile(r"[A-Za-z](?:_?[A-Za-z0-9])*")
_MODES = {None: "replace", "replace": "replace", "incr": "incr", "increment": "incr", "append": "append"}
_TYPES = (bool, int, float, str, list, dict)  # bool first: it is an int too


class MetricRecorder:
    """The metrics of one prediction: ``metrics[name] = value``, ``del metrics[name]``, :meth:`record`."""

    __slots__ = ("_sender", "_types")

    def __init__(self, sender: Sender | None = None) -> None:
        self._sender = sender
        self._types: dict[str, str] = {}

    def record(self, key: str, value: Any, mode: str | None = None) -> None:
        """Record a metric.

        Args:
            key: one to four names joined by dots, at most 128 characters; each starts with a letter and goes on with
                letters, digits and single underscores. ``predict_time`` and names under ``cog.`` are the runtime's own.
            value: bool, int, float, str, list or dict, and always of the type this metric had before.
            mode: "replace", "incr" (add to the number recorded before) or "append" (to the list recorded before).

        Raises:
            ValueError: the name breaks the rules, or the number is not finite.
            TypeError: the value or the mode does.
        """
        if mode not in _MODES:
            raise TypeError(f"Invalid metric mode: {mode!r}. Expected 'replace', 'incr', or 'append'.")
        if self._sender is None:
            return
        if key == "predict_time":
            raise ValueError("'predict_time' is reserved by the runtime")
        if key.startswith("cog."):
            raise ValueError("the 'cog.' prefix is reserved for system metrics")
        _check_name(key)
        kind = next((kind.__name__ for kind in _TYPES if isinstance(value, kind)), None)
        if kind is None:
            raise TypeError(
                f"Unsupported metric value type: {type(value).__name__}. Expected bool, int, float, str, list, or dict."
            )
        if kind == "float" and not math.isfinite(value):
            raise ValueError(f"Metric {key!r} must be a finite number, got {value}")
        known = self._types.get(key, kind)
        if known != kind:
            raise TypeError(f"Metric {key!r} has type {known}, cannot set to {kind} without deleting first")
        if _MODES[mode] == "incr" and kind not in ("int", "float"):
            raise TypeError(f"Increment mode requires int or float, got {kind}")
        self._sender(key, value, _MODES[mode])
        self._types[key] = kind

    def delete(self, key: str) -> None:
        """Forget a metric, and the type it had."""
        if self._sender is not None:
            _check_name(key)
            self._types.pop(key, None)
            self._sender(key, None, "replace")

    def __setitem__(self, key: str, value: Any) -> None:
        if value is None:
            self.delete(key)
        else:
            self.record(key, value)

    def __delitem__(self, key: str) -> None:
        self.delete(key)

    def __repr__(self) -> str:
        return "MetricRecorder(inactive)" if self._sender is None else f"MetricRecorder(keys={len(self._types)})"


class Scope:
    """One prediction: its ``metrics``, the ``context`` that came with its request, and the request's ``trace``.

    ``trace`` has the headers of W3C Trace Context (``traceparent``, ``tracestate``, ``baggage``) that were sent.
    """

    __slots__ = ("context", "metrics", "trace")

    def __init__(
        self,
        sender: Sender | None = None,
        context: dict[str, str] | None = None,
        trace: dict[str, str] | None = None,
    ) -> None:
        self.metrics = MetricRecorder(sender)
        self.context = context or {}
        self.trace = trace or {}

    def record_metric(self, key: str, value: Any, mode: str | None = None) -> None:
        """Record a metric, as :meth:`MetricRecorder.record` does; None as the value deletes it."""
        if value is None:
            self.metrics.delete(key)
        else:
            self.metrics.record(key, value, mode)

    def __repr__(self) -> str:
        return f"Scope({self.metrics!r})"


_current: ContextVar[Scope | None] = ContextVar("cog_scope", default=None)
_sole: Scope | None = None


def current_scope() -> Scope:
    """The prediction that this code runs for; outside of one, a scope that ignores what it is told."""
    return _current.get() or _sole or Scope()


def enter_scope(scope: Scope | None, *, sole: bool) -> None:
    """For the runtime: make ``scope`` current in this context and, if ``sole``, in threads that a model starts."""
    global _sole
    _current.set(scope)
    if sole:
        _sole = scope


def _check_name(key: str) -> None:
    if not key:
        raise ValueError("metric name must not be empty")
    if len(key) > 128:
        raise ValueError(f"metric name must be 128 characters or fewer (got {len(key)} characters)")
    segments = key.split(".")
    if len(segments) > 4:
        raise ValueError(f"metric name must have at most 4 dot-separated segments (got {len(segments)})")
    if not segments[0]:
        raise ValueError("metric name must not start with a dot")
    if not segments[-1]:
        raise ValueError("metric name must not end with a dot")
    if "" in segments:
        raise ValueError("metric name must not contain empty segments (consecutive dots)")
    for segment in segments:
        if problem := _find_problem(segment):
            raise ValueError(f"metric name segment {segment!r} {problem}")


def _find_problem(segment: str) -> str:
    if _SEGMENT.fullmatch(segment):
        return ""
    if not ("a" <= segment[0].lower() <= "z"):
        return "must start with a letter"
    if "__" in segment:
        return "must not contain consecutive underscores"
    for character in segment:
        if not (character == "_" or (character.isascii() and character.isalnum())):
            return f"contains invalid character {character!r}"
    return "must end with a letter or digit"
