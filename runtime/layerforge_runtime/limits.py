"""How much of everything: sizes, times and counts that protect the server, each with its environment variable.

Sizes are in bytes, times in seconds. ``docs/runtime.md`` has the table.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import NamedTuple

MIB = 1 << 20


class Limits(NamedTuple):
    """One field for each variable of VARIABLES."""

    request: int = 512 * MIB
    headers: int = 64 * 1024
    download: int = 16384 * MIB
    download_seconds: float = 3600.0
    download_redirects: int = 10
    log: int = 8 * MIB
    stream_events: int = 1024
    stream_bytes: int = 64 * MIB
    stream_readers: int = 64
    stream_keep_alive: float = 15.0
    finished_streams: int = 16
    webhook_interval: float = 0.5
    webhook_retries: int = 12
    webhooks_pending: int = 256
    spool: int = 16 * MIB


class Terms(NamedTuple):
    """On which terms files are fetched: sizes in bytes, times in seconds."""

    user_agent: str
    most: int
    seconds: float
    redirects: int
    deny_private: bool


VARIABLES = {
    "COG_MAX_REQUEST_BYTES": "request",
    "COG_MAX_HEADER_BYTES": "headers",
    "COG_MAX_DOWNLOAD_BYTES": "download",
    "COG_DOWNLOAD_TIMEOUT": "download_seconds",
    "COG_MAX_REDIRECTS": "download_redirects",
    "COG_MAX_LOG_BYTES": "log",
    "COG_STREAM_HISTORY_CAPACITY": "stream_events",
    "COG_STREAM_HISTORY_BYTES": "stream_bytes",
    "COG_MAX_STREAM_READERS": "stream_readers",
    "COG_STREAM_KEEP_ALIVE": "stream_keep_alive",
    "COG_MAX_FINISHED_STREAMS": "finished_streams",
    "COG_THROTTLE_RESPONSE_INTERVAL": "webhook_interval",
    "COG_WEBHOOK_RETRIES": "webhook_retries",
    "COG_MAX_PENDING_WEBHOOKS": "webhooks_pending",
    "COG_SPOOL_BYTES": "spool",
}

_MAY_BE_ZERO = {
    "COG_STREAM_HISTORY_CAPACITY",
    "COG_MAX_REDIRECTS",
    "COG_MAX_FINISHED_STREAMS",
    "COG_THROTTLE_RESPONSE_INTERVAL",
    "COG_WEBHOOK_RETRIES",
}


def read_limits(environment: Mapping[str, str]) -> Limits:
    """The limits that ``environment`` sets. A value that makes no sense is reported on stderr and ignored."""
    found: dict[str, int | float] = {}
    for variable, field in VARIABLES.items():
        text = environment.get(variable, "").strip()
        if not text:
            continue
        default = Limits._field_defaults[field]
        value = _number(text, whole=isinstance(default, int))
        if value is None or (value == 0 and variable not in _MAY_BE_ZERO):
            kind = "a whole number" if isinstance(default, int) else "a number"
            least = "of at least 0" if variable in _MAY_BE_ZERO else "above 0"
            print(f"warning: {variable}={text!r} is not {kind} {least}; using {default}", file=sys.stderr)
        else:
            found[field] = value
    return Limits(**found)  # type: ignore[arg-type]  # each is of its default's type


def _number(text: str, *, whole: bool) -> int | float | None:
    try:
        value = int(text) if whole else float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None
