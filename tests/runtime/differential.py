"""The same 300 requests for Cog's own server and for ours: what they are, and how two answers differ."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.runtime.harness import Answer

MODEL = """
import sys
from typing import Any, Dict, List, Optional, Union
from cog import BaseRunner, Input, Path, Secret, current_scope

class Runner(BaseRunner):
    def run(
        self,
        text: str = Input(default="abc", min_length=2, max_length=8, regex="^[a-z]+$"),
        count: int = Input(default=1, ge=1, le=9),
        scale: float = Input(default=0.5, ge=0),
        flag: bool = False,
        color: str = Input(default="red", choices=["red", "green"]),
        level: int = Input(default=1, choices=[1, 2]),
        words: List[str] = Input(default=["w"]),
        numbers: List[int] = Input(default=[1]),
        image: Optional[Path] = Input(default=None),
        images: List[Path] = Input(default=[]),
        token: Optional[Secret] = Input(default=None),
        options: dict = Input(default={}),
        either: Union[int, str] = Input(default=3),
        nothing: Optional[str] = None,
        fail: bool = False,
    ) -> Any:
        print("printed")
        current_scope().record_metric("numbers.count", count)
        if fail:
            raise ValueError("went wrong")
        return {
            "text": text, "count": count, "scale": scale, "flag": flag, "color": color, "level": level,
            "words": words, "numbers": numbers, "image": image and image.read_text(),
            "images": [each.read_text() for each in images], "token": token and token.get_secret_value(),
            "options": options, "either": either, "nothing": nothing, "context": dict(current_scope().context),
        }
