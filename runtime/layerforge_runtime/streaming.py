"""Sending the events of a prediction to one client."""

from __future__ import annotations

import asyncio
from typing import Any

from granian.rsgi import ProtocolClosed  # type: ignore[attr-defined]

from layerforge_runtime.requests import encode
from layerforge_runtime.streams import EventLog

_HEADERS = [
    ("content-type", "text/event-stream"),
    ("cache-control", "no-cache"),
    ("x-accel-buffering", "no"),  # proxies like nginx must not hold events back
]
_KEEP_ALIVE = b": keep-alive\n\n"


async def send_events(log: EventLog, last_id: str, protocol: Any, keep_alive: float) -> bool:
    """Send events until the prediction has ended; False if the client went away before.

    Args:
        log: the events.
        last_id: what the client sent as ``Last-Event-ID``; empty for all events that are still there.
        protocol: granian's, nothing was sent on it yet.
        keep_alive: seconds of silence after which a comment is sent.
    """
    reader = _Reader(log, protocol, keep_alive)
    try:
        return await reader.run(last_id)
    except (ProtocolClosed, OSError):
        return False
    finally:
        reader.close()


class _Reader:
    def __init__(self, log: EventLog, protocol: Any, keep_alive: float) -> None:
        self._log = log
        self._keep_alive = keep_alive
        self._loop = asyncio.get_running_loop()
        self._woken: asyncio.Future[bool] | None = None
        self._transport = protocol.response_stream(200, _HEADERS)
        self._gone = asyncio.ensure_future(protocol.client_disconnect())
        self._gone.add_done_callback(lambda _: self._wake())
        log.readers.add(self._wake)

    def close(self) -> None:
        self._log.readers.discard(self._wake)
        self._gone.cancel()
        del self._transport  # granian ends the answer when nobody has it any more

    def _wake(self, news: bool = True) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(news)

    async def run(self, last_id: str) -> bool:
        position, skipped = self._log.first_position(last_id)
        if skipped:
            await self._fail("SSE stream replay truncated; events were dropped", skipped)
            return True
        while not self._gone.done():
            if skipped := self._log.missed(position):
                await self._fail("SSE stream lagged; events were dropped", skipped)
                return True
            if events := self._log.take(position):
                position += len(events)
                await self._send(b"".join(events))
            elif self._log.complete:
                return True
            elif not await self._wait():
                await self._transport.send_bytes(_KEEP_ALIVE)
        return self._log.complete

    async def _send(self, data: bytes) -> None:
        attachments = self._log.attachments
        for part in attachments.fill(data) if attachments else (data,):
            await self._transport.send_bytes(part)

    async def _fail(self, message: str, skipped: int) -> None:
        data = encode({"error": message, "skipped": skipped})
        await self._transport.send_bytes(b"event: error\ndata: %b\n\n" % data)

    async def _wait(self) -> bool:
        """Wait until something happens; False if nothing has for a while."""
        self._woken = self._loop.create_future()
        timer = self._loop.call_later(self._keep_alive, self._wake, False)
        try:
            return await self._woken
        finally:
            timer.cancel()
