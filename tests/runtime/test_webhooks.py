"""Webhooks: which, when, with what, and what happens when nobody takes them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.runtime.harness import Serve, Server, write_model
from tests.runtime.web import Received, Web, web_server

MODEL = """
import os
import time
from typing import Any
from cog import BaseRunner, current_scope

class Runner(BaseRunner):
    def run(self, what: str = "one", count: int = 3, pause: float = 0.0) -> Any:
        print("begin")
        if what == "one":
            return "value"
        if what == "raise":
            raise ValueError("bad")
        if what == "context":
            return [current_scope().context, current_scope().trace, os.environ.get("TRACEPARENT")]
        if what == "sleep":
            time.sleep(pause)
        def items():
            for index in range(count):
                time.sleep(pause)
                yield index
        return items()
"""

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ENVIRONMENT = {"WEBHOOK_AUTH_TOKEN": "hush", "COG_WEBHOOK_RETRIES": "4", "COG_USER_AGENT": "tester/1"}


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    with web_server() as web:
        yield web


@pytest.fixture(scope="module")
def server(start_server: Serve, tmp_path_factory: pytest.TempPathFactory) -> Server:
    folder = tmp_path_factory.mktemp("model")
    write_model(folder, MODEL)
    return start_server(folder, environment=ENVIRONMENT)


def send(server: Server, url: str, headers: dict[str, str] | None = None, **body: Any) -> Any:
    inputs = {name: body.pop(name) for name in ("what", "count", "pause") if name in body}
    sent = {"input": inputs, "webhook": url, **body}
    return server.request("POST", "/predictions", sent, {"Prefer": "respond-async", **(headers or {})})


def statuses(received: list[Received]) -> list[str]:
    return [each.json["status"] for each in received]


def test_start_and_end_are_told_at_once_with_all_that_belongs_to_a_request(server: Server, web: Web) -> None:
    headers = {"traceparent": PARENT, "tracestate": "a=b"}
    answer = send(server, web.url + "/plain", headers, id="mine", webhook_events_filter=["start", "completed"])
    assert (answer.status, answer.json) == (202, {"id": "mine", "status": "starting"})
    first, last = web.wait("/plain", 2)
    assert (first.json["id"], first.json["status"], first.json["logs"]) == ("mine", "processing", "")
    assert (last.json["status"], last.json["output"], last.json["logs"]) == ("succeeded", "value", "begin\n")
    assert last.json["metrics"]["predict_time"] > 0
    for each in (first, last):
        assert each.method == "POST"
        wanted = {
            "content-type": "application/json",
            "user-agent": "tester/1",
            "authorization": "Bearer hush",
            "traceparent": PARENT,
            "tracestate": "a=b",
        }
        assert wanted.items() <= each.headers.items()


def test_outputs_are_told_twice_a_second_at_most_and_the_last_one_always(server: Server, web: Web) -> None:
    answer = send(server, web.url + "/often", what="many", count=14, pause=0.1, webhook_events_filter=["output"])
    assert answer.status == 202
    server.wait_for("BUSY")
    server.wait_for("READY")
    received = web.wait("/often", 3)
    time.sleep(0.3)
    received = web.at("/often")
    assert 3 <= len(received) <= 5
    assert all(later.at - earlier.at > 0.4 for earlier, later in itertools.pairwise(received[:-1]))
    assert received[-1].json["output"] == list(range(14))
    assert [len(each.json["output"]) for each in received] == sorted({len(each.json["output"]) for each in received})


def test_a_synchronous_prediction_has_webhooks_too(server: Server, web: Web) -> None:
    body = {"input": {"what": "raise"}, "webhook": web.url + "/sync", "webhook_events_filter": ["completed"]}
    assert server.request("POST", "/predictions", body).json["status"] == "failed"
    (only,) = web.wait("/sync", 1)
    assert only.json["error"] == "Prediction failed: ValueError: bad"


def test_events_that_were_not_asked_for_are_not_told(server: Server, web: Web) -> None:
    for name, events in (("none", []), ("logs", ["logs"])):
        send(server, f"{web.url}/{name}", webhook_events_filter=events)
        server.wait_for("READY")
    (only,) = web.wait("/logs", 1)
    assert only.json["logs"] == "begin\n"
    assert not web.at("/none")


def test_the_end_is_told_until_it_is_taken(server: Server, web: Web) -> None:
    send(server, web.url + "/fail/3/x", webhook_events_filter=["completed"])
    received = web.wait("/fail/3/x", 4)
    pauses = [later.at - earlier.at for earlier, later in itertools.pairwise(received)]
    assert 0.15 < pauses[0] < pauses[1] < pauses[2] < 1.5
    assert len({each.body for each in received}) == 1
    send(server, web.url + "/status/404", webhook_events_filter=["completed"])
    web.wait("/status/404", 1)
    time.sleep(0.5)
    assert len(web.at("/status/404")) == 1
    assert "/status/404 failed: answered 404 Not Found" in server.log


def test_a_redirected_webhook_keeps_its_body_but_not_its_token(server: Server, web: Web) -> None:
    send(server, f"{web.url}/to/308/{web.url}/there", webhook_events_filter=["completed"])
    (only,) = web.wait("/there", 1)
    assert (only.method, only.json["status"], "authorization" in only.headers) == ("POST", "succeeded", False)


def test_receivers_that_are_slow_or_gone_hold_nothing_up(server: Server, web: Web) -> None:
    started = time.monotonic()
    for url in (web.url + "/slow/5/x", "http://127.0.0.1:1/gone"):
        body = {"input": {}, "webhook": url}
        assert server.request("POST", "/predictions", body).json["status"] == "succeeded"
    assert time.monotonic() - started < 2
    # The end does not wait for a start that nobody answers.
    assert statuses(web.wait("/slow/5/x", 2)) == ["processing", "succeeded"]


def test_a_canceled_prediction_says_so(server: Server, web: Web) -> None:
    send(server, web.url + "/stop", what="sleep", pause=30, id="stop", webhook_events_filter=["completed"])
    server.wait_for("BUSY")
    assert server.request("POST", "/predictions/stop/cancel").status == 200
    assert statuses(web.wait("/stop", 1)) == ["canceled"]


def test_the_trace_reaches_the_model_beside_its_context(server: Server) -> None:
    body = {"input": {"what": "context"}, "context": {"user": "me"}}
    answer = server.request("POST", "/predictions", body, {"traceparent": PARENT, "tracestate": "a=b"})
    assert answer.json["output"] == [{"user": "me"}, {"traceparent": PARENT, "tracestate": "a=b"}, PARENT]
    assert server.request("POST", "/predictions", body, {"traceparent": "00-x"}).json["output"] == [
        {"user": "me"},
        {},
        None,
    ]


def test_an_empty_webhook_is_none(server: Server) -> None:
    answer = server.request("POST", "/predictions", {"input": {}, "webhook": ""})
    assert (answer.status, answer.json["output"]) == (200, "value")


def test_webhooks_are_delivered_before_the_server_ends(serve: Serve, web: Web) -> None:
    server = serve(MODEL, environment={"COG_THROTTLE_RESPONSE_INTERVAL": "0.1"})
    send(server, web.url + "/fail/2/end", webhook_events_filter=["completed"])
    web.wait("/fail/2/end", 1)
    assert server.stop() == 0
    assert len(web.at("/fail/2/end")) == 3