"""

JSON = {"Content-Type": "application/json"}


class Request(NamedTuple):
    method: str
    path: str
    body: bytes | None
    headers: dict[str, str]

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.headers} {(self.body or b'')[:150]!r}"


VALUES: dict[str, list[Any]] = {
    "text": [
        "ab",
        "abcdefgh",
        "a",
        "abcdefghi",
        "ABC",
        "",
        "é世",
        5,
        None,
        True,
        ["ab"],
        {"a": 1},
        "ab\ncd",
        "a" * 300,
    ],
    "count": [1, 9, 0, 10, 5.0, 5.5, "5", True, None, -1, 1e3, 10**18, [1], "x"],
    "scale": [0, 1, 0.25, -0.1, 1e300, "1", None, False, [], {}, 1e-320],
    "flag": [True, False, 0, 1, "true", None, [], "no"],
    "color": ["red", "green", "blue", "RED", "", None, 1, ["red"], True],
    "level": [1, 2, 3, 1.0, 2.0, True, "1", None, [1]],
    "words": [["a", "b"], [], ["a", 1], [None], "a", None, {}, [["a"]], ["é"], [True]],
    "numbers": [[1, 2], [], [1.0], [1.5], ["1"], [True], 1, None, [[1]], [10**18]],
    "image": ["data:text/plain;base64,aGVsbG8=", "data:,x", "data:;base64,aGk=", 5, ["data:,x"], True, {"a": 1}],
    "images": [
        ["data:text/plain;base64,aGVsbG8="],
        [],
        ["data:;base64,aGk=", "data:;base64,aGk="],
        [1],
        "data:,x",
        None,
    ],
    "token": ["secret", "", 5, None, ["a"], True],
    "options": [{}, {"a": {"b": [1]}}, [], "x", None, 5, {"": None}],
    "either": [1, "one", None, 1.5, True, [], {}],
    "nothing": ["some", "", None, 5, []],
    "unknown": [1, None, {"a": []}],
    "fail": [True],
}

BODIES = [
    b"",
    b"{}",
    b"[]",
    b"null",
    b"5",
    b'"text"',
    b"{",
    b"{bad",
    b"{}x",
    b'{"input"}',
    b'{"input": }',
    b"\xff\xfe",
    b" {} ",
    b'{"input": {"text": "\xff"}}',
    b'{"input": {"text": "\\ud83d"}}',
    b'{"input": {"scale": NaN}}',
    b'{"input": {"scale": Infinity}}',
    b'{"input": {"count": 01}}',
    b'{"input": {"text": "ab", "text": "cd"}}',
    b'{"input": {}, "input": {"text": "cd"}}',
    b'{"input": {"text": "a\x00b"}}',
    b'{"input": {"text": "a\\u0000b"}}',
    b'{"input": ' + b"[" * 200 + b"]" * 200 + b"}",
    b'{"input": {"count": 1e400}}',
    b"\xef\xbb\xbf{}",
    b"// c\n{}",
    b'{"input": {"options": {"a": ' + b"[" * 100 + b"]" * 100 + b"}}}",
]

ENVELOPES: list[dict[str, Any]] = [
    {"input": None},
    {"input": []},
    {"input": "x"},
    {"input": 5},
    {"input": True},
    {"id": None},
    {"id": ""},
    {"id": "a b"},
    {"id": 5},
    {"id": []},
    {"id": "é☃"},
    {"id": "a.b-c_d"},
    {"context": {}},
    {"context": {"a": "b"}},
    {"context": {"a": 1}},
    {"context": None},
    {"context": []},
    {"context": "x"},
    {"webhook": None},
    {"webhook": 5},
    {"webhook": "nonsense"},
    {"webhook": "ftp://example.org/"},
    {"webhook": "http://127.0.0.1:1/"},
    {"webhook": []},
    {"webhook_events_filter": []},
    {"webhook_events_filter": ["start"]},
    {"webhook_events_filter": ["logs", "logs"]},
    {"webhook_events_filter": ["nonsense"]},
    {"webhook_events_filter": None},
    {"webhook_events_filter": "start"},
    {"webhook_events_filter": [5]},
    {"created_at": "2024-01-02T03:04:05Z"},
    {"created_at": "yesterday"},
    {"output_file_prefix": "http://127.0.0.1:1/"},
    {"unknown": {"a": [1]}},
    {"version": "x"},
    {"input": {}, "status": "x"},
]

ROUTES = [
    ("GET", "/"), ("HEAD", "/"), ("POST", "/"), ("GET", "/health-check"), ("POST", "/health-check"),
    ("HEAD", "/health-check"),
    ("GET", "/openapi.json"), ("PUT", "/openapi.json"), ("GET", "/predictions"), ("DELETE", "/predictions"),
    ("PUT", "/predictions"), ("PATCH", "/predictions"), ("OPTIONS", "/predictions"), ("HEAD", "/predictions"),
    ("GET", "/predictions/x"), ("POST", "/predictions/x"), ("DELETE", "/predictions/x"),
    ("POST", "/predictions/x/cancel"),
    ("GET", "/predictions/x/cancel"), ("PUT", "/predictions/x/cancel"), ("POST", "/predictions/x/y"),
    ("PUT", "/predictions/"),
    ("POST", "/predictions/"), ("POST", "/predictions//cancel"), ("GET", "/trainings"), ("PUT", "/trainings"),
    ("POST", "/trainings/x/cancel"), ("GET", "/trainings/x"), ("GET", "/shutdown"), ("GET", "/docs"),
    ("GET", "/metrics"),
    ("GET", "/nothing"), ("GET", "//"), ("GET", "/health-check/"), ("GET", "/%68ealth-check"), ("GET", "/?a=b"),
    ("GET", "/health-check?verbose=1"), ("POST", "/nothing"), ("TRACE", "/"), ("OPTIONS", "/"),
]  # fmt: skip

HEADERS: list[dict[str, str]] = [
    {}, {"Content-Type": ""}, {"Content-Type": "text/plain"}, {"Content-Type": "application/json; charset=utf-8"},
    {"Content-Type": "application/vnd.api+json"}, {"Content-Type": "APPLICATION/JSON"}, {"Content-Type": "nonsense"},
    {"Content-Type": "application/x-www-form-urlencoded"}, {"Content-Type": "multipart/form-data; boundary=x"},
    {**JSON, "Accept": "text/html"}, {**JSON, "Accept": "text/event-stream"}, {**JSON, "Accept": "*/*"},
    {**JSON, "Accept": "application/json, text/event-stream;q=0.5"}, {**JSON, "Prefer": "respond-async"},
    {**JSON, "Prefer": "wait=5"}, {**JSON, "Prefer": ""}, {**JSON, "traceparent": "nonsense"},
    {**JSON, "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
    {**JSON, "Expect": "nothing"}, {**JSON, "Authorization": "Bearer x"}, {**JSON, "X-Long": "x" * 8000},
    {**JSON, "Accept-Encoding": "gzip, br"}, {**JSON, "Range": "bytes=0-1"}, {**JSON, "If-None-Match": "*"},
]  # fmt: skip


def list_requests() -> list[Request]:
    """Exactly 300 of them."""
    found = [*_fields(), *_envelopes(), *_bodies()]
    found += [Request(method, path, None, {}) for method, path in ROUTES]
    found += [Request("POST", "/predictions", b'{"input":{}}', headers) for headers in HEADERS]
    return [*found, *_mixed()][:300]


def _fields() -> Iterator[Request]:
    for name, values in VALUES.items():
        for value in values:
            yield Request("POST", "/predictions", json.dumps({"input": {name: value}}).encode(), JSON)


def _mixed() -> Iterator[Request]:
    choose = random.Random(6)
    for _ in range(80):
        names = choose.sample(sorted(VALUES), choose.randint(2, 5))
        body = {"input": {name: choose.choice(VALUES[name]) for name in names}}
        yield Request("POST", "/predictions", json.dumps(body).encode(), JSON)


def _envelopes() -> Iterator[Request]:
    for bad in (
        {"text": 1, "count": 99, "color": "x"},
        {"words": [1, 2], "numbers": ["a", "b"]},
        {"image": 1, "either": []},
    ):
        yield Request("POST", "/predictions", json.dumps({"input": bad}).encode(), JSON)
    for envelope in ENVELOPES:
        yield Request("POST", "/predictions", json.dumps(envelope).encode(), JSON)
    for path, id in (
        ("one", None),
        ("two", "two"),
        ("three", "other"),
        ("a%20b", None),
        ("%E2%98%83", None),
        ("x" * 60, None),
    ):
        body = {"input": {}} if id is None else {"id": id, "input": {}}
        yield Request("PUT", f"/predictions/{path}", json.dumps(body).encode(), JSON)


def _bodies() -> Iterator[Request]:
    for body in BODIES:
        yield Request("POST", "/predictions", body, JSON)


DIFFERENCES = {
    "times": "ours tells when it was made, started and done",
    "error-json": "errors about a request are JSON here, text there",
    "error-body": "ours says what is wrong where Cog's sends an empty body",
    "error-prefix": "Cog's says `Prediction failed: ` twice",
    "failed-logs": "ours keeps the logs of a prediction that failed",
    "item-location": 'an item of a list is `[…, "words", 1]` here and `[…, "words/1"]` there',
    "long-values": "ours shortens wrong values in messages",
    "bad-webhook": "ours refuses a webhook that is no http URL; Cog's logs that and goes on",
    "bad-time": "ours refuses a `created_at` that is no time; Cog's does not look at it",
    "null": "ours takes null for inputs that may be null (`nullable`); Cog's refuses it",
    "null-filter": "ours takes null for `webhook_events_filter` as its absence",
    "duplicates": "of members that come twice ours takes the last, as JSON parsers do; Cog's refuses `input` twice",
    "wrong-type": "values of a wrong type or size are 422 here, some are 400 there",
    "empty-body": "an empty body is a request without inputs here, whatever the Content-Type says",
    "no-type": "an empty Content-Type is taken for JSON",
    "pages": "`/docs` and `/metrics` are there",
    "escaped-path": "escaped letters in a path mean themselves",
    "stream-text": "the message about models that do not stream names run()",
}
"""What may differ, as ``docs/compatibility.md`` lists it."""


def compare(request: Request, theirs: Answer, ours: Answer) -> list[str]:
    """How ``ours`` differs: keys of DIFFERENCES; anything else is not known."""
    if theirs.status != ours.status:
        return [_compare_status(request, theirs, ours)]
    kind, own_kind = (each.headers.get("content-type", "").partition(";")[0] for each in (theirs, ours))
    if ours.status in (404, 405) and theirs.body in (b"", b"{}"):
        return ["error-body"] if theirs.body != ours.body or kind != own_kind else []
    if kind != own_kind:
        return (
            ["error-json"] if kind == "text/plain" and own_kind == "application/json" else [f"type {kind} {own_kind}"]
        )
    if kind != "application/json" or not theirs.body:
        return [] if bool(theirs.body) == bool(ours.body) else ["body"]
    return _compare_json(theirs.json, ours.json)


def _compare_status(request: Request, theirs: Answer, ours: Answer) -> str:
    match theirs.status, ours.status:
        case 404, 200 if request.path in ("/docs", "/metrics"):
            return "pages"
        case 404, 200 if "%" in request.path:
            return "escaped-path"
        case 400, 200 if request.body == b"":
            return "empty-body"
        case 415, 200 if request.headers.get("Content-Type") == "":
            return "no-type"
        case 422, 200 if b"null" in (request.body or b"") and b"webhook_events_filter" in theirs.body:
            return "null-filter"
        case 422, 200 if b"duplicate field" in theirs.body:
            return "duplicates"
        case 422, 200 if b'"null is not of type' in theirs.body:
            return "null"
        case 400, 422 if b"Failed to parse" in theirs.body:
            return "wrong-type"
        case 200, 422:
            location = ours.json["detail"][0]["loc"]
            return {"webhook": "bad-webhook", "created_at": "bad-time"}.get(location[-1], f"refused {location}")
    return f"status {theirs.status} {ours.status}"


def _compare_json(theirs: Any, ours: Any) -> list[str]:
    if "detail" in theirs and "detail" in ours:
        return _compare_problems(theirs["detail"], ours["detail"])
    found = {_compare_member(name, theirs, ours) for name in theirs.keys() | ours.keys()}
    return sorted(found - {""})


def _compare_member(name: str, theirs: Any, ours: Any) -> str:
    if name in ("created_at", "started_at", "completed_at") and name not in theirs:
        return "times"
    if name in ("id", "setup", "version", "cog_version") and name in theirs and name in ours:
        return ""  # random, or the server's own
    if name not in ours or name not in theirs:
        return f"member {name}"
    left, right = theirs[name], ours[name]
    if name == "metrics":
        return "" if left.keys() == right.keys() else "metrics"
    if left == right:
        return ""
    if name == "error" and str(left).startswith("This model does not support streaming"):
        return "stream-text"
    if name == "error" and left == f"Prediction failed: {right}":
        return "error-prefix"
    if name == "logs" and left == "" and theirs["status"] != "succeeded":
        return "failed-logs"
    return f"{name}: {left!r} {right!r}"[:400]


def _compare_problems(theirs: list[Any], ours: list[Any]) -> list[str]:
    def key(problem: Any) -> tuple[str, str, str]:
        return "/".join(map(str, problem["loc"])), problem["msg"], problem["type"]

    found = []
    if len(theirs) > len(ours):
        optional = ("image", "token", "nothing")
        theirs = [each for each in theirs if each["loc"][-1] not in optional or not each["msg"].startswith("null is")]
        found.append("null")
    for left, right in zip(sorted(map(key, theirs)), sorted(map(key, ours)), strict=False):
        if left[1] != right[1] and "…" in right[1] and left[1].startswith(right[1].partition("…")[0]):
            found.append("long-values")
        elif left != right:
            found.append(f"problem: {left} {right}"[:400])
    if len(theirs) != len(ours):
        found.append(f"problems: {theirs} {ours}"[:600])
    if any("/" in str(each["loc"][-1]) for each in theirs):
        found.append("item-location")
    return sorted(set(found))
