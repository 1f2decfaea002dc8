from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

import pytest

from layerforge.engines.protocol import Container
from layerforge.errors import EngineError, InputError
from layerforge.prediction import TRAININGS, Prediction, predict, read_schema, wait_until_ready


class Model:
    """A server that gives prepared answers, and a container around it."""

    def __init__(self) -> None:
        self.health: list[Any] = [{"status": "READY"}]
        self.answer: tuple[int, bytes] = (200, b"{}")
        self.asked: list[tuple[str, Any]] = []
        self.delay = 0.0
        self.log = ""
        self.running = True
        model = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: Any) -> None:
                pass

            def do_GET(self) -> None:
                if self.path == "/health-check":
                    health = model.health.pop(0) if len(model.health) > 1 else model.health[0]
                    self.reply(*health) if isinstance(health, tuple) else self.reply(200, json.dumps(health).encode())
                else:
                    self.reply(*model.answer)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                model.asked.append((self.path, json.loads(body)))
                time.sleep(model.delay)
                if model.answer[0]:
                    self.reply(*model.answer)

            def reply(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    # -- what a Container does

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def logs(self) -> str:
        return self.log

    def follow(self, sink: Callable[[str], object]) -> None:
        sink(self.log)

    def is_running(self) -> bool:
        return self.running

    def wait(self, timeout: float | None = None) -> int | None:
        return None if self.running else 9

    def stop(self, grace: float = 10) -> None:
        self.running = False

    def __enter__(self) -> Container:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


@pytest.fixture
def model() -> Iterator[Model]:
    fake = Model()
    yield fake
    fake.close()


# -- readiness -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ready", ["READY", "BUSY"])
def test_waits_through_the_setup(model: Model, ready: str) -> None:
    model.health = [{"status": "UNKNOWN"}, {"status": "STARTING", "setup": None}, (503, b"not yet"), {"status": ready}]
    wait_until_ready(model, 10)
    assert len(model.health) == 1


def test_a_failed_setup_shows_its_logs(model: Model) -> None:
    failed = {"status": "SETUP_FAILED", "setup": {"status": "failed", "logs": "Traceback\nValueError: no weights\n"}}
    model.health = [{"status": "STARTING"}, failed]
    with pytest.raises(EngineError) as raised:
        wait_until_ready(model, 10)
    assert str(raised.value) == "setup() failed:\n  Traceback\n  ValueError: no weights"


def test_a_failed_setup_without_logs_shows_the_container_s(model: Model) -> None:
    model.health = [{"status": "DEFUNCT", "setup": None}]
    model.log = "worker killed"
    with pytest.raises(EngineError, match="the model broke down:\n  worker killed"):
        wait_until_ready(model, 10)


def test_an_unhealthy_model(model: Model) -> None:
    model.health = [{"status": "UNHEALTHY", "user_healthcheck_error": "no GPU"}]
    with pytest.raises(EngineError, match=r"healthcheck\(\) failed: no GPU"):
        wait_until_ready(model, 10)


def test_a_container_that_ended_shows_its_last_lines(model: Model) -> None:
    model.running = False
    model.log = "".join(f"line {number}\n" for number in range(100))
    with pytest.raises(EngineError, match="ended with status 9 before it was ready") as raised:
        wait_until_ready(model, 10)
    assert raised.value.message.splitlines()[1] == "  line 70"
    assert raised.value.message.endswith("  line 99")


def test_time_runs_out(model: Model) -> None:
    model.health = [{"status": "STARTING"}]
    model.log = "downloading"
    before = time.monotonic()
    with pytest.raises(EngineError, match=r"not ready after 0\.2 seconds:\n  downloading") as raised:
        wait_until_ready(model, 0.2)
    assert time.monotonic() - before < 3
    assert "--setup-timeout" in raised.value.hint


def test_something_else_answers(model: Model) -> None:
    model.health = [(404, b"<html>not found</html>")]
    with pytest.raises(EngineError, match="status 404 and no health: this is no Cog model"):
        wait_until_ready(model, 10)


# -- predictions ---------------------------------------------------------------------------------------------


def test_a_prediction(model: Model) -> None:
    answer = {
        "id": None,
        "status": "succeeded",
        "output": {"a": [1, 2.5, None]},
        "error": None,
        "logs": "hi\n",
        "metrics": {"predict_time": 0.1},
        "started_at": "2025-01-01T00:00:00+00:00",
    }
    model.answer = (200, json.dumps(answer).encode())
    found = predict(model.url, {"text": "ünï", "n": 3})
    assert found == Prediction("succeeded", {"a": [1, 2.5, None]}, None, "hi\n", {"predict_time": 0.1})
    assert model.asked == [("/predictions", {"input": {"text": "ünï", "n": 3}})]


def test_a_training(model: Model) -> None:
    model.answer = (201, b'{"status": "succeeded", "output": "w", "logs": null, "metrics": null}')
    assert predict(model.url, {}, kind=TRAININGS).output == "w"
    assert model.asked == [("/trainings", {"input": {}})]


def test_a_failed_prediction_is_given_back(model: Model) -> None:
    model.answer = (200, b'{"status": "failed", "error": "out of memory", "output": null}')
    found = predict(model.url, {})
    assert (found.status, found.error) == ("failed", "out of memory")


def test_refused_inputs_are_named(model: Model) -> None:
    detail = [
        {"loc": ["body", "input", "n"], "msg": "must be at least 1", "type": "value_error"},
        {"loc": ["body"], "msg": "wrong"},
    ]
    model.answer = (422, json.dumps({"detail": detail}).encode())
    with pytest.raises(InputError) as raised:
        predict(model.url, {"n": 0})
    assert str(raised.value) == "the model does not accept the inputs:\n  n: must be at least 1\n  body: wrong"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((409, b""), "busy"),
        ((503, b"starting"), "answered 503: starting"),
        ((500, b""), "answered 500: nothing"),
        ((200, b"<html>"), "no prediction"),
        ((422, b"?"), r"does not accept the inputs: \?"),
        ((0, b""), "went away during the prediction"),
    ],
)
def test_other_answers(model: Model, answer: tuple[int, bytes], message: str) -> None:
    model.answer = answer
    with pytest.raises((EngineError, InputError), match=message):
        predict(model.url, {})


def test_nobody_answers(model: Model) -> None:
    url = model.url
    model.close()
    with pytest.raises(EngineError, match="went away during the prediction"):
        predict(url, {})
    model.__init__()  # type: ignore[misc]  # for the fixture to close


def test_the_proxy_is_for_others(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    model.answer = (200, b'{"status": "succeeded", "output": 1}')
    assert predict(model.url, {}).output == 1


def test_the_schema_of_a_running_model(model: Model) -> None:
    model.answer = (200, b'{"openapi": "3.0.2"}')
    assert read_schema(model.url) == {"openapi": "3.0.2"}
    model.answer = (404, b"")
    with pytest.raises(EngineError, match="gives no schema: status 404"):
        read_schema(model.url)
