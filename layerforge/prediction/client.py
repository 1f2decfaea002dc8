"""Talking to a started model: wait until it is ready, ask it for one prediction.

The inputs are made by :mod:`layerforge.prediction.inputs`, the output is shown by :mod:`layerforge.prediction.output`.
Source of the HTTP API: Cog's ``docs/http.md``.
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from layerforge.engines.protocol import Container
from layerforge.errors import EngineError, InputError
from layerforge.prediction.output import Prediction
from layerforge.prediction.schema import PREDICTIONS
from layerforge.progress import SILENCE, Reporter

_LAST_LINES = 30
_PROBE_SECONDS = 5


class _Setup(msgspec.Struct):
    logs: str | None = ""


class _Health(msgspec.Struct):
    status: str
    setup: _Setup | None = None
    user_healthcheck_error: str | None = None


class _Location(msgspec.Struct):
    loc: list[Any] = []
    msg: str = "not accepted"


class _Details(msgspec.Struct):
    detail: list[_Location]


def wait_until_ready(container: Container, timeout: float, reporter: Reporter = SILENCE) -> None:
    """Return once the model in ``container`` takes predictions; ``timeout`` is in seconds.

    Raises:
        EngineError: ``setup()`` failed (with its logs), the container ended (with its last lines), or time ran out.
    """
    task = "setup"
    reporter.start(task)
    deadline = time.monotonic() + timeout
    pause = 0.02
    while True:
        running = container.is_running()
        health = _ask_health(container.url) if running else None
        if not running:
            status = container.wait(0)
            raise _with_log(f"the container ended with status {status} before it was ready", container.logs())
        if health is not None and health.status in ("READY", "BUSY"):
            reporter.finish(task, "ready")
            return
        if health is not None:
            _check_health(health, container)
        if time.monotonic() > deadline:
            error = _with_log(f"the model was not ready after {timeout:g} seconds", container.logs())
            error.hint = "give it more time with --setup-timeout"
            raise error
        time.sleep(pause)
        pause = min(pause * 1.5, 0.25)


def _ask_health(url: str) -> _Health | None:
    """What the model says of itself, or None while nothing answers."""
    try:
        status, body = _request("GET", f"{url}/health-check", timeout=_PROBE_SECONDS)
    except (OSError, http.client.HTTPException):
        return None
    if status >= 500:
        return None
    try:
        return msgspec.json.decode(body, type=_Health)
    except msgspec.DecodeError:
        message = f"the server answers /health-check with status {status} and no health: this is no Cog model"
        raise EngineError(message, where=url) from None


def _check_health(health: _Health, container: Container) -> None:
    if health.status in ("SETUP_FAILED", "DEFUNCT"):
        logs = (health.setup.logs if health.setup else "") or container.logs()
        what = "setup() failed" if health.status == "SETUP_FAILED" else "the model broke down"
        raise _with_log(what, logs)
    if health.status == "UNHEALTHY":
        raise EngineError(f"the model's healthcheck() failed: {health.user_healthcheck_error or 'no reason given'}")


def _with_log(message: str, log: str) -> EngineError:
    lines = log.rstrip().splitlines()[-_LAST_LINES:]
    return EngineError("\n  ".join((f"{message}:" if lines else message, *lines)))


def predict(url: str, inputs: Mapping[str, Any], *, kind: str = PREDICTIONS) -> Prediction:
    """Run one prediction (or one of ``kind`` ``trainings``) and wait for its end, however long it takes.

    ``url`` is the server's. A prediction that failed is returned, not raised: :func:`write_output` raises.

    Raises:
        InputError: the model does not accept the inputs.
        EngineError: the server is busy, or the connection broke, which is what happens when it dies.
    """
    body = msgspec.json.encode({"input": dict(inputs)})
    try:
        status, answer = _request("POST", f"{url}/{kind}", body)
    except (OSError, http.client.HTTPException) as error:
        hint = "its process may have been killed, for example for want of memory: see its log"
        reason = str(error) or type(error).__name__
        raise EngineError(f"the model went away during the prediction: {reason}", hint=hint) from error
    if status == 422:
        raise _explain_refusal(answer)
    if status == 409:
        raise EngineError("the model is busy with another prediction", hint="try again when that has ended")
    if status not in (200, 201):
        raise EngineError(f"the server answered {status}: {_excerpt(answer)}", where=f"{url}/{kind}")
    try:
        return msgspec.json.decode(answer, type=Prediction)
    except msgspec.DecodeError as error:
        raise EngineError(f"the server's answer is no prediction ({error}): {_excerpt(answer)}") from error


def read_schema(url: str) -> dict[str, Any]:
    """The OpenAPI document of a running model.

    Raises:
        EngineError: it does not give any.
    """
    try:
        status, answer = _request("GET", f"{url}/openapi.json", timeout=_PROBE_SECONDS)
        if status == 200:
            return msgspec.json.decode(answer, type=dict[str, Any])
        reason = f"status {status}"
    except (OSError, http.client.HTTPException, msgspec.DecodeError) as error:
        reason = str(error)
    raise EngineError(f"the model gives no schema: {reason}", where=f"{url}/openapi.json")


def _explain_refusal(answer: bytes) -> InputError:
    try:
        details = msgspec.json.decode(answer, type=_Details).detail
    except msgspec.DecodeError:
        return InputError(f"the model does not accept the inputs: {_excerpt(answer)}")
    lines = [f"{'.'.join(map(str, one.loc[2:] or one.loc)) or 'input'}: {one.msg}" for one in details]
    return InputError("\n  ".join(("the model does not accept the inputs:", *lines)))


def _excerpt(answer: bytes) -> str:
    return answer[:500].decode(errors="replace").strip() or "nothing"


def _request(method: str, url: str, body: bytes | None = None, timeout: float | None = None) -> tuple[int, bytes]:
    """Status and body of one request to a server of this machine: no proxy, and no limit of time unless asked."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    try:
        headers = {"Connection": "close"} | ({"Content-Type": "application/json"} if body is not None else {})
        connection.request(method, parts.path, body, headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
