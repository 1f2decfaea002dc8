"""The worker's life: setup, then predictions one after another or, for asynchronous models, side by side."""

from __future__ import annotations

import os
import signal
import socket
import sys
from types import FrameType
from typing import Any

import cog
from cog.exceptions import CancelationException
from cog.scope import enter_scope

from .capture import flush_streams, prepare_streams
from .channel import Channel
from .model import Model, load_model
from .predict import Prediction, describe, is_stream, print_traceback

CANCEL_SIGNAL = signal.SIGUSR1


def main(descriptor: int, reference: str, folder: str) -> None:
    """Serve predictions of the model at ``reference`` over the socket ``descriptor`` until the server closes it.

    ``folder`` takes files that hold outputs.
    """
    connection = socket.socket(fileno=descriptor)
    connection.set_inheritable(False)
    channel = Channel(connection)
    # A process that the model forks must not speak to the server, nor keep the connection open.
    os.register_at_fork(after_in_child=channel.close)
    prepare_streams()
    sys.path[:0] = ["", os.getcwd()]
    loop: Any = None
    try:
        model = load_model(reference)
        if model.is_async:
            loop = _make_loop()
        _setup(model, loop)
    except BaseException as error:
        print_traceback(error)
        flush_streams()
        channel.send("setup_failed", error=describe(error))
        _leave(1)
    flush_streams()
    channel.send(
        "ready",
        fields=model.fields,
        slots=model.concurrency,
        asynchronous=model.is_async,
        streaming=model.streaming,
        python=sys.version.split()[0],
        sdk=cog.__version__,
    )
    if loop is None:
        _serve(channel, model, folder)
    else:
        from .concurrent import serve

        serve(channel, model, loop, folder)
    flush_streams()


def _setup(model: Model, loop: Any) -> None:
    result = model.setup()
    if hasattr(result, "__await__"):
        (loop or _make_loop()).run_until_complete(result)


def _make_loop() -> Any:
    # asyncio is a large part of the standard library, so it waits until it is needed; by then the model's folder is on
    # the path, where it must not be looked for.
    kept, sys.path[:] = sys.path[:], [entry for entry in sys.path if entry not in ("", os.getcwd())]
    try:
        import asyncio

        from . import concurrent  # noqa: F401 - it uses more of asyncio
    finally:
        sys.path[:] = kept
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    return loop


def _serve(channel: Channel, model: Model, folder: str) -> None:
    """Synchronous code runs on the main thread, which reads the socket itself: no thread has to be woken."""
    running: list[Prediction] = []

    def cancel(_number: int, _frame: FrameType | None) -> None:
        if running:
            raise CancelationException

    signal.signal(CANCEL_SIGNAL, cancel)
    while (frame := channel.receive()) is not None:
        head, body = frame
        if head["kind"] != "predict":
            break
        prediction = Prediction(channel, model, folder, head, body)
        del frame, body
        enter_scope(prediction.scope, sole=True)
        # The signal may come at any instruction: from here to `running.clear()` it ends up in one of the handlers.
        try:
            try:
                running.append(prediction)
                value = prediction.call()
                if hasattr(value, "__await__") or hasattr(value, "__anext__"):
                    value = _make_loop().run_until_complete(_collect(value))
                streams = is_stream(value)
                if streams:
                    for item in value:
                        prediction.send_output(item)
            finally:
                running.clear()
            if streams:
                prediction.succeed_stream()
            else:
                prediction.finish(value)
        except CancelationException:
            running.clear()  # the signal may have come just before the line above
            prediction.cancel()
        except BaseException as error:  # SystemExit too: it ends the prediction, not the worker
            prediction.fail(error)
        value = None
        enter_scope(None, sole=True)


async def _collect(value: Any) -> Any:
    """The result of asynchronous code behind a function that did not look like it."""
    if hasattr(value, "__await__"):
        value = await value
    return [item async for item in value] if hasattr(value, "__anext__") else value


def _leave(status: int) -> None:
    flush_streams()
    os._exit(status)  # threads that a half-done setup started must not keep the process
