"""What a model prints.

File descriptors 1 and 2 are pipes to the server, so everything is seen: prints, logging, C libraries, subprocesses.
With several predictions at a time, Python's own streams also tell whose line it is: they send it in a frame.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

current_prediction: ContextVar[str] = ContextVar("layerforge_prediction", default="")


def prepare_streams() -> None:
    """Make ``sys.stdout`` and ``sys.stderr`` write whole lines, and anything that a ``str`` can hold."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(
                encoding="utf-8", errors="backslashreplace", line_buffering=True, write_through=False, newline="\n"
            )


def flush_streams() -> None:
    """Write out what Python holds back, so that it is in the pipes before the result is in the socket."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):  # replaced or closed by the model
            pass


def route_streams(send: Callable[[str, str, str], None]) -> None:
    """Call ``send(prediction, source, text)`` for each line that is printed inside a prediction's context."""
    sys.stdout = _Router(sys.stdout, "stdout", send)
    sys.stderr = _Router(sys.stderr, "stderr", send)


class _Router(io.TextIOBase):
    def __init__(self, stream: Any, source: str, send: Callable[[str, str, str], None]) -> None:
        self._stream = stream
        self._source = source
        self._send = send
        self._partial: dict[str, str] = {}

    def write(self, text: str) -> int:
        prediction = current_prediction.get()
        if not prediction:
            return int(self._stream.write(text))
        lines, newline, rest = (self._partial.pop(prediction, "") + text).rpartition("\n")
        if rest:
            self._partial[prediction] = rest
        if newline:
            self._send(prediction, self._source, lines + newline)
        return len(text)

    def finish(self, prediction: str) -> None:
        """Send what ``prediction`` printed without ending the line."""
        if rest := self._partial.pop(prediction, ""):
            self._send(prediction, self._source, rest)

    def flush(self) -> None:
        self._stream.flush()

    def fileno(self) -> int:
        return int(self._stream.fileno())

    def isatty(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    @property
    def buffer(self) -> Any:
        return self._stream.buffer


def finish_lines(prediction: str) -> None:
    """End the lines that ``prediction`` left unfinished."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, _Router):
            stream.finish(prediction)
