"""``GET /metrics``: counters and gauges in Prometheus' text format."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping

from layerforge_runtime.predictions import Prediction

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_BOUNDS = (0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")


class Metrics:
    """Counts what has happened since the server started."""

    def __init__(self) -> None:
        self._ended: Counter[tuple[str, str]] = Counter()
        self._refused: Counter[int] = Counter()
        self._buckets = [0] * (len(_BOUNDS) + 1)
        self._seconds = 0.0

    def prediction_ended(self, prediction: Prediction, kind: str) -> None:
        """Count a prediction, or a training, that has its final state."""
        self._ended[kind, prediction.status] += 1
        seconds = prediction.metrics["predict_time"]
        self._buckets[bisect_left(_BOUNDS, seconds)] += 1
        self._seconds += seconds

    def request_refused(self, status: int) -> None:
        """Count a request that was answered with an error."""
        self._refused[status] += 1

    def render(self, *gauges: tuple[str, str, Mapping[str, float]]) -> bytes:
        """The text. Each of ``gauges`` has a name, what it means, and values by label (``a="b"``; empty for none)."""
        lines: list[str] = []
        ended = {f'kind="{kind}",status="{status}"': count for (kind, status), count in sorted(self._ended.items())}
        lines += _family("cog_predictions_total", "counter", "Predictions and trainings that have ended.", ended)
        refused = {f'code="{code}"': count for code, count in sorted(self._refused.items())}
        lines += _family("cog_requests_refused_total", "counter", "Requests that were answered with an error.", refused)
        lines += self._histogram()
        for name, meaning, values in gauges:
            lines += _family(name, "counter" if name.endswith("_total") else "gauge", meaning, values)
        for name, meaning, value in _read_process("self"):
            kind = "counter" if name.endswith("_total") else "gauge"
            lines += _family(f"process_{name}", kind, f"{meaning} of the server.", {"": value})
        return "".join(lines).encode()

    def _histogram(self) -> list[str]:
        name = "cog_prediction_seconds"
        lines = [f"# HELP {name} How long predictions took, files included.\n# TYPE {name} histogram\n"]
        total = 0
        for bound, count in zip((*map(repr, _BOUNDS), "+Inf"), self._buckets, strict=True):
            total += count
            lines.append(f'{name}_bucket{{le="{bound}"}} {total}\n')
        return [*lines, f"{name}_sum {self._seconds!r}\n{name}_count {total}\n"]


def read_worker(pid: int) -> list[tuple[str, str, Mapping[str, float]]]:
    """The gauges of the worker process; none once it is gone."""
    return [
        (f"cog_worker_{name}", f"{meaning} of the worker.", {"": value}) for name, meaning, value in _read_process(pid)
    ]


def _family(name: str, kind: str, meaning: str, values: Mapping[str, float]) -> list[str]:
    lines = [f"# HELP {name} {meaning}\n# TYPE {name} {kind}\n"]
    return lines + [f"{name}{{{label}}} {value}\n" if label else f"{name} {value}\n" for label, value in values.items()]


def _read_process(pid: int | str) -> Iterator[tuple[str, str, float]]:
    """Source of the fields: proc(5)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        descriptors = len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return
    yield "cpu_seconds_total", "User and system time", (int(fields[11]) + int(fields[12])) / _TICKS
    yield "resident_memory_bytes", "Resident memory", int(fields[21]) * _PAGE
    yield "open_fds", "Open file descriptors", descriptors
