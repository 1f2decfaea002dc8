"""``healthcheck()``, as ``GET /health-check`` shows it."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from tests.runtime.harness import Serve

SYNCHRONOUS = """
import pathlib, time
class Runner:
    def run(self, seconds: float = 0.0) -> str:
        time.sleep(seconds)
        return "x"
    def healthcheck(self):
        what = pathlib.Path("what").read_text()
        if what == "sleep":
            time.sleep(8)
        if what == "raise":
            raise ValueError("no GPU")
        return {"true": True, "false": False, "none": None}.get(what)
"""
ASYNCHRONOUS = """
import asyncio, pathlib
class Runner:
    async def run(self, seconds: float = 0.0) -> str:
        await asyncio.sleep(seconds)
        return "x"
    async def healthcheck(self):
        what = pathlib.Path("what").read_text()
        if what == "sleep":
            await asyncio.sleep(8)
        if what == "raise":
            raise ValueError("no GPU")
        return {"true": True, "false": False, "none": None}.get(what)
"""
MIXED = SYNCHRONOUS.replace("def run", "async def run").replace("time.sleep(seconds)", "pass")


@pytest.mark.parametrize("model", [SYNCHRONOUS, ASYNCHRONOUS, MIXED], ids=["synchronous", "asynchronous", "mixed"])
def test_what_the_check_says_is_in_the_health(serve: Serve, tmp_path: Path, model: str) -> None:
    what = tmp_path / "what"
    what.write_text("true")
    server = serve(model)
    assert "user_healthcheck_error" not in server.health
    what.write_text("none")
    assert server.health["status"] == "READY"
    what.write_text("false")
    health = server.health
    assert health["status"] == "UNHEALTHY"
    assert health["user_healthcheck_error"] == "Healthcheck failed: user-defined healthcheck returned False"
    what.write_text("raise")
    assert server.health["user_healthcheck_error"] == "Healthcheck failed: ValueError: no GPU"
    assert server.output() == "x"  # an unhealthy model is asked all the same
    what.write_text("true")
    assert server.health["status"] == "READY"


@pytest.mark.parametrize("model", [SYNCHRONOUS, ASYNCHRONOUS], ids=["synchronous", "asynchronous"])
def test_a_check_that_hangs_does_not_hold_up_the_server(serve: Serve, tmp_path: Path, model: str) -> None:
    (tmp_path / "what").write_text("true")
    server = serve(model)
    (tmp_path / "what").write_text("sleep")
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(server.health["user_healthcheck_error"])) for _ in range(3)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    assert server.output() == "x"
    assert time.monotonic() - started < 3
    for thread in threads:
        thread.join()
    assert time.monotonic() - started < 7.5
    assert found == ["Healthcheck failed: user-defined healthcheck timed out after 5.0 seconds"] * 3


def test_it_is_asked_while_a_prediction_runs(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "what").write_text("true")
    server = serve(SYNCHRONOUS)
    thread = threading.Thread(target=server.output, kwargs={"seconds": 1})
    thread.start()
    assert server.wait_for("BUSY")["status"] == "BUSY"
    (tmp_path / "what").write_text("false")
    assert server.health["status"] == "UNHEALTHY"
    thread.join()
