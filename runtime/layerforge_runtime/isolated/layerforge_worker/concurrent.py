"""Predictions of asynchronous models: tasks of one event loop, which also reads the socket."""

from __future__ import annotations

import asyncio
from typing import Any

from cog.scope import enter_scope

from .capture import current_prediction, route_streams
from .channel import Channel
from .model import Model
from .predict import Prediction


def serve(channel: Channel, model: Model, loop: asyncio.AbstractEventLoop, folder: str) -> None:
    """Run predictions until the server closes the socket or asks to stop."""
    tasks: dict[str, asyncio.Task[None]] = {}
    routed = False

    def start(head: dict[str, Any], body: bytes) -> None:
        nonlocal routed
        if head.get("routed") and not routed:
            route_streams(lambda prediction, source, text: channel.send("log", id=prediction, source=source, data=text))
            routed = True
        prediction = Prediction(channel, model, folder, head, body)
        task = loop.create_task(_run(prediction, sole=not routed))
        tasks[prediction.id] = task
        task.add_done_callback(lambda _: tasks.pop(prediction.id, None))

    def receive() -> None:
        frames = channel.receive_ready()
        for head, body in frames or ():
            if head["kind"] == "predict":
                start(head, body)
            elif head["kind"] == "cancel":
                if task := tasks.get(head["id"]):
                    task.cancel()
            else:
                frames = None
        if frames is None:
            loop.remove_reader(channel.fileno())
            loop.stop()

    loop.add_reader(channel.fileno(), receive)
    loop.run_forever()


async def _run(prediction: Prediction, *, sole: bool) -> None:
    enter_scope(prediction.scope, sole=sole)
    current_prediction.set(prediction.id)
    try:
        value = prediction.call()
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
