"""Reading server-sent events as a client does."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.runtime.harness import Server


class Event(NamedTuple):
    id: str
    name: str
    data: Any


class EventStream:
    """An answer that is read event by event; closing it early is what a client does that goes away."""

    def __init__(self, server: Server, method: str, path: str, body: object, headers: dict[str, str] | None) -> None:
        self.connection = server.connect()
        sent = {"Content-Type": "application/json", "Accept": "text/event-stream", **(headers or {})}
        self.connection.request(method, path, json.dumps(body).encode(), sent)
        self.response: http.client.HTTPResponse = self.connection.getresponse()
        self.comments: list[str] = []

    def __iter__(self) -> Iterator[Event]:
        fields: dict[str, str] = {}
        for line in self.response:
            text = line.decode().rstrip("\n")
            if text.startswith(":"):
                self.comments.append(text)
            elif text:
                name, _, value = text.partition(": ")
                fields[name] = value
            elif fields:
                yield Event(fields.get("id", ""), fields["event"], json.loads(fields["data"]))
                fields = {}

    def close(self) -> None:
        self.response.close()
        self.connection.close()


def read_events(
    server: Server,
    body: object,
    method: str = "POST",
    path: str = "/predictions",
    headers: dict[str, str] | None = None,
) -> list[Event]:
    """Every event until the stream ends."""
    stream = EventStream(server, method, path, body, headers)
    assert stream.response.status == 200, stream.response.read()
    assert stream.response.headers["content-type"] == "text/event-stream"
    events = list(stream)
    stream.close()
    return events
