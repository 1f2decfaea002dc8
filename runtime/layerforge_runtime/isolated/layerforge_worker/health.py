"""``healthcheck()``: run beside predictions, whatever these do."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

from .channel import Channel
from .loops import import_asyncio

TIMEOUT = 5.0  # seconds, as in Cog


def serve_healthchecks(descriptor: int, check: Callable[[], Any], channel: Channel) -> None:
    """Start a thread that runs ``check`` for each line on the pipe ``descriptor``, and sends the result.

    For synchronous models: their main thread may be busy with a prediction. That a check takes too long is for the
    server to say.
    """

    def serve() -> None:
        # Whoever asks while a check runs gets the result of the next one.
        while lines := os.read(descriptor, 4096):
            id = lines.split()[-1].decode()
            channel.send("healthcheck", id=id, error=run_check(check))

    threading.Thread(target=serve, name="layerforge-healthcheck", daemon=True).start()


def run_check(check: Callable[[], Any]) -> str:
    """What is wrong according to ``check``; empty if nothing is."""
    try:
        result = check()
        if hasattr(result, "__await__"):
            result = import_asyncio().run(_await(result))
    except BaseException as error:
        return explain(error)
    return judge(result)


async def check_async(check: Callable[[], Any]) -> str:
    """The same on an event loop, where a synchronous ``check`` gets a thread."""
    asyncio = import_asyncio()
    try:
        if getattr(getattr(check, "__code__", None), "co_flags", 0) & 0x80:  # written with `async def`
            return judge(await asyncio.wait_for(check(), TIMEOUT))
        result: str = await asyncio.to_thread(run_check, check)
        return result
    except asyncio.TimeoutError:
        return f"Healthcheck failed: user-defined healthcheck timed out after {TIMEOUT:.1f} seconds"
    except Exception as error:
        return explain(error)


def judge(result: object) -> str:
    """What a result means: only False is bad, as in Cog; numpy's False is False."""
    false = not result if type(result).__name__ in ("bool", "bool_") else False
    return "Healthcheck failed: user-defined healthcheck returned False" if false else ""


def explain(error: BaseException) -> str:
    """What an exception of the check means."""
    return f"Healthcheck failed: {type(error).__name__}: {error}"


async def _await(awaitable: Any) -> Any:
    return await awaitable
