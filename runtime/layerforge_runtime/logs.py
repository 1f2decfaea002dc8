"""Lines on stderr: the server's own, and what the model prints, to either stream.

``LOG_FORMAT=console`` is for people: the model's output goes through as it is. Otherwise each line is a JSON object,
with the members that Cog's server writes (``timestamp``, ``level``, ``target``, ``fields.message``).
"""

from __future__ import annotations

import os
import time
from datetime import datetime, timezone
from typing import Any

import msgspec

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_encode = msgspec.json.Encoder().encode


def iso_time(seconds: float) -> str:
    """A time (seconds since 1970) in ISO 8601, UTC, with microseconds."""
    global _second
    whole = int(seconds)
    if whole != _second[0]:  # several times are written for each request
        _second = (whole, datetime.fromtimestamp(whole, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S."))
    return f"{_second[1]}{int((seconds - whole) * 1e6):06d}+00:00"


_second = (-1, "")


def now() -> str:
    """The time, as :func:`iso_time` writes it."""
    return iso_time(time.time())


class Log:
    """Writes to stderr, lines that belong together with one system call."""

    def __init__(self, level: str, form: str) -> None:
        self._least = _LEVELS.get(level, 20)
        self._console = form == "console"

    def debug(self, message: str, **fields: Any) -> None:
        self._write("debug", message, fields)

    def info(self, message: str, **fields: Any) -> None:
        self._write("info", message, fields)

    def warning(self, message: str, **fields: Any) -> None:
        self._write("warning", message, fields)

    def error(self, message: str, **fields: Any) -> None:
        self._write("error", message, fields)

    def model_output(self, data: bytes, prediction: str = "") -> None:
        """Pass on whole lines that the model printed, in a prediction or outside of one."""
        if self._console:
            _put(data)
            return
        fields = {"prediction_id": prediction} if prediction else {}
        lines = data.decode("utf-8", "replace").splitlines()
        _put(b"".join(self._line("INFO", line, fields, "model") for line in lines))

    def _write(self, level: str, message: str, fields: dict[str, Any]) -> None:
        if _LEVELS[level] < self._least:
            return
        if self._console:
            details = "".join(f" {name}={value}" for name, value in fields.items())
            _put(f"{level}: {message}{details}\n".encode("utf-8", "replace"))
        else:
            _put(self._line(level.upper(), message, fields, "server"))

    @staticmethod
    def _line(level: str, message: str, fields: dict[str, Any], target: str) -> bytes:
        record = {
            "timestamp": now(),
            "level": level,
            "fields": {"message": message, **fields},
            "target": f"layerforge::{target}",
        }
        return _encode(record) + b"\n"


def _put(data: bytes) -> None:
    try:
        while data:
            data = data[os.write(2, data) :]
    except OSError:  # nobody reads our logs any more; predictions go on
        pass
