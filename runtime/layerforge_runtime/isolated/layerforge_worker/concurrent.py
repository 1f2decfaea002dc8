"""Predictions of asynchronous models: tasks of one event loop, which also reads the socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from .capture import current_prediction, route_streams
from .channel import Channel
from .health import check_async
from .model import Models
from .predict import Prediction


def serve(channel: Channel, models: Models, loop: asyncio.AbstractEventLoop, folder: str) -> None:
    """Run predictions until the server closes the socket or asks to stop."""
    tasks: dict[str, asyncio.Task[None]] = {}
    checks: set[asyncio.Task[None]] = set()
    routed = False

    def start(head: dict[str, Any], body: bytes) -> None:
        nonlocal routed
        if head.get("routed") and not routed:
            route_streams(lambda prediction, source, text: channel.send("log", id=prediction, source=source, data=text))
            routed = True
        prediction = Prediction(channel, models, folder, head, body)
        tasks[prediction.id] = loop.create_task(_run(prediction, partial(tasks.pop, prediction.id), sole=not routed))

    async def check(id: str) -> None:
        healthcheck = models.main.healthcheck
        channel.send("healthcheck", id=id, error=await check_async(healthcheck) if healthcheck else "")

    def receive() -> None:
        frames, open = channel.receive_ready()
        for head, body in frames:
            if head["kind"] == "predict":
                start(head, body)
            elif head["kind"] == "cancel":
                if task := tasks.get(head["id"]):
                    loop.call_soon(task.cancel)  # after its first step: a task that never ran would say nothing
            elif head["kind"] == "healthcheck":
                checks.add(task := loop.create_task(check(head["id"])))
                task.add_done_callback(checks.discard)
            else:
                open = False
        if not open:
            loop.remove_reader(channel.fileno())
            loop.stop()

    channel.defer(loop.call_soon)
    loop.add_reader(channel.fileno(), receive)
    loop.run_forever()


async def _run(prediction: Prediction, forget: Callable[[], object], *, sole: bool) -> None:
    prediction.enter(sole=sole)
    current_prediction.set(prediction.id)
    try:
        model, setup = prediction.prepare()
        if setup is not None:
            await setup
        # A synchronous train() beside an asynchronous run() must not hold that up.
        value = prediction.call(model) if model.is_async else await asyncio.to_thread(prediction.call, model)
        if hasattr(value, "__await__"):
            value = await value
        if hasattr(value, "__anext__"):
            async for item in value:
                prediction.send_output(item)
            prediction.succeed_stream()
        else:
            prediction.finish(value)
    except asyncio.CancelledError:
        prediction.cancel()
    except BaseException as error:
        prediction.fail(error)
    finally:
        forget()
        prediction.leave()
