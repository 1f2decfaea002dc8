"""Server-sent events: what happened to a prediction, for clients that read it as it happens, or come back later.

Names and members of the events are those of Cog (``docs/http.md`` there); the numbers in ``id:`` are ours, and a client
that sends the last one as ``Last-Event-ID`` goes on where it was.
"""

from __future__ import annotations

import codecs
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

import msgspec

from layerforge_runtime.attachments import Attachments
from layerforge_runtime.limits import Limits
from layerforge_runtime.predictions import Prediction

_LIVE = 1024
"""Events that are held for readers who are a little behind, however short the history is."""

_encode = msgspec.json.Encoder().encode
_MODES = {"incr": "increment"}


class EventLog:
    """The latest events of one prediction; an observer of it. ``readers`` are called when there is another event."""

    def __init__(self, prediction: Prediction, limits: Limits) -> None:
        self.id = prediction.id
        self.size = 0
        self.complete = False
        self.attachments: Attachments | None = None
        self.cancel_when_left = False
        self.readers: set[Callable[[], None]] = set()
        self._limits = limits
        self._events: deque[bytes] = deque()
        self._window = max(limits.stream_events, _LIVE)
        self._dropped = 0
        self._outputs = 0
        self._decoders: dict[str, codecs.IncrementalDecoder] = {}

    @property
    def count(self) -> int:
        """How many events there have been."""
        return self._dropped + len(self._events)

    # What happens to the prediction.

    def started(self, prediction: Prediction) -> None:
        self._add("start", _encode({"id": prediction.id, "status": prediction.status}))

    def output_added(self, prediction: Prediction, body: bytes) -> None:
        self.attachments = prediction.attachments
        self._add("output", b'{"chunk":%b,"index":%d}' % (body, self._outputs))
        self._outputs += 1

    def logged(self, _prediction: Prediction, source: str, data: bytes) -> None:
        decoder = self._decoders.get(source)
        if decoder is None:
            decoder = self._decoders[source] = codecs.getincrementaldecoder("utf-8")("replace")
        if text := decoder.decode(data):
            self._add("log", _encode({"data": text, "source": source}))

    def metric_recorded(self, _prediction: Prediction, name: str, value: Any, mode: str) -> None:
        self._add("metric", _encode({"mode": _MODES.get(mode, mode), "name": name, "value": value}))

    def ended(self, prediction: Prediction) -> None:
        self._add("completed", prediction.snapshot(), last=True)

    def _add(self, name: str, data: bytes, *, last: bool = False) -> None:
        event = b"id: %d\nevent: %b\ndata: %b\n\n" % (self.count + 1, name.encode(), data)
        self._events.append(event)
        self.size += len(event)
        while len(self._events) > self._window or (self.size > self._limits.stream_bytes and len(self._events) > 1):
            self.size -= len(self._events.popleft())
            self._dropped += 1
        self.complete = last
        for wake in self.readers:
            wake()

    # Readers.

    def first_position(self, last_id: str) -> tuple[int, int]:
        """Where a new reader starts, and how many events it misses by that.

        ``last_id`` is the number of the last event that it has seen, or empty; other texts count as empty.
        """
        seen = int(last_id) if last_id.isdecimal() and len(last_id) < 19 else -1
        if not 0 <= seen <= self.count:
            if self._limits.stream_events == 0:  # no replay at all, as asked for
                return self.count, 0
            seen = 0
        kept = max(self._dropped, self.count - self._limits.stream_events)
        return seen, max(0, kept - seen)

    def take(self, position: int) -> list[bytes]:
        """The events from ``position`` on that have happened."""
        start = position - self._dropped
        return [self._events[index] for index in range(start, len(self._events))]

    def missed(self, position: int) -> int:
        """How many events a reader at ``position`` has lost by being slow."""
        return max(0, self._dropped - position)


class EventLogs:
    """The event logs of running predictions, and of the latest that have ended."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._running: dict[str, EventLog] = {}
        self._ended: OrderedDict[str, EventLog] = OrderedDict()

    def open(self, prediction: Prediction) -> EventLog:
        """A log for a prediction that is about to start."""
        log = EventLog(prediction, self._limits)
        self._ended.pop(prediction.id, None)
        self._running[prediction.id] = log
        prediction.observers += (log,)
        prediction.finished.add_done_callback(lambda _: self._close(log))
        return log

    def find(self, id: str, last_id: str = "") -> EventLog | None:
        """The log of a running prediction or, for a client that has seen part of it, of one that has ended."""
        return self._running.get(id) or (self._ended.get(id) if last_id else None)

    def _close(self, log: EventLog) -> None:
        if self._running.get(log.id) is log:
            del self._running[log.id]
        self._ended[log.id] = log
        total = sum(map(_weigh, self._ended.values()))
        while self._ended and (len(self._ended) > self._limits.finished_streams or total > self._limits.stream_bytes):
            total -= _weigh(self._ended.popitem(last=False)[1])


def _weigh(log: EventLog) -> int:
    """The bytes that it takes, in memory and on the disk."""
    return log.size + (log.attachments.size if log.attachments else 0)
