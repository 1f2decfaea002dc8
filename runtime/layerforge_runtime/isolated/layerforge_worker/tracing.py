"""The trace that a request belongs to (W3C Trace Context), for the model's own spans."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial

_VARIABLES = {"traceparent": "TRACEPARENT", "tracestate": "TRACESTATE", "baggage": "BAGGAGE"}


def enter_trace(trace: dict[str, str], *, sole: bool) -> Callable[[], None]:
    """Make ``trace`` the current one; the result undoes that.

    Where the model uses OpenTelemetry, its context is set; it is never imported from here. ``sole``: nothing else runs
    in this process, so programs that the model starts are told too, by environment variables.
    """
    undo: list[Callable[[], None]] = []
    if sole:
        for name, value in trace.items():
            os.environ[_VARIABLES[name]] = value
            undo.append(partial(_forget, _VARIABLES[name]))
    context, propagate = sys.modules.get("opentelemetry.context"), sys.modules.get("opentelemetry.propagate")
    if context is not None and propagate is not None:
        try:
            token = context.attach(propagate.extract(trace))
            undo.append(lambda: context.detach(token))
        except Exception as error:  # a broken set-up of tracing does not stop predictions
            print(f"the trace of the request cannot be used: {error}", file=sys.stderr)

    def leave() -> None:
        for step in undo:
            step()

    return leave


def _forget(variable: str) -> None:
    os.environ.pop(variable, None)
