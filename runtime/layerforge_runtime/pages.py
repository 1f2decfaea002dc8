"""The requests about the server itself."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from layerforge_runtime.answers import JSON, send_error, send_json
from layerforge_runtime.metrics import CONTENT_TYPE, Metrics, read_worker
from layerforge_runtime.service import Service
from layerforge_runtime.webhooks import Webhooks

READY_FILE = "/var/run/cog/ready"
"""Exists once the model is ready, in Kubernetes, whose probes may look for it. Source: coglet's ``/health-check``."""

HEALTH = ("STARTING", "READY", "BUSY", "SETUP_FAILED", "DEFUNCT", "UNHEALTHY")


class Pages:
    """``/``, ``/health-check``, ``/openapi.json``, ``/metrics``, ``/shutdown``.

    Args:
        service: the model.
        webhooks: what is told to clients.
        metrics: what has been counted.
        version: shown as Cog's.
        schema: the OpenAPI document as JSON, None if there is none.
        training: whether the model can be trained.
        shutdown: called with the reason by ``POST /shutdown``.
    """

    def __init__(
        self,
        service: Service,
        webhooks: Webhooks,
        metrics: Metrics,
        *,
        version: str,
        schema: bytes | None,
        training: bool,
        shutdown: Callable[[str], None],
    ) -> None:
        self._service = service
        self._webhooks = webhooks
        self._metrics = metrics
        self._version = version
        self._schema = schema
        self._shutdown = shutdown
        self._ready_file = READY_FILE if "KUBERNETES_SERVICE_HOST" in os.environ else ""
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
        if self._ready_file and self._service.status in ("READY", "BUSY"):
            mark_ready(self._ready_file)
            self._ready_file = ""
        send_json(protocol, 200, await self._service.health())

    async def openapi(self, _scope: Any, protocol: Any) -> None:
        """``GET /openapi.json``."""
        if self._schema is None:
            send_error(protocol, 503, "OpenAPI schema not available")
        else:
            protocol.response_bytes(200, JSON, self._schema)

    async def metrics(self, _scope: Any, protocol: Any) -> None:
        """``GET /metrics``."""
        service, webhooks = self._service, self._webhooks
        health = {f'status="{each}"': float(each == service.status) for each in HEALTH}
        delivered = {'result="delivered"': webhooks.sent, 'result="failed"': webhooks.failed}
        text = self._metrics.render(
            ("cog_info", "The version of the server.", {f'version="{_escape(self._version)}"': 1}),
            ("cog_health", "1 for the status that /health-check tells.", health),
            ("cog_predictions_running", "Predictions that were taken and have not ended.", {"": len(service.running)}),
            ("cog_slots", "Predictions that can run at a time.", {"": service.slots}),
            ("cog_predictions_waiting", "Predictions that wait for a slot.", {"": len(service.waiting)}),
            ("cog_worker_restarts_total", "Workers that came after the first.", {"": service.lifecycle.restarts}),
            ("cog_webhooks_total", "Requests to webhooks.", delivered),
            *read_worker(service.worker_pid),
        )
        protocol.response_bytes(200, [("content-type", CONTENT_TYPE)], text)

    async def stop(self, _scope: Any, protocol: Any) -> None:
        """``POST /shutdown``."""
        send_json(protocol, 200, {})
        self._shutdown("POST /shutdown")


def mark_ready(path: str) -> None:
    """Make an empty file, and its folder; a file system that does not allow it is no reason to be less ready."""
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb"):
            pass
    except OSError:
        pass


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
