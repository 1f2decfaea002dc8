"""Workers that crash: their predictions fail, another one takes over, and at last the server gives up."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from tests.runtime.harness import Answer, Serve, Server

MODEL = """
import ctypes, os, signal, time
from cog import BaseRunner
class Runner(BaseRunner):
    def setup(self):
        with open("setups", "a") as file:
            file.write("x")
        if os.path.exists("fail-setup"):
            raise OSError("no weights")
        print("set up")
    def run(self, what: str = "", seconds: float = 0.0) -> int:
        time.sleep(seconds)
        if what == "segfault":
            ctypes.string_at(0)
        if what == "exit":
            print("last words")
            os._exit(4)
        if what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        return os.getpid()
"""


def ask(server: Server, answers: list[Answer], **inputs: object) -> threading.Thread:
    thread = threading.Thread(target=lambda: answers.append(server.request("POST", "/predictions", {"input": inputs})))
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("what", "how"),
    [
        ("segfault", "was killed by SIGSEGV"),
        ("exit", "exited with status 4"),
        ("kill", "was killed by SIGKILL (out of memory, perhaps)"),
    ],
)
def test_a_crash_fails_the_prediction_and_setup_runs_again(serve: Serve, tmp_path: Path, what: str, how: str) -> None:
    server = serve(MODEL, environment={"TMPDIR": str(tmp_path)})
    first = server.output()
    answer = server.request("POST", "/predictions", {"input": {"what": what}})
    assert answer.status == 200
    assert answer.json["status"] == "failed"
    assert answer.json["error"] == f"Worker crashed: it {how} while it ran this prediction."
    if what == "exit":
        assert answer.json["logs"] == "last words\n"
    health = server.wait_for("READY")
    assert health["setup"]["logs"] == "set up\n"
    assert (tmp_path / "setups").read_text() == "xx"
    assert server.output() != first
    assert server.stop() == 0
    assert not list(tmp_path.glob("layerforge-*"))


def test_an_idle_worker_that_dies_is_replaced(serve: Serve) -> None:
    server = serve(MODEL)
    first = server.output()
    os.kill(first, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while Path(f"/proc/{first}/exe").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    answer = server.request("POST", "/predictions", {"input": {}})
    if answer.status != 200:  # while the other one sets up
        assert answer.status == 503
    server.wait_for("READY")
    assert server.output() != first


def test_without_restarts_the_first_crash_is_the_end(serve: Serve) -> None:
    server = serve(MODEL, environment={"COG_WORKER_RESTARTS": "0"})
    assert server.predict(what="exit")["status"] == "failed"
    error = "The model cannot make predictions any more, because the worker exited with status 4"
    assert server.wait_for("DEFUNCT")["error"] == error
    answer = server.request("POST", "/predictions", {"input": {}})
    assert (answer.status, answer.json["error"]) == (503, error)
    assert server.stop() == 0


def test_crashes_in_a_row_are_the_end_and_a_success_between_starts_the_count_anew(serve: Serve) -> None:
    server = serve(MODEL, environment={"COG_WORKER_RESTARTS": "1"})
    for _ in range(3):
        assert server.predict(what="exit")["status"] == "failed"
        server.wait_for("READY")
        server.output()
    server.predict(what="exit")
    server.wait_for("READY")
    server.predict(what="exit")
    error = server.wait_for("DEFUNCT")["error"]
    assert error.endswith("after 2 crashes in a row: the worker exited with status 4")


def test_a_setup_that_fails_the_second_time_is_tried_again(serve: Serve, tmp_path: Path) -> None:
    server = serve(MODEL, environment={"COG_WORKER_RESTARTS": "3"})
    (tmp_path / "fail-setup").touch()
    server.predict(what="kill")
    deadline = time.monotonic() + 10
    while (tmp_path / "setups").read_text() == "x" and time.monotonic() < deadline:
        time.sleep(0.01)
    (tmp_path / "fail-setup").unlink()
    server.wait_for("READY")
    server.output()


def test_what_waits_in_the_queue_survives_a_crash(serve: Serve) -> None:
    server = serve(MODEL, environment={"COG_MAX_QUEUE": "2"})
    answers: list[Answer] = []
    threads = [ask(server, answers, what="exit", seconds=0.5)]
    server.wait_for("BUSY")
    threads += [ask(server, answers), ask(server, answers)]
    for thread in threads:
        thread.join()
    assert sorted(answer.json["status"] for answer in answers) == ["failed", "succeeded", "succeeded"]


def test_every_client_gets_an_end_when_workers_are_killed_at_random(serve: Serve) -> None:
    server = serve(MODEL, environment={"COG_WORKER_RESTARTS": "1000", "COG_MAX_QUEUE": "100"})
    answers: list[Answer] = []
    stop = threading.Event()

    def keep_asking() -> None:
        while not stop.is_set():
            answers.append(server.request("POST", "/predictions", {"input": {"seconds": 0.002}}))

    threads = [threading.Thread(target=keep_asking) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(8):
        time.sleep(0.1)
        os.kill(server.worker, signal.SIGKILL)
        server.wait_for("READY", "BUSY")
    stop.set()
    for thread in threads:
        thread.join()
    assert {answer.status for answer in answers} <= {200, 503}
    statuses = {answer.json["status"] for answer in answers}
    assert statuses <= {"succeeded", "failed"}
    assert "succeeded" in statuses
    server.wait_for("READY")
    server.output()
