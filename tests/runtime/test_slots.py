"""Slots and the queue before them, and that cancels and lost clients always give them back."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.harness import Answer, Serve

SYNCHRONOUS = """
import threading, time
class Runner:
    def run(self, how: str = "sleep", seconds: float = 0.0) -> str:
        end = time.monotonic() + seconds
        if how == "sleep":
            time.sleep(seconds)
        if how == "lock":
            threading.Lock().acquire(timeout=seconds) and threading.Event().wait(seconds)
        while how == "busy" and time.monotonic() < end:
            pass
        while how == "print" and time.monotonic() < end:
            print("x" * 100)
        return "done"
"""
ASYNCHRONOUS = """
import asyncio, time
from cog import concurrent
class Runner:
    @concurrent(max=4)
    async def run(self, how: str = "sleep", seconds: float = 0.0) -> str:
        end = time.monotonic() + seconds
        if how != "sleep":
            while time.monotonic() < end:
                print("x" * 100)
                await asyncio.sleep(0)
        await asyncio.sleep(seconds)
        return "done"
"""
STREAM = """
import time
from typing import Iterator
class Runner:
    def run(self, how: str = "", seconds: float = 0.0) -> Iterator[str]:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            yield "x"
"""


def in_background(work: Callable[..., Any], *arguments: Any) -> threading.Thread:
    thread = threading.Thread(target=work, args=arguments)
    thread.start()
    return thread


@pytest.mark.parametrize("how", ["sleep", "lock", "busy", "print"])
def test_synchronous_code_is_canceled_wherever_it_is(serve: Serve, how: str) -> None:
    server = serve(SYNCHRONOUS)
    body = {"id": "one", "input": {"how": how, "seconds": 30}}
    answers: list[Answer] = []
    thread = in_background(lambda: answers.append(server.request("POST", "/predictions", body)))
    server.wait_for("BUSY")
    time.sleep(0.1)
    for _ in range(3):
        assert server.request("POST", "/predictions/one/cancel").status == 200
    thread.join(10)
    assert answers[0].json["status"] == "canceled"
    assert "Traceback" not in answers[0].json["logs"]
    assert server.output() == "done"


def test_code_that_tidies_up_and_code_that_will_not_be_canceled(serve: Serve) -> None:
    server = serve(
        """
        import time
        from cog import CancelationException
        class Runner:
            def run(self, refuse: bool = False) -> str:
                try:
                    time.sleep(30)
                except CancelationException:
                    print("tidied up")
                    if not refuse:
                        raise
                return "went on"
        """
    )
    for refuse, status in ((False, "canceled"), (True, "succeeded")):
        body = {"id": "one", "input": {"refuse": refuse}}
        answers: list[Answer] = []
        thread = in_background(lambda: answers.append(server.request("POST", "/predictions", body)))  # noqa: B023
        server.wait_for("BUSY")
        time.sleep(0.05)
        server.request("POST", "/predictions/one/cancel")
        thread.join(10)
        assert (answers[0].json["status"], answers[0].json["logs"]) == (status, "tidied up\n")


def test_asynchronous_code_gets_a_cancelled_error(serve: Serve) -> None:
    server = serve(
        """
        import asyncio
        from cog import concurrent
        class Runner:
            @concurrent(max=2)
            async def run(self) -> str:
                try:
                    await asyncio.sleep(30)
                except asyncio.CancelledError:
                    print("tidied up")
                    raise
        """
    )
    answers: list[Answer] = []
    body = {"id": "one", "input": {}}
    thread = in_background(lambda: answers.append(server.request("POST", "/predictions", body)))
    deadline = time.monotonic() + 5
    while server.request("POST", "/predictions/one/cancel").status == 404 and time.monotonic() < deadline:
        time.sleep(0.01)
    thread.join(10)
    assert answers[0].json["status"] == "canceled"


@pytest.mark.parametrize("model", [SYNCHRONOUS, ASYNCHRONOUS, STREAM], ids=["synchronous", "asynchronous", "stream"])
@pytest.mark.parametrize("rounds", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_cancels_and_lost_clients_at_random_leave_every_slot_free(serve: Serve, model: str, rounds: int) -> None:
    server = serve(model, environment={"COG_LOG_LEVEL": "error", "COG_MAX_QUEUE": "2"})
    chance = random.Random(rounds)
    worker = server.worker
    for number in range(rounds):
        how = chance.choice(["sleep", "lock", "busy", "print"])
        seconds = chance.choice([0.0, 0.001, 0.01, 30])
        body = f'{{"id": "p{number}", "input": {{"how": "{how}", "seconds": {seconds}}}}}'
        head = f"POST /predictions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
            connection.sendall(f"{head}\r\n\r\n{body}".encode())
            time.sleep(chance.choice([0, 0, 0.001, 0.005]))
            if chance.random() < 0.5:
                continue  # and is gone
            connection.settimeout(0.1)
            answer = b""
            for _ in range(100):
                server.request("POST", f"/predictions/p{number}/cancel")
                try:
                    answer = connection.recv(1 << 16)
                    break
                except TimeoutError:  # it had not arrived yet
                    continue
            assert b'"status":"' in answer, (number, how, seconds)
    server.wait_for("READY", seconds=10)
    assert server.predict()["status"] == "succeeded"
    assert server.worker == worker


def test_the_queue_is_bounded_and_in_order(serve: Serve, tmp_path: Path) -> None:
    server = serve(
        """
        import time
        class Runner:
            def run(self, name: str, seconds: float = 0.0) -> str:
                time.sleep(seconds)
                with open("order", "a") as file:
                    file.write(name)
                return name
        """,
        environment={"COG_MAX_QUEUE": "2"},
    )
    thread = in_background(lambda: server.output(name="a", seconds=0.6))
    server.wait_for("BUSY")

    def send(name: str) -> int:
        body = {"id": name, "input": {"name": name}}
        return server.request("POST", "/predictions", body, {"Prefer": "respond-async"}).status

    assert [send("b"), send("c"), send("d")] == [202, 202, 409]
    assert server.request("POST", "/predictions/b/cancel").status == 200  # which makes room
    assert [send("e"), send("f")] == [202, 409]
    thread.join()
    server.wait_for("READY")
    assert (tmp_path / "order").read_text() == "ace"


def test_requests_after_one_another_on_one_connection_find_the_slot_free(serve: Serve) -> None:
    server = serve(SYNCHRONOUS)
    connection = server.connect()
    for _ in range(500):
        connection.request("POST", "/predictions", b'{"input": {}}', {"Content-Type": "application/json"})
        response = connection.getresponse()
        assert (response.status, bool(response.read())) == (200, True)
    connection.close()


def test_all_slots_of_an_asynchronous_model_are_used(serve: Serve) -> None:
    server = serve(ASYNCHRONOUS)
    started = time.monotonic()
    threads = [in_background(lambda: server.output(seconds=0.5)) for _ in range(4)]
    server.wait_for("BUSY")
    assert server.request("POST", "/predictions", {"input": {}}).status == 409
    for thread in threads:
        thread.join()
    assert time.monotonic() - started < 1.5
