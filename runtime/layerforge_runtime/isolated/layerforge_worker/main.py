"""The worker's life: setup, then predictions one after another or, for asynchronous models, side by side."""

from __future__ import annotations

import os
import socket
import sys
from typing import Any

import cog
from cog.exceptions import CancelationException
from cog.scope import enter_scope

from .cancel import Canceler
from .capture import flush_streams, prepare_streams
from .channel import Channel
from .health import serve_healthchecks
from .loops import make_loop
from .model import Models, load_model
from .predict import Prediction, describe, is_stream, print_traceback


def main(descriptor: int, control: int, mode: str, reference: str, trainer: str, folder: str) -> None:
    """Serve predictions of the model at ``reference`` over the socket ``descriptor`` until the server closes it.

    ``control`` is a pipe that asks for health checks while a synchronous model is busy. ``mode`` is "predict" or
    "train", ``trainer`` names what trains in the first mode, or is empty; ``folder`` takes files that hold outputs.
    """
    connection = socket.socket(fileno=descriptor)
    for each in (descriptor, control):
        os.set_inheritable(each, False)
    channel = Channel(connection)
    # A process that the model forks must not speak to the server, nor keep the connection open.
    os.register_at_fork(after_in_child=channel.close)
    prepare_streams()
    sys.path[:0] = ["", os.getcwd()]
    train = mode == "train"
    loop: Any = None
    try:
        model = load_model(reference, train=train)
        if model.is_async:
            loop = make_loop()
        _setup(model.setup(), loop)
    except BaseException as error:
        print_traceback(error)
        flush_streams()
        channel.send("setup_failed", error=describe(error))
        _leave(1)
    models = Models(model, reference, trainer, train=train)
    check = model.healthcheck
    canceler = None if loop else Canceler(channel)  # before the server knows that it may send the signal
    flush_streams()
    channel.send(
        "ready",
        fields=model.fields,
        slots=model.concurrency,
        asynchronous=model.is_async,
        streaming=model.streaming,
        healthcheck=check is not None,
        python=sys.version.split()[0],
        sdk=cog.__version__,
    )
    if canceler is not None:
        if check is not None:
            serve_healthchecks(control, check, channel)
        _serve(channel, models, folder, canceler)
    else:
        from .concurrent import serve

        serve(channel, models, loop, folder)
    flush_streams()


def _setup(result: Any, loop: Any) -> None:
    if hasattr(result, "__await__"):
        (loop or make_loop()).run_until_complete(_collect(result))


def _serve(channel: Channel, models: Models, folder: str, canceler: Canceler) -> None:
    """Synchronous code runs on the main thread, which reads the socket itself: no thread has to be woken."""
    while (frame := channel.receive()) is not None:
        head, body = frame
        if head["kind"] == "cancel":
            continue  # its prediction has ended meanwhile
        if head["kind"] != "predict":
            break
        prediction = Prediction(channel, models, folder, head, body)
        del frame, head, body
        prediction.enter(sole=True)
        # The exception may come at any instruction up to the end of `finally`; it ends up in one of the handlers.
        try:
            try:
                canceler.enter(prediction.id)
                model, setup = prediction.prepare()
                if setup is not None:
                    _setup(setup, None)
                value = prediction.call(model)
                if hasattr(value, "__await__") or hasattr(value, "__anext__"):
                    value = make_loop().run_until_complete(_collect(value))
                streams = is_stream(value)
                if streams:
                    for item in value:
                        prediction.send_output(item)
            finally:
                canceler.leave()
            if streams:
                prediction.succeed_stream()
            else:
                prediction.finish(value)
        except CancelationException:
            canceler.leave()  # the exception may have come just before the line above
            prediction.cancel()
        except BaseException as error:  # SystemExit too: it ends the prediction, not the worker
            prediction.fail(error)
        value = None
        enter_scope(None, sole=True)
        prediction.leave()


async def _collect(value: Any) -> Any:
    """The result of asynchronous code behind a function that did not look like it."""
    if hasattr(value, "__await__"):
        value = await value
    return [item async for item in value] if hasattr(value, "__anext__") else value


def _leave(status: int) -> None:
    flush_streams()
    os._exit(status)  # threads that a half-done setup started must not keep the process
