"""Requests that are odd or wrong, and the endpoints around predictions."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from layerforge_runtime.pages import mark_ready
from tests.runtime.harness import Serve, Server, write_model

NO_URL = "is not a URL that starts with http:, https: or data:"

MODEL = """
import time
from typing import List, Optional
from cog import BaseRunner, Input, Path

class Runner(BaseRunner):
    def run(
        self,
        prompt: str = Input(min_length=2, max_length=8, regex="^[a-z]+$"),
        count: int = Input(default=1, ge=1, le=9),
        scale: float = 1.5,
        flag: bool = False,
        color: str = Input(default="red", choices=["red", "green"]),
        level: int = Input(default=1, choices=[1, 2]),
        items: List[int] = Input(default=[1]),
        image: Optional[Path] = Input(default=None),
        value: "str | float | None" = Input(default=None),
        seconds: float = 0.0,
    ) -> str:
        time.sleep(seconds)
        return f"{prompt} {count} {scale} {flag} {color} {level} {items} {type(value).__name__}"
"""


@pytest.fixture(scope="module")
def server(start_server: Serve, tmp_path_factory: pytest.TempPathFactory) -> Server:
    folder = tmp_path_factory.mktemp("model")
    write_model(folder, MODEL)
    return start_server(folder, environment={"R8_COG_VERSION": "layerforge/9.9.9"})


def test_every_field_that_is_wrong_is_named(server: Server) -> None:
    answer = server.request(
        "POST",
        "/predictions",
        {
            "input": {
                "count": 99,
                "scale": "x",
                "flag": "yes",
                "color": "blue",
                "level": True,
                "items": [1, "x"],
                "image": "/etc/passwd",
                "value": {},
            }
        },
    )
    assert answer.status == 422
    assert answer.headers["content-type"] == "application/json"
    assert [(tuple(each["loc"]), each["msg"], each["type"]) for each in answer.json["detail"]] == [
        (("body", "input", "prompt"), "Field required", "value_error.missing"),
        (("body", "input", "count"), "99 is greater than the maximum of 9", "value_error"),
        (("body", "input", "scale"), '"x" is not of type "number"', "value_error"),
        (("body", "input", "flag"), '"yes" is not of type "boolean"', "value_error"),
        (("body", "input", "color"), '"blue" is not one of ["red","green"]', "value_error"),
        (("body", "input", "level"), "true is not one of [1,2]", "value_error"),
        (("body", "input", "level"), 'true is not of type "integer"', "value_error"),
        (("body", "input", "items", 1), '"x" is not of type "integer"', "value_error"),
        (
            ("body", "input", "image"),
            '"/etc/passwd" is not a URL that starts with http:, https: or data:',
            "value_error",
        ),
        (
            ("body", "input", "value"),
            "{} is not valid under any of the schemas listed in the 'anyOf' keyword",
            "value_error",
        ),
    ]


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("a", '"a" is shorter than 2 characters'),
        ("abcdefghi", '"abcdefghi" is longer than 8 characters'),
        ("ABC", '"ABC" does not match "^[a-z]+$"'),
        (None, 'null is not of type "string"'),
    ],
)
def test_limits_of_strings(server: Server, prompt: str | None, message: str) -> None:
    answer = server.request("POST", "/predictions", {"input": {"prompt": prompt}})
    assert answer.status == 422
    assert [each["msg"] for each in answer.json["detail"]] == [message]


def test_numbers_are_told_apart_as_in_json(server: Server) -> None:
    assert server.output(prompt="ab", count=2.0, scale=3, value=1) == "ab 2 3 False red 1 [1] int"
    assert server.output(prompt="ab", value="x").endswith("str")
    assert server.output(prompt="ab").endswith("NoneType")
    assert server.request("POST", "/predictions", {"input": {"prompt": "ab", "count": True}}).status == 422
    assert server.request("POST", "/predictions", {"input": {"prompt": "ab", "flag": None}}).status == 422
    assert server.output(prompt="ab", value=None).endswith("NoneType")


@pytest.mark.parametrize(
    ("body", "status", "location"),
    [
        (b"{bad", 400, ["body"]),
        (b'{"input": {"prompt": "\xff"}}', 400, ["body"]),
        (b'{"input": {"prompt": NaN}}', 400, ["body"]),
        (b'{"input": ' + b"[" * 100_000, 400, ["body"]),
        (b'{"input": {"scale": 1e400}}', 422, ["body", "input"]),
        (b"[]", 422, ["body"]),
        (b"", 422, ["body", "input", "prompt"]),
        (b"{}", 422, ["body", "input", "prompt"]),
        (b'{"input": null}', 422, ["body", "input", "prompt"]),
        (b'{"input": []}', 422, ["body", "input", "__root__"]),
        (b'{"input": {}, "id": 5}', 422, ["body", "id"]),
        (b'{"input": {}, "webhook_events_filter": ["start", "x"]}', 422, ["body", "webhook_events_filter", 1]),
        (b'{"input": {}, "webhook": "ftp://example.org"}', 422, ["body", "webhook"]),
        (b'{"input": {}, "webhook": "http://[::1"}', 422, ["body", "webhook"]),
        (b'{"input": {}, "output_file_prefix": "here"}', 422, ["body", "output_file_prefix"]),
        (b'{"input": {}, "created_at": "yesterday"}', 422, ["body", "created_at"]),
    ],
)
def test_bodies_that_are_no_requests(server: Server, body: bytes, status: int, location: list[object]) -> None:
    answer = server.request("POST", "/predictions", body)
    assert (answer.status, answer.json["detail"][0]["loc"]) == (status, location)


def test_other_content_types_are_refused(server: Server) -> None:
    good = {"input": {"prompt": "ab"}}
    assert server.request("POST", "/predictions", good, {"Content-Type": "text/plain"}).status == 415
    assert (
        server.request("POST", "/predictions", good, {"Content-Type": "application/json; charset=utf-8"}).status == 200
    )


def test_a_chunked_body_is_read(server: Server) -> None:
    connection = server.connect()
    parts = [b'{"input": {"pro', b'mpt": "ab"}}']
    connection.request("POST", "/predictions", iter(parts), {"Content-Type": "application/json"}, encode_chunked=True)
    assert connection.getresponse().status == 200
    connection.close()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/predictions", 405),
        ("PUT", "/predictions", 405),
        ("POST", "/predictions/x/cancel", 404),
        ("GET", "/trainings", 405),
    ],
)
def test_paths_and_methods(server: Server, method: str, path: str, status: int) -> None:
    answer = server.request(method, path)
    assert answer.status == status
    assert isinstance(answer.json, dict)
    assert answer.headers.get("allow") == ("POST" if status == 405 else None)


def test_the_root_lists_what_there_is(server: Server) -> None:
    document = server.request("GET", "/").json
    assert document["cog_version"] == "layerforge/9.9.9"
    assert document["predictions_url"] == "/predictions"
    for name, path in document.items():
        if name.endswith("_url") and "{" not in path and name not in ("shutdown_url", "predictions_url", "docs_url"):
            assert server.request("GET", path).status == 200
    head = server.request("HEAD", "/")
    assert (head.status, head.body) == (200, b"")


def test_the_openapi_document_is_served(server: Server) -> None:
    document = server.request("GET", "/openapi.json").json
    assert next(iter(document["components"]["schemas"]["Input"]["properties"])) == "prompt"


def test_put_is_idempotent(server: Server) -> None:
    body = {"input": {"prompt": "ab", "seconds": 0.5}}
    first: list[dict[str, object]] = []
    thread = threading.Thread(target=lambda: first.append(server.request("PUT", "/predictions/one", body).json))
    thread.start()
    server.wait_for("BUSY")
    second = server.request("PUT", "/predictions/one", body)
    assert (second.status, second.json["id"], second.json["status"]) == (202, "one", "processing")
    thread.join()
    assert (first[0]["id"], first[0]["status"]) == ("one", "succeeded")
    other = server.request("PUT", "/predictions/one", {**body, "id": "two"})
    assert (other.status, other.json["detail"][0]["loc"]) == (422, ["body", "id"])


def test_put_in_all_its_cases(server: Server) -> None:
    body = {"input": {"prompt": "ab", "seconds": 0.6}}
    later = {"Prefer": "respond-async"}
    first = server.request("PUT", "/predictions/twice", body, later)
    assert (first.status, first.json) == (202, {"id": "twice", "status": "starting"})
    # While it runs it is shown, however it is asked for, and whatever the input is then.
    for again, headers in ((body, later), ({"id": "twice"}, None), ({"input": {"prompt": 5}}, None)):
        answer = server.request("PUT", "/predictions/twice", again, headers)
        assert (answer.status, answer.json["status"]) == (202, "processing")
        assert answer.json["input"] == body["input"]
    assert server.request("PUT", "/predictions/other", body).status == 409
    assert server.request("POST", "/predictions", {**body, "id": "twice"}).status == 409
    assert server.request("POST", "/predictions/twice/cancel").status == 200
    server.wait_for("READY", seconds=5)
    # What has ended runs again.
    again = server.request("PUT", "/predictions/twice", {"input": {"prompt": "cd"}})
    assert (again.status, again.json["status"], again.json["id"]) == (200, "succeeded", "twice")
    assert server.request("PUT", "/predictions/over", {"input": {"prompt": "cd"}}).status == 200
    assert server.request("POST", "/predictions/over/cancel").status == 404


def test_preferences_may_stand_among_others(server: Server) -> None:
    body = {"input": {"prompt": "ab"}}
    for prefer, status in (("wait=5, Respond-Async", 202), ("respond-async; x=1", 202), ("wait=5", 200), ("", 200)):
        assert server.request("POST", "/predictions", body, {"Prefer": prefer}).status == status
        server.wait_for("READY", seconds=5)


def test_a_file_tells_probes_that_the_model_is_ready(tmp_path: Path) -> None:
    mark_ready(str(tmp_path / "cog/ready"))
    assert (tmp_path / "cog/ready").read_bytes() == b""
    mark_ready("/proc/nowhere/ready")


def test_a_second_prediction_finds_the_slot_taken(server: Server) -> None:
    thread = threading.Thread(target=server.predict, kwargs={"prompt": "ab", "seconds": 0.5})
    thread.start()
    server.wait_for("BUSY")
    answer = server.request("POST", "/predictions", {"input": {"prompt": "ab"}})
    assert answer.status == 409
    assert answer.json == {"error": "At capacity - all prediction slots busy", "status": "failed"}
    thread.join()
    assert server.health["status"] == "READY"


def test_a_running_prediction_is_canceled(server: Server) -> None:
    body = {"id": "long", "input": {"prompt": "ab", "seconds": 30}}
    answers = []
    thread = threading.Thread(target=lambda: answers.append(server.request("POST", "/predictions", body)))
    thread.start()
    server.wait_for("BUSY")
    started = time.monotonic()
    assert server.request("POST", "/predictions/long/cancel").status == 200
    thread.join(10)
    assert time.monotonic() - started < 2
    assert (answers[0].status, answers[0].json["status"]) == (200, "canceled")
    assert server.output(prompt="ab")


def test_a_client_that_goes_away_cancels_its_prediction(server: Server) -> None:
    connection = server.connect()
    body = b'{"input": {"prompt": "ab", "seconds": 30}}'
    connection.request("POST", "/predictions", body, {"Content-Type": "application/json"})
    server.wait_for("BUSY")
    time.sleep(0.2)
    connection.close()
    server.wait_for("READY", seconds=3)


def test_clients_that_leave_at_any_moment_leave_the_slot_free(server: Server) -> None:
    body = b'{"input": {"prompt": "ab", "seconds": 5}}'
    for sent in (b"", body[:10], body):
        for pause in (0.0, 0.15):
            connection = server.connect()
            connection.putrequest("POST", "/predictions")
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(sent)
            time.sleep(pause)
            connection.close()
            server.wait_for("READY", seconds=5)
    assert server.output(prompt="ab")
    assert '"ERROR"' not in server.log


def test_respond_async_answers_at_once(server: Server) -> None:
    body = {"input": {"prompt": "ab", "seconds": 0.3}}
    answer = server.request("POST", "/predictions", body, {"Prefer": "respond-async"})
    assert (answer.status, answer.json["status"]) == (202, "starting")
    server.wait_for("READY", seconds=3)
