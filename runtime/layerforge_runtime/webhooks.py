"""Webhooks: telling a client's server how its prediction is getting on.

The protocol is Cog's (``docs/http.md`` there, ``crates/coglet/src/webhook.rs``): the prediction as it is then, in
a POST request; the last one is repeated with growing pauses until it is taken.
"""

from __future__ import annotations

import asyncio
import time
import urllib.error
from collections.abc import Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from layerforge_runtime.attachments import Content
from layerforge_runtime.limits import Limits
from layerforge_runtime.logs import Log
from layerforge_runtime.outgoing import open_url, redact
from layerforge_runtime.predictions import Prediction
from layerforge_runtime.transfers import explain

_TIMEOUT = 30.0  # seconds for one request
_THREADS = 32
_FIRST_PAUSE = 0.1  # seconds, doubled before every repetition
_WORTH_REPEATING = (429, 500, 502, 503, 504)
_IN_ORDER = 2.0  # seconds that the last event waits for the one before it


class Webhooks:
    """Sends webhooks from threads of its own, so that slow receivers hold up nothing else.

    Args:
        user_agent: what the requests say they come from.
        token: sent as a bearer token (WEBHOOK_AUTH_TOKEN), empty for none.
        deny_private: refuse receivers at addresses that are not public.
    """

    def __init__(self, log: Log, limits: Limits, *, user_agent: str, token: str, deny_private: bool) -> None:
        self.sent = 0
        self.failed = 0
        self._log = log
        self._limits = limits
        self._headers = {"Content-Type": "application/json", "User-Agent": user_agent}
        self._secret_headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._deny_private = deny_private
        self._threads = ThreadPoolExecutor(_THREADS, "webhook")
        self._tasks: set[asyncio.Task[None]] = set()

    def attach(self, prediction: Prediction, url: str, events: frozenset[str], trace: Mapping[str, str]) -> None:
        """Send ``events`` of ``prediction`` to ``url``, as part of the ``trace``."""
        prediction.observers += (_Webhook(self, url, events, trace, self._limits.webhook_interval),)

    async def drain(self, seconds: float) -> None:
        """Wait until everything is delivered, but no longer than that."""
        if self._tasks:
            _, left = await asyncio.wait(self._tasks, timeout=seconds)
            if left:
                self._log.error(f"{len(left)} webhooks could not be delivered before the end")

    def run(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run ``work`` beside everything else."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def deliver(self, url: str, body: bytes | Content, trace: Mapping[str, str], *, repeat: bool) -> None:
        """POST ``body``; with ``repeat`` until it is taken or given up."""
        retries = self._limits.webhook_retries if repeat and len(self._tasks) <= self._limits.webhooks_pending else 0
        for attempt in range(retries + 1):
            try:
                await asyncio.get_running_loop().run_in_executor(self._threads, self._post, url, body, trace)
                self.sent += 1
                return
            except OSError as error:
                final = isinstance(error, urllib.error.HTTPError) and error.code not in _WORTH_REPEATING
                if final or attempt == retries:
                    self.failed += 1
                    say = self._log.error if repeat else self._log.warning
                    say(f"the webhook to {redact(url)} failed: {explain(error)}", attempts=attempt + 1)
                    return
                pause = _FIRST_PAUSE * 2 ** min(attempt + 1, 10)
                self._log.warning(f"the webhook to {redact(url)} failed: {explain(error)}", again_in=pause)
            await asyncio.sleep(pause)

    def _post(self, url: str, body: bytes | Content, trace: Mapping[str, str]) -> None:
        size = len(body) if isinstance(body, bytes) else body.size
        response = open_url(
            url,
            method="POST",
            data=body,
            headers={**self._headers, "Content-Length": str(size), **trace},
            secret_headers=self._secret_headers,
            timeout=_TIMEOUT,
            redirects=self._limits.download_redirects,
            deny_private=self._deny_private,
        )
        response.close()


class _Webhook:
    """The webhook of one prediction; an observer of it.

    Outputs and logs are told together, at most once in ``interval`` seconds, the latest state in the end. One request
    is under way at a time, so that they arrive in order.
    """

    def __init__(
        self, sender: Webhooks, url: str, events: frozenset[str], trace: Mapping[str, str], interval: float
    ) -> None:
        self._sender = sender
        self._url = url
        self._events = events
        self._trace = trace
        self._interval = interval
        self._next = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._under_way: asyncio.Task[None] | None = None
        self._again = False

    def started(self, prediction: Prediction) -> None:
        if "start" in self._events:
            self._send(prediction)

    def output_added(self, prediction: Prediction, _body: bytes) -> None:
        if "output" in self._events:
            self._soon(prediction)

    def logged(self, prediction: Prediction, _source: str, _data: bytes) -> None:
        if "logs" in self._events:
            self._soon(prediction)

    def metric_recorded(self, prediction: Prediction, name: str, value: Any, mode: str) -> None:
        """Metrics have no event of their own."""

    def ended(self, prediction: Prediction) -> None:
        owed = self._timer is not None or self._again
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._again = False
        if "completed" in self._events or owed:
            self._sender.run(self._send_last(_render(prediction)))

    def _soon(self, prediction: Prediction) -> None:
        if self._timer is None and not self._again:
            pause = self._next - time.monotonic()
            if pause > 0:
                self._timer = asyncio.get_running_loop().call_later(pause, self._send, prediction)
            else:
                self._send(prediction)

    def _send(self, prediction: Prediction) -> None:
        self._timer = None
        if prediction.ended:
            return
        if self._under_way is not None and not self._under_way.done():
            self._again = True
            return
        self._again = False
        self._next = time.monotonic() + self._interval
        work = self._sender.deliver(self._url, _render(prediction), self._trace, repeat=False)
        self._under_way = self._sender.run(work)
        self._under_way.add_done_callback(lambda _: self._soon_again(prediction))

    def _soon_again(self, prediction: Prediction) -> None:
        if self._again:
            self._again = False
            self._soon(prediction)

    async def _send_last(self, body: bytes | Content) -> None:
        if self._under_way is not None and not self._under_way.done():
            await asyncio.wait({self._under_way}, timeout=_IN_ORDER)
        await self._sender.deliver(self._url, body, self._trace, repeat=True)


def _render(prediction: Prediction) -> bytes | Content:
    body = prediction.snapshot()
    return prediction.attachments.fill(body) if prediction.attachments else body
