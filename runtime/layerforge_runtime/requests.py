"""The bodies of requests, and those of answers that say what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-[\x21-\x7e]*)?")

Event = Literal["start", "output", "logs", "completed"]
ALL_EVENTS: tuple[Event, ...] = ("start", "output", "logs", "completed")


class Problem(msgspec.Struct, frozen=True):
    """One thing wrong with a request: where (``loc``), what (``msg``) and of which kind (``type``)."""

    loc: tuple[str | int, ...]
    msg: str
    type: str = "value_error"


class PredictionRequest(msgspec.Struct, frozen=True):
    """What a client sends. Members that are not listed are ignored."""

    input: msgspec.Raw = msgspec.Raw(b"{}")
    id: str | None = None
    context: dict[str, str] = {}
    webhook: str | None = None
    webhook_events_filter: tuple[Event, ...] | None = ALL_EVENTS
    created_at: str | None = None
    output_file_prefix: str | None = None


class RequestError(Exception):
    """A request that cannot be served: the status and the body to answer with."""

    def __init__(self, status: int, problems: list[Problem]) -> None:
        super().__init__(problems[0].msg)
        self.status = status
        self.body = encode({"detail": problems})


encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(PredictionRequest).decode
_decode_any = msgspec.json.Decoder().decode


def parse_request(body: bytes) -> tuple[PredictionRequest, dict[str, Any]]:
    """The request in ``body``, and its inputs. An empty body is a request without inputs.

    Raises:
        RequestError: 400 if it is no JSON, 422 if it is not the JSON of a request.
    """
    if not body:
        return PredictionRequest(), {}
    request = None
    try:
        request = _decode(body)
        inputs = _decode_any(request.input)
    except msgspec.ValidationError as error:
        raise RequestError(422, [_locate(error, ("body",) if request is None else ("body", "input"))]) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        problem = Problem(("body",), f"the body is not JSON: {error}", "value_error.jsondecode")
        raise RequestError(400, [problem]) from None
    if inputs is None:
        inputs = {}
    if not isinstance(inputs, dict):
        shown = bytes(request.input)[:60].decode("utf-8", "replace")
        problem = Problem(("body", "input", "__root__"), f'{shown} is not of type "object"')
        raise RequestError(422, [problem])
    if problems := [*_check_urls(request), *_check_time(request)]:
        raise RequestError(422, problems)
    return request, inputs


def _check_urls(request: PredictionRequest) -> Iterator[Problem]:
    for name in ("webhook", "output_file_prefix"):
        if url := getattr(request, name):
            try:
                parts = urlsplit(url)
                good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
            except ValueError:
                good = False
            if not good:
                yield Problem(("body", name), "not a URL that starts with http:// or https://", "value_error.url")


def _check_time(request: PredictionRequest) -> Iterator[Problem]:
    if request.created_at is not None:
        try:
            msgspec.convert(request.created_at, datetime)
        except msgspec.ValidationError:
            yield Problem(("body", "created_at"), "not a date and time as in RFC 3339", "value_error.datetime")


def trace_context(headers: Any) -> dict[str, str]:
    """The request's trace, if it belongs to one. Source: W3C Trace Context."""
    parent = headers.get("traceparent")
    if parent is None or not _TRACEPARENT.fullmatch(parent):
        return {}
    state = headers.get("tracestate")
    return {"traceparent": parent, "tracestate": state} if state else {"traceparent": parent}


def _locate(error: msgspec.ValidationError, prefix: tuple[str, ...]) -> Problem:
    """msgspec says where at the end of its message, as in "Expected `str`, got `int` - at `$.a[1]`"."""
    message, _, path = str(error).partition(" - at `$")
    parts = path.rstrip("`").replace("[", ".").replace("]", "").replace("...", "").split(".")
    return Problem((*prefix, *(int(part) if part.isdecimal() else part for part in parts if part)), message)
