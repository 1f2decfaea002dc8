"""The requests about the server itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from layerforge_runtime.answers import JSON, send_error, send_json
from layerforge_runtime.service import Service


class Pages:
    """``/``, ``/health-check``, ``/openapi.json``, ``/shutdown``.

    Args:
        service: the model.
        version: shown as Cog's.
        schema: the OpenAPI document as JSON, None if there is none.
        training: whether the model can be trained.
        shutdown: called with the reason by ``POST /shutdown``.
    """

    def __init__(
        self, service: Service, *, version: str, schema: bytes | None, training: bool, shutdown: Callable[[str], None]
    ) -> None:
        self._service = service
        self._schema = schema
        self._shutdown = shutdown
        self._links = {
            "cog_version": version,
            "docs_url": "/docs",
            "openapi_url": "/openapi.json",
            "shutdown_url": "/shutdown",
            "healthcheck_url": "/health-check",
            "predictions_url": "/predictions",
            "predictions_idempotent_url": "/predictions/{prediction_id}",
            "predictions_cancel_url": "/predictions/{prediction_id}/cancel",
        }
        if training:
            self._links |= {
                "trainings_url": "/trainings",
                "trainings_idempotent_url": "/trainings/{training_id}",
                "trainings_cancel_url": "/trainings/{training_id}/cancel",
            }

    async def root(self, _scope: Any, protocol: Any) -> None:
        """``GET /``."""
        send_json(protocol, 200, self._links)

    async def health(self, _scope: Any, protocol: Any) -> None:
        """``GET /health-check``."""
        send_json(protocol, 200, self._service.health())

    async def openapi(self, _scope: Any, protocol: Any) -> None:
        """``GET /openapi.json``."""
        if self._schema is None:
            send_error(protocol, 503, "OpenAPI schema not available")
        else:
            protocol.response_bytes(200, JSON, self._schema)

    async def stop(self, _scope: Any, protocol: Any) -> None:
        """``POST /shutdown``."""
        send_json(protocol, 200, {})
        self._shutdown("POST /shutdown")
