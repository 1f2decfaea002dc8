"""Server-sent events: what is told, to whom, and for how long."""

from __future__ import annotations

import time
from typing import Any

import pytest

from layerforge_runtime.limits import Limits
from layerforge_runtime.streams import EventLog
from tests.runtime.events import EventStream, read_events
from tests.runtime.harness import Serve, Server, write_model

MODEL = """
import sys, time
from typing import Iterator
from cog import BaseRunner, Input, Secret, current_scope, streaming

class Runner(BaseRunner):
    @streaming
    def run(self, count: int = 3, pause: float = 0.0, last: float = 0.0, fail: bool = False,
            token: Secret = Input(default=None)) -> Iterator[str]:
        print("hé")
        current_scope().record_metric("a.b", 1, mode="incr")
        for index in range(count):
            time.sleep(pause)
            yield f"é {index}\\n"
        time.sleep(last)
        if fail:
            raise ValueError("late")
"""


@pytest.fixture(scope="module")
def server(start_server: Serve, tmp_path_factory: pytest.TempPathFactory) -> Server:
    folder = tmp_path_factory.mktemp("model")
    write_model(folder, MODEL)
    return start_server(folder, environment={"COG_STREAM_KEEP_ALIVE": "0.2"})


def test_events_tell_everything_in_order(server: Server) -> None:
    events = read_events(server, {"id": "one", "input": {"count": 2, "pause": 0.05}})
    assert [event.id for event in events] == [str(number) for number in range(1, len(events) + 1)]
    assert (events[0].name, events[0].data) == ("start", {"id": "one", "status": "processing"})
    told = {(event.name, str(event.data)) for event in events[1:3]}
    assert told == {
        ("log", "{'data': 'hé\\n', 'source': 'stdout'}"),
        ("metric", "{'mode': 'increment', 'name': 'a.b', 'value': 1}"),
    }
    assert [event.data for event in events[3:5]] == [
        {"chunk": "é 0\n", "index": 0},
        {"chunk": "é 1\n", "index": 1},
    ]
    (last,) = events[5:]
    assert (last.name, last.data["status"], last.data["output"]) == ("completed", "succeeded", ["é 0\n", "é 1\n"])
    assert last.data["metrics"]["a"] == {"b": 1}
    assert last.data["logs"] == "hé\n"


def test_outputs_arrive_while_the_model_works(server: Server) -> None:
    stream = EventStream(server, "POST", "/predictions", {"input": {"count": 3, "pause": 0.3}}, None)
    started = time.monotonic()
    arrived = [time.monotonic() - started for event in stream if event.name == "output"]
    stream.close()
    assert len(arrived) == 3
    assert arrived[0] < 0.55 and 0.15 < arrived[1] - arrived[0] < 0.6


def test_a_failure_is_a_completed_event(server: Server) -> None:
    last = read_events(server, {"input": {"fail": True}})[-1]
    assert (last.name, last.data["status"]) == ("completed", "failed")
    assert last.data["error"] == "Prediction failed: ValueError: late"


def test_silence_is_filled_with_comments(server: Server) -> None:
    stream = EventStream(server, "POST", "/predictions", {"input": {"count": 0, "last": 0.7}}, None)
    assert [event.name for event in stream][-1] == "completed"
    assert len(stream.comments) in (2, 3)
    stream.close()


def test_a_client_comes_back_and_goes_on_where_it_was(server: Server) -> None:
    body = {"input": {"count": 4, "pause": 0.15, "token": "sesame"}}
    assert server.request("PUT", "/predictions/again", body, {"Prefer": "respond-async"}).status == 202
    stream = EventStream(server, "PUT", "/predictions/again", body, None)
    seen = []
    for event in stream:
        seen.append(event)
        if event.name == "output":
            break
    stream.close()
    shown = server.request("PUT", "/predictions/again", body)
    assert (shown.status, shown.json["status"]) == (202, "processing")
    assert shown.json["input"]["token"] == "**********"
    rest = read_events(server, body, "PUT", "/predictions/again", {"Last-Event-ID": seen[-1].id})
    assert [event.id for event in (*seen, *rest)] == [str(number) for number in range(1, len(seen) + len(rest) + 1)]
    assert rest[-1].data["status"] == "succeeded"
    # It has ended; who has seen part of it still gets the end.
    assert read_events(server, body, "PUT", "/predictions/again", {"Last-Event-ID": rest[-2].id}) == rest[-1:]


