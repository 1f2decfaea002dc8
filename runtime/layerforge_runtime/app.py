"""The server's life: start, serve, drain, exit."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import signal
import socket
import sys
from contextlib import suppress
from typing import Any

import msgspec
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server

from layerforge_runtime.logs import Log
from layerforge_runtime.metrics import Metrics
from layerforge_runtime.pages import Pages
from layerforge_runtime.predicting import Predicting
from layerforge_runtime.routes import Routes
from layerforge_runtime.service import Service
from layerforge_runtime.settings import Settings
from layerforge_runtime.spawn import Worker
from layerforge_runtime.validation import Validator
from layerforge_runtime.webhooks import Webhooks

_WORKER_PATIENCE = 1.0  # seconds for a worker to end by itself, after its predictions have ended
_ANSWER_PATIENCE = 0.2  # seconds for the last answers to leave
_WEBHOOK_PATIENCE = 0.5  # seconds for the last webhooks, if predictions took all the grace there was
_FORWARDED = (signal.SIGHUP, signal.SIGUSR2, signal.SIGQUIT, signal.SIGWINCH, signal.SIGCONT)


def run(settings: Settings, worker: Worker) -> int:
    """Serve until a signal or POST /shutdown; the exit status."""
    try:
        return asyncio.run(_serve(settings, worker))
    finally:  # reached when it could not start, or by a bug: otherwise the process has ended
        with suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGKILL)
        shutil.rmtree(worker.folder, ignore_errors=True)


async def _serve(settings: Settings, worker: Worker) -> int:
    log = Log(settings.log_level, settings.log_format)
    _check_address(settings)
    schema = _read_schema(settings.schema_path, log)
    document = None if schema is None else msgspec.json.decode(schema, type=dict[str, Any])
    trainer = Validator(document, "TrainingInput", "TrainingOutput")
    service = Service(settings, worker, Validator(document), trainer, log)
    stopping = asyncio.Event()

    def shut_down(reason: str) -> None:
        if stopping.is_set():
            log.warning(f"{reason} again: exiting at once")
            service.lifecycle.kill("was killed")
            shutil.rmtree(worker.folder, ignore_errors=True)
            os._exit(1)
        log.info(f"{reason}: shutting down")
        stopping.set()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, shut_down, "SIGINT")
    if not settings.await_explicit_shutdown:
        loop.add_signal_handler(signal.SIGTERM, shut_down, "SIGTERM")
    else:
        loop.add_signal_handler(signal.SIGTERM, log.info, "SIGTERM ignored: waiting for POST /shutdown")
    for number in _FORWARDED:
        loop.add_signal_handler(number, service.lifecycle.forward, number)

    webhooks = Webhooks(
        log,
        settings.limits,
        user_agent=settings.user_agent,
        token=settings.webhook_token,
        deny_private=settings.deny_private,
    )
    metrics = Metrics()
    pages = Pages(
        service,
        webhooks,
        metrics,
        version=settings.cog_version,
        schema=schema,
        training=trainer.known,
        shutdown=shut_down,
    )
    shared = (webhooks, metrics, log, settings.limits, worker.folder)
    endpoints = {
        "predictions": Predicting(service, service.validator, *shared, "prediction"),
        "trainings": Predicting(service, service.trainer, *shared, "training"),
    }
    routes = Routes(log, metrics, pages, endpoints)
    server = Server(
        routes,
        address=settings.host,
        port=settings.port,
        interface=Interfaces.RSGI,
        http=HTTPModes.http1,
        websockets=False,
        backlog=1024,
        http1_settings=HTTP1Settings(max_buffer_size=max(settings.limits.headers, 8192)),
        log_enabled=False,
    )
    # What is there now stays; of what comes, little is in cycles.
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
    serving = asyncio.ensure_future(server.serve())
    log.info(f"listening on {settings.host}:{settings.port}")
    stop = asyncio.ensure_future(stopping.wait())
    await asyncio.wait((serving, stop), return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        serving.result()
        raise RuntimeError("the HTTP server ended by itself")

    deadline = loop.time() + settings.grace
    await service.drain(settings.grace)
    await webhooks.drain(max(deadline - loop.time(), _WEBHOOK_PATIENCE))
    await asyncio.sleep(_ANSWER_PATIENCE if service.lifecycle.ended else 0.02)
    await service.stop(_WORKER_PATIENCE)
    server.stop()  # type: ignore[no-untyped-call]
    try:
        await asyncio.wait_for(serving, 0.5)
    except asyncio.TimeoutError:
        pass
    log.info("stopped")
    sys.stdout.flush()
    os._exit(0)  # idle connections and threads must not hold it up


def _check_address(settings: Settings) -> None:
    """Fail early if somebody else listens there: granian shares ports, and would take part of the requests.

    Raises:
        SystemExit: the address is in use, not this machine's, or not allowed.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((settings.host, settings.port))
    except OSError as error:
        sys.exit(
            f"error: cannot listen on {settings.host}:{settings.port}: {error.strerror or error}\n"
            "hint: set PORT to a port that is free"
        )


def _read_schema(path: str, log: Log) -> bytes | None:
    if not path:
        log.warning("there is no OpenAPI document at .cog/openapi_schema.json: inputs are not validated")
        return None
    try:
        with open(path, "rb") as file:
            schema = file.read()
        msgspec.json.decode(schema, type=dict)
    except (OSError, msgspec.DecodeError) as error:
        log.error(f"the OpenAPI document {path} cannot be read, so inputs are not validated: {error}")
        return None
    return schema
