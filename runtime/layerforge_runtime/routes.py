"""HTTP: which request does what, and how the answer looks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from layerforge_runtime.logs import Log, now
from layerforge_runtime.predictions import Prediction, new_id
from layerforge_runtime.requests import Problem, RequestError, encode, parse_request
from layerforge_runtime.service import Service, Unavailable

BODY_LIMIT = 512 * 1024 * 1024
"""Bytes of a request's body."""

_WATCH_AFTER = 0.1  # seconds; most predictions are over before it is worth to watch for a client that leaves
_JSON = [("content-type", "application/json")]

Handler = Callable[[Any, Any], Awaitable[None]]


class Routes:
    """The RSGI application. ``schema`` is the OpenAPI document as JSON; ``shutdown`` is called by POST /shutdown."""

    def __init__(
        self, service: Service, log: Log, *, cog_version: str, schema: bytes | None, shutdown: Callable[[str], None]
    ) -> None:
        self._service = service
        self._log = log
        self._cog_version = cog_version
        self._schema = schema
        self._shutdown = shutdown
        self._tasks: set[asyncio.Future[None]] = set()  # the event loop itself keeps weak references only
        self._table: dict[str, dict[str, Handler]] = {
            "/": {"GET": self._root},
            "/health-check": {"GET": self._health},
            "/openapi.json": {"GET": self._openapi},
            "/predictions": {"POST": self._predict},
            "/shutdown": {"POST": self._stop},
        }

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        """Answer one request."""
        if scope.proto != "http":
            protocol.close(404)
            return
        method = "GET" if scope.method == "HEAD" else scope.method
        methods = self._find(scope.path)
        handler = methods.get(method)
        try:
            if handler is not None:
                await handler(scope, protocol)
            elif methods:
                _error(protocol, 405, f"{scope.path} does not take {scope.method}", ("allow", ", ".join(methods)))
            else:
                _error(protocol, 404, f"there is nothing at {scope.path}")
        except RequestError as error:
            protocol.response_bytes(error.status, _JSON, error.body)
        except Unavailable as error:
            protocol.response_bytes(error.status, _JSON, encode({"error": str(error), "status": "failed"}))
        except Exception as error:
            self._log.error(f"{scope.method} {scope.path}: {type(error).__name__}: {error}")
            _error(protocol, 500, "internal error; the server's log says more")

    def _find(self, path: str) -> dict[str, Handler]:
        methods = self._table.get(path)
        if methods is not None:
            return methods
        match path.split("/"):
            case ["", "predictions", id] if id:
                return {"PUT": self._predict}
            case ["", "predictions", id, "cancel"] if id:
                return {"POST": self._cancel}
            case ["", "trainings", *_]:
                return {"POST": _not_implemented, "PUT": _not_implemented}
            case ["", "docs"]:
                return {"GET": _not_implemented}
        return {}

    async def _root(self, _scope: Any, protocol: Any) -> None:
        document = {
            "cog_version": self._cog_version,
            "openapi_url": "/openapi.json",
            "shutdown_url": "/shutdown",
            "healthcheck_url": "/health-check",
            "predictions_url": "/predictions",
            "predictions_idempotent_url": "/predictions/{prediction_id}",
            "predictions_cancel_url": "/predictions/{prediction_id}/cancel",
        }
        protocol.response_bytes(200, _JSON, encode(document))

    async def _health(self, _scope: Any, protocol: Any) -> None:
        protocol.response_bytes(200, _JSON, encode(self._service.health()))

    async def _openapi(self, _scope: Any, protocol: Any) -> None:
        if self._schema is None:
            _error(protocol, 503, "OpenAPI schema not available")
        else:
            protocol.response_bytes(200, _JSON, self._schema)

    async def _stop(self, _scope: Any, protocol: Any) -> None:
        protocol.response_bytes(200, _JSON, b"{}")
        self._shutdown("POST /shutdown")

    async def _cancel(self, scope: Any, protocol: Any) -> None:
        found = self._service.cancel(scope.path.split("/")[2])
        protocol.response_bytes(200 if found else 404, _JSON, b"{}")

    async def _predict(self, scope: Any, protocol: Any) -> None:
        headers = scope.headers
        if "text/event-stream" in (headers.get("accept") or ""):
            _error(protocol, 406, "streaming responses are not implemented yet: ask for application/json")
            return
        created_at = now()
        request, inputs = parse_request(await _read_body(headers, protocol))
        id = scope.path[len("/predictions/") :]
        if id:
            if request.id not in (None, id):
                message = "prediction ID must match the ID supplied in the URL"
                raise RequestError(422, [Problem(("body", "id"), message)])
            if running := self._service.running.get(id):
                protocol.response_bytes(202, _JSON, running.snapshot())
                return
        if request.webhook is not None:
            _error(protocol, 501, "webhooks are not implemented yet: leave out `webhook`")
            return
        inputs, problems = self._service.validator.check(inputs)
        if problems:
            raise RequestError(422, problems)
        prediction = self._service.admit(id or request.id or new_id(), created_at)
        started = self._service.start(prediction, inputs, request.context)
        if headers.get("prefer") == "respond-async":
            self._background(started)
            protocol.response_bytes(202, _JSON, encode({"id": prediction.id, "status": "starting"}))
            return
        await started
        await self._wait(prediction, protocol)
        protocol.response_bytes(200, _JSON, prediction.snapshot())

    def _background(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _wait(self, prediction: Prediction, protocol: Any) -> None:
        """Wait for the end of a prediction; cancel it if its client goes away."""
        watch: list[asyncio.Future[None]] = []

        async def cancel_when_gone() -> None:
            await protocol.client_disconnect()
            self._log.info("the client went away", prediction_id=prediction.id)
            self._service.cancel(prediction.id)

        loop = asyncio.get_running_loop()
        timer = loop.call_later(_WATCH_AFTER, lambda: watch.append(loop.create_task(cancel_when_gone())))
        await prediction.finished
        timer.cancel()
        for task in watch:
            task.cancel()


async def _read_body(headers: Any, protocol: Any) -> bytes:
    """The body of a request that says it is JSON.

    Raises:
        RequestError: it says that it is something else (415), or is too large (413).
    """
    kind = (headers.get("content-type") or "application/json").partition(";")[0].strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        problem = Problem(("header", "content-type"), f"expected application/json, found {kind}", "value_error.type")
        raise RequestError(415, [problem])
    length = headers.get("content-length")
    if length is not None and length.isdecimal():
        if int(length) > BODY_LIMIT:
            raise _too_large()
        return bytes(await protocol())
    parts, size = [], 0
    async for part in protocol:
        parts.append(part)
        size += len(part)
        if size > BODY_LIMIT:
            raise _too_large()
    return b"".join(parts)


def _too_large() -> RequestError:
    return RequestError(413, [Problem(("body",), f"the body has more than {BODY_LIMIT} bytes", "value_error.size")])


def _error(protocol: Any, status: int, message: str, *headers: tuple[str, str]) -> None:
    protocol.response_bytes(status, [*_JSON, *headers], encode({"error": message}))


async def _not_implemented(scope: Any, protocol: Any) -> None:
    _error(protocol, 501, f"{scope.path} is not implemented yet")
