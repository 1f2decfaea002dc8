"""What every engine promises."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Protocol

from layerforge.oci import Descriptor
from layerforge.progress import Reporter
from layerforge.store import Store

CONTAINER_PORT = 5000
"""Where the runtime listens when ``PORT`` does not say otherwise."""

LOOPBACK = "127.0.0.1"


class Container(Protocol):
    """A running image. Leaving its ``with`` block stops it, whatever the reason."""

    @property
    def url(self) -> str:
        """``http://127.0.0.1:PORT``, without a slash at the end."""

    def logs(self) -> str:
        """What it has written to stdout and stderr; only the end when that is long. Also after :meth:`stop`."""

    def follow(self, sink: Callable[[str], object]) -> None:
        """Call ``sink`` with everything written so far and from now on, from a thread, in pieces of any length."""

    def is_running(self) -> bool:
        """Whether its first process is alive."""

    def wait(self, timeout: float | None = None) -> int | None:
        """The exit status (128 + signal when it was killed), or None after ``timeout`` seconds."""

    def stop(self, grace: float = 10) -> None:
        """End it: the image's stop signal, then SIGKILL after ``grace`` seconds. Nothing of it is left. Idempotent."""

    def __enter__(self) -> Container:
        """Itself."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""


class Engine(Protocol):
    """Something that can run an image of the store."""

    @property
    def name(self) -> str:
        """``docker``, ``podman`` or ``sandbox``."""

    def find_obstacle(self) -> str:
        """Why it cannot be used here, for people; empty when it can. Takes seconds at most."""

    def start(
        self,
        store: Store,
        manifest: Descriptor,
        *,
        environment: Mapping[str, str],
        port: int | None = None,
        host: str = LOOPBACK,
        command: Sequence[str] | None = None,
        reporter: Reporter,
    ) -> Container:
        """Start the image ``manifest`` (or the one for this machine in an index).

        ``environment`` is added to the image's own. The container is reached at ``port`` of ``host``, by default a free
        one of the loopback address. ``command`` takes the place of the image's Cmd. This returns once the first process
        runs; whether the model is ready is for :func:`layerforge.prediction.wait_until_ready` to find out.

        Raises:
            EngineError: it cannot be started; the message says what was tried.
            StoreError: the store lacks a part of the image.
        """
