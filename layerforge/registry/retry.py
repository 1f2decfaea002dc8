"""When and how often something is tried again. What may be tried again at all is decided by the caller."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import TypeVar

from layerforge.progress import Reporter
from layerforge.registry.failures import Failure

T = TypeVar("T")

ATTEMPTS = 5
_FIRST = 0.2  # seconds
_LONGEST = 8.0
_PATIENCE = 60.0  # the longest Retry-After that is obeyed


class Stopped(BaseException):
    """Another part of the same push has failed or was interrupted."""


class Retry:
    """Repeats what may be repeated. Pauses double each time, with jitter, or last as long as the registry asks for.

    Setting ``stop`` ends a pause at once, and all work that asks.
    """

    def __init__(self, reporter: Reporter, stop: threading.Event) -> None:
        self._reporter = reporter
        self.stop = stop

    def check(self) -> None:
        """Raise Stopped when the work is to end."""
        if self.stop.is_set():
            raise Stopped

    def repeat(self, action: Callable[[int], T], progress: Callable[[], int] = lambda: 0) -> T:
        """What ``action(attempt)`` gives; it is called again, with the next number, after a transient failure.

        Attempts are counted from the last one after which ``progress`` had grown.

        Raises:
            RegistryError: of ``action``, when it is not transient or the attempts are used up.
        """
        attempt = failures = reached = 0
        while True:
            self.check()
            try:
                return action(attempt)
            except Failure as failure:
                attempt += 1
                failures = 1 if progress() > reached else failures + 1
                reached = progress()
                if failures == ATTEMPTS:
                    raise
                self._pause(failures - 1, failure)

    def _pause(self, attempt: int, failure: Failure) -> None:
        asked = parse_retry_after(failure.retry_after) or 0.0
        if not failure.transient or asked > _PATIENCE:
            raise failure
        seconds = max(asked, min(_LONGEST, _FIRST * 2**attempt) * random.uniform(0.5, 1.5))
        self._reporter.note(f"{failure}; trying again in {seconds:.1f} s")
        self.stop.wait(seconds)


def parse_retry_after(text: str) -> float | None:
    """Seconds from a ``Retry-After`` header (RFC 9110, section 10.2.3): a number, or a date."""
    if text.strip().isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None
