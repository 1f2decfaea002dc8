"""HTTP: which request does what, and what is answered when that goes wrong."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from granian.rsgi import ProtocolClosed  # type: ignore[attr-defined]

from layerforge_runtime.answers import JSON, send_error
from layerforge_runtime.docs import send_docs
from layerforge_runtime.logs import Log
from layerforge_runtime.metrics import Metrics
from layerforge_runtime.pages import Pages
from layerforge_runtime.predicting import Predicting
from layerforge_runtime.requests import RequestError, encode
from layerforge_runtime.service import Unavailable

Handler = Callable[[Any, Any], Awaitable[None]]


class Routes:
    """The RSGI application: ``endpoints`` has what makes predictions and trainings, by the first part of the path."""

    def __init__(self, log: Log, metrics: Metrics, pages: Pages, endpoints: dict[str, Predicting]) -> None:
        self._log = log
        self._metrics = metrics
        self._endpoints = endpoints
        self._table: dict[str, dict[str, Handler]] = {
            "/": {"GET": pages.root},
            "/health-check": {"GET": pages.health},
            "/openapi.json": {"GET": pages.openapi},
            "/docs": {"GET": send_docs},
            "/metrics": {"GET": pages.metrics},
            "/shutdown": {"POST": pages.stop},
            **{f"/{name}": {"POST": endpoint.create} for name, endpoint in endpoints.items()},
        }

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        """Answer one request."""
        if scope.proto != "http":
            protocol.close(404)
            return
        method = "GET" if scope.method == "HEAD" else scope.method
        methods = self._table.get(scope.path) or self._find(scope.path)
        handler = methods.get(method)
        try:
            if handler is not None:
                await handler(scope, protocol)
            elif methods:
                send_error(protocol, 405, f"{scope.path} does not take {scope.method}", ("allow", ", ".join(methods)))
            else:
                send_error(protocol, 404, f"there is nothing at {scope.path}")
        except RequestError as error:
            self._metrics.request_refused(error.status)
            protocol.response_bytes(error.status, JSON, error.body)
        except Unavailable as error:
            self._metrics.request_refused(error.status)
            protocol.response_bytes(error.status, JSON, encode({"error": str(error), "status": "failed"}))
        except ProtocolClosed:
            self._log.debug(f"{scope.method} {scope.path}: the client went away before it was answered")
        except Exception as error:
            self._metrics.request_refused(500)
            self._log.error(f"{scope.method} {scope.path}: {type(error).__name__}: {error}")
            send_error(protocol, 500, "internal error; the server's log says more")

    def _find(self, path: str) -> dict[str, Handler]:
        match path.split("/"):
            case ["", kind, id] if id and kind in self._endpoints:
                return {"PUT": self._endpoints[kind].put}
            case ["", kind, id, "cancel"] if id and kind in self._endpoints:
                return {"POST": self._endpoints[kind].cancel}
        return {}