@pytest.mark.parametrize("last", ["", "x", "-1", "99999", "9" * 40])
def test_an_odd_last_event_id_means_from_the_start(server: Server, last: str) -> None:
    body = {"input": {"count": 1, "pause": 0.2}}
    assert server.request("PUT", "/predictions/odd", body, {"Prefer": "respond-async"}).status == 202
    events = read_events(server, body, "PUT", "/predictions/odd", {"Last-Event-ID": last})
    assert (events[0].name, events[-1].name) == ("start", "completed")


def test_the_last_client_that_leaves_cancels_what_it_started(server: Server) -> None:
    body = {"input": {"count": 1, "last": 30}}
    first = EventStream(server, "PUT", "/predictions/left", body, None)
    second = EventStream(server, "PUT", "/predictions/left", body, None)
    for stream in (first, second):
        assert next(iter(stream)).name == "start"
    first.close()
    time.sleep(0.3)
    assert server.health["status"] == "BUSY"
    second.close()
    server.wait_for("READY", seconds=5)


def test_a_reader_of_a_background_prediction_leaves_it_running(server: Server) -> None:
    body = {"input": {"count": 1, "last": 0.8}}
    server.request("PUT", "/predictions/background", body, {"Prefer": "respond-async"})
    stream = EventStream(server, "PUT", "/predictions/background", body, None)
    assert next(iter(stream)).name == "start"
    stream.close()
    time.sleep(0.2)
    assert read_events(server, body, "PUT", "/predictions/background")[-1].data["status"] == "succeeded"


def test_a_cancelled_stream_ends_with_its_status(server: Server) -> None:
    stream = EventStream(server, "PUT", "/predictions/stopped", {"input": {"count": 1, "last": 30}}, None)
    reading = iter(stream)
    assert next(reading).name == "start"
    assert server.request("POST", "/predictions/stopped/cancel").status == 200
    assert list(reading)[-1].data["status"] == "canceled"
    stream.close()


def test_models_that_do_not_stream_say_so(serve: Serve) -> None:
    server = serve("def run(text: str) -> str:\n    return text\n", reference="run.py:run")
    for path in ("/predictions", "/trainings"):
        answer = server.request("POST", path, {"input": {"text": "x"}}, {"Accept": "text/event-stream, */*;q=0.1"})
        assert answer.status == 406
        assert "support streaming responses" in answer.json["error"]
    assert server.output(text="x") == "x"


@pytest.mark.parametrize(
    ("capacity", "names", "skipped"), [("2", {"error"}, 3), ("0", {"completed"}, 0), ("many", {"start", "output"}, 0)]
)
def test_the_history_is_as_long_as_asked(serve: Serve, capacity: str, names: set[str], skipped: int) -> None:
    server = serve(MODEL, environment={"COG_STREAM_HISTORY_CAPACITY": capacity})
    body = {"input": {"count": 3, "last": 0.7}}
    server.request("PUT", "/predictions/late", body, {"Prefer": "respond-async"})
    time.sleep(0.3)
    events = read_events(server, body, "PUT", "/predictions/late")
    assert names <= {event.name for event in events}
    if skipped:
        assert [event.data for event in events] == [
            {"error": "SSE stream replay truncated; events were dropped", "skipped": skipped + 1}
        ]
    if capacity == "many":
        assert "COG_STREAM_HISTORY_CAPACITY='many'" in server.log


class Told:
    """As much of a prediction as an event log looks at."""

    id = "x"
    status = "processing"
    attachments = None

    def snapshot(self) -> bytes:
        return b"{}"


def test_the_history_has_a_size_too() -> None:
    told: Any = Told()
    log = EventLog(told, Limits(stream_bytes=10_000, stream_events=5000))
    for _ in range(100):
        log.output_added(told, b'"%b"' % (b"x" * 1000))
    assert log.size <= 10_000
    position, skipped = log.first_position("")
    assert (position, skipped) == (0, 100 - len(log.take(log.count - 9)))
    log.output_added(told, b'"%b"' % (b"x" * 50_000))
    assert len(log.take(log.count - 1)) == 1


def test_characters_that_arrive_in_two_parts_are_whole_in_the_events() -> None:
    told: Any = Told()
    log = EventLog(told, Limits())
    log.logged(told, "stdout", "é".encode()[:1])
    log.logged(told, "stdout", "é".encode()[1:] + b"\n")
    (event,) = log.take(0)
    assert "é\\n".encode() in event
