"""The requests that make predictions, or trainings, and cancel them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any

from layerforge_runtime.answers import JSON, send_error, send_json
from layerforge_runtime.attachments import send_body
from layerforge_runtime.bodies import read_body
from layerforge_runtime.limits import Limits
from layerforge_runtime.logs import Log, now
from layerforge_runtime.metrics import Metrics
from layerforge_runtime.predictions import Prediction, new_id
from layerforge_runtime.requests import ALL_EVENTS, Problem, RequestError, parse_request, trace_context
from layerforge_runtime.service import Service
from layerforge_runtime.spool import Spool
from layerforge_runtime.streaming import send_events
from layerforge_runtime.streams import EventLog, EventLogs
from layerforge_runtime.validation import Validator
from layerforge_runtime.webhooks import Webhooks

_WATCH_AFTER = 0.1  # seconds; most predictions are over before it is worth to watch for a client that leaves

NOT_STREAMING = (
    "This model does not support streaming responses. Put @cog.streaming above its run() method, which must return an "
    "iterator, to allow server-sent events."
)
NO_TRAINING_STREAMS = "Training endpoints do not support streaming responses."


class Predicting:
    """``POST /predictions``, ``PUT /predictions/{id}``, ``POST /predictions/{id}/cancel``; or those of trainings.

    Args:
        service: the model.
        validator: of the inputs.
        folder: takes parts of large requests.
        noun: "prediction" or "training".
    """

    def __init__(
        self,
        service: Service,
        validator: Validator,
        webhooks: Webhooks,
        metrics: Metrics,
        log: Log,
        limits: Limits,
        folder: str,
        noun: str,
    ) -> None:
        self._service = service
        self._validator = validator
        self._webhooks = webhooks
        self._metrics = metrics
        self._log = log
        self._limits = limits
        self._folder = folder
        self._noun = noun
        self._streams = EventLogs(limits)
        self._tasks: set[asyncio.Future[None]] = set()  # the event loop itself keeps weak references only

    async def create(self, scope: Any, protocol: Any) -> None:
        """``POST /predictions``."""
        await self._create(scope, protocol, "")

    async def put(self, scope: Any, protocol: Any) -> None:
        """``PUT /predictions/{id}``."""
        await self._create(scope, protocol, scope.path.rpartition("/")[2])

    async def cancel(self, scope: Any, protocol: Any) -> None:
        """``POST /predictions/{id}/cancel``."""
        send_json(protocol, 200 if self._service.cancel(scope.path.split("/")[2]) else 404, {})

    async def _create(self, scope: Any, protocol: Any, id: str) -> None:
        headers = scope.headers
        streaming = _accepts_events(headers)
        if streaming and not self._can_stream:
            send_error(protocol, 406, NOT_STREAMING if self._noun == "prediction" else NO_TRAINING_STREAMS)
            return
        taken = await self._take(headers, protocol, id, streaming)
        if taken is None:
            return
        prediction, started, named = taken
        if streaming or (named and self._can_stream):
            stream = self._streams.open(prediction)
        if streaming:
            self._background(started)
            await asyncio.sleep(0)  # the worker gets it before the answer is begun
            await self._stream(stream, headers, protocol, cancel=True)
        elif _prefers_async(headers):
            self._background(started)
            send_json(protocol, 202, {"id": prediction.id, "status": "starting"})
        else:
            await self._wait_and_answer(prediction, started, protocol)

    async def _take(
        self, headers: Any, protocol: Any, id: str, streaming: bool
    ) -> tuple[Prediction, Coroutine[Any, Any, None], bool] | None:
        """Read a request and give it a slot; None if it was answered, because it had been made before.

        Returns:
            The prediction, what starts it, and whether its client has given it an id. Nothing else of the request is
            left: it may be large.
        """
        created_at = now()
        body, spool = await read_body(headers, protocol, self._limits, self._folder)
        prediction = None
        try:
            request, inputs = parse_request(body)
            if spool is not None:
                inputs = _restore(spool, inputs, self._validator)
            if id:
                if request.id not in (None, id):
                    message = f"{self._noun} ID must match the ID supplied in the URL"
                    raise RequestError(422, [Problem(("body", "id"), message)])
                if await self._answer_again(id, headers, protocol, streaming):
                    return None
            inputs, problems = self._validator.check(inputs)
            if problems:
                raise RequestError(422, problems)
            prediction = self._service.admit(
                id or request.id or new_id(), request.created_at or created_at, training=self._noun == "training"
            )
        finally:
            if spool is not None:
                if prediction is None:
                    spool.close()
                else:
                    prediction.finished.add_done_callback(lambda _: spool.close())
        named = bool(id or request.id)  # only then can anybody ask for it again
        if named:
            prediction.inputs = inputs
        prediction.upload_url = request.output_file_prefix or ""
        prediction.when_ended.append(lambda: self._metrics.prediction_ended(prediction, self._noun))
        trace = trace_context(headers)
        if request.webhook:
            events = ALL_EVENTS if request.webhook_events_filter is None else request.webhook_events_filter
            self._webhooks.attach(prediction, request.webhook, frozenset(events), trace)
        # The model's own spans can go on with the trace.
        return prediction, self._service.start(prediction, inputs, request.context, trace), named

    @property
    def _can_stream(self) -> bool:
        return self._noun == "prediction" and self._service.streaming

    async def _answer_again(self, id: str, headers: Any, protocol: Any, streaming: bool) -> bool:
        """Answer a PUT that has been made before; False if there is no such prediction."""
        running = self._service.running.get(id)
        if streaming and (events := self._streams.find(id, headers.get("last-event-id") or "")):
            await self._stream(events, headers, protocol, cancel=events.cancel_when_left)
            return True
        if running is None:
            return False
        await send_body(protocol, 202, running.snapshot(self._validator.mask(running.inputs)), running.attachments)
        return True

    async def _stream(self, events: EventLog, headers: Any, protocol: Any, *, cancel: bool) -> None:
        if len(events.readers) >= self._limits.stream_readers:
            send_error(protocol, 429, "Too many stream subscribers")
            return
        events.cancel_when_left = cancel
        whole = await send_events(events, headers.get("last-event-id") or "", protocol, self._limits.stream_keep_alive)
        if not whole and cancel and not events.readers and not events.complete:
            self._log.info("every client of the stream went away", prediction_id=events.id)
            self._service.cancel(events.id)

    def _background(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _wait_and_answer(self, prediction: Prediction, started: Coroutine[Any, Any, None], protocol: Any) -> None:
        answered = False

        def answer() -> None:
            nonlocal answered
            if not prediction.attachments:  # at once, and not when the event loop comes to this task again
                answered = True
                protocol.response_bytes(200, JSON, prediction.snapshot())

        prediction.when_ended.append(answer)
        await self._wait(prediction, started, protocol)
        if not answered:
            await send_body(protocol, 200, prediction.snapshot(), prediction.attachments)

    async def _wait(self, prediction: Prediction, started: Awaitable[None], protocol: Any) -> None:
        """Start a prediction and wait for its end; cancel it if its client goes away."""
        watch: list[asyncio.Future[None]] = []

        async def cancel_when_gone() -> None:
            await protocol.client_disconnect()
            self._log.info("the client went away", prediction_id=prediction.id)
            self._service.cancel(prediction.id)

        loop = asyncio.get_running_loop()
        timer = loop.call_later(_WATCH_AFTER, lambda: watch.append(loop.create_task(cancel_when_gone())))
        await started
        await prediction.finished
        timer.cancel()
        for task in watch:
            task.cancel()


def _restore(spool: Spool, inputs: dict[str, Any], validator: Validator) -> dict[str, Any]:
    try:
        return spool.restore(inputs, validator.urls)
    except ValueError as error:
        raise RequestError(
            400, [Problem(("body",), f"the body is not JSON: {error}", "value_error.jsondecode")]
        ) from None


def _accepts_events(headers: Any) -> bool:
    accept = headers.get("accept")
    return accept is not None and any(
        part.partition(";")[0].strip().lower() == "text/event-stream" for part in accept.split(",")
    )


def _prefers_async(headers: Any) -> bool:
    """Whether ``Prefer`` (RFC 7240) asks not to wait."""
    prefer = headers.get("prefer")
    return prefer is not None and any(
        part.partition(";")[0].strip().lower() == "respond-async" for part in prefer.split(",")
    )
