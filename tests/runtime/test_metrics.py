"""``GET /metrics``: Prometheus' text format, and what it counts."""

from __future__ import annotations

import re

from tests.runtime.harness import Serve

MODEL = """
from cog import BaseRunner, Input
class Runner(BaseRunner):
    def run(self, fail: bool = False, number: int = Input(default=1, ge=1)) -> str:
        assert not fail
        return "x"
"""

LINE = re.compile(r"[a-z_]+(\{([a-z]+=\"[^\"\n]*\",?)+\})? (\+Inf|-?[0-9.e+-]+)")


def test_metrics(serve: Serve) -> None:
    server = serve(MODEL)
    for _ in range(3):
        server.predict()
    server.predict(fail=True)
    assert server.request("POST", "/predictions", {"input": {"number": 0}}).status == 422
    answer = server.request("GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = answer.body.decode().splitlines()
    found = {}
    kinds = {}
    for line in lines:
        if line.startswith("# TYPE "):
            kinds[line.split()[2]] = line.split()[3]
        elif not line.startswith("#"):
            assert LINE.fullmatch(line), line
            name, _, value = line.rpartition(" ")
            assert name not in found
            found[name] = float(value)
    assert found['cog_predictions_total{kind="prediction",status="succeeded"}'] == 3
    assert found['cog_predictions_total{kind="prediction",status="failed"}'] == 1
    assert found['cog_requests_refused_total{code="422"}'] == 1
    assert found['cog_prediction_seconds_bucket{le="+Inf"}'] == found["cog_prediction_seconds_count"] == 4
    assert 0 < found["cog_prediction_seconds_sum"] < 10
    assert found['cog_health{status="READY"}'] == 1
    assert (found["cog_slots"], found["cog_predictions_running"]) == (1, 0)
    for process in ("process", "cog_worker"):
        assert found[f"{process}_resident_memory_bytes"] > 1_000_000
        assert found[f"{process}_open_fds"] > 3
    # Every family says what it is.
    for name in found:
        family = name.partition("{")[0]
        assert family in kinds or re.sub(r"_(bucket|sum|count)$", "", family) in kinds
