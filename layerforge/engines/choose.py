"""Which engine to use."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from layerforge.engines.docker import Docker
from layerforge.engines.podman import Podman
from layerforge.engines.protocol import LOOPBACK, Container, Engine
from layerforge.engines.sandbox import Sandbox
from layerforge.errors import EngineError
from layerforge.oci import Descriptor
from layerforge.progress import Reporter
from layerforge.store import Store

ENGINES: tuple[type[Docker] | type[Podman] | type[Sandbox], ...] = (Docker, Podman, Sandbox)
"""In the order in which they are tried."""

_HINT = "install Docker or Podman, or run this as root"


def choose_engine(name: str | None = None) -> Engine:
    """The engine called ``name``, or named by ``LAYERFORGE_ENGINE``, or the first that works here.

    Where nobody has named one, and the first cannot start the image after all (a Podman without the rights it needs
    answers questions well enough), the next one gets its turn.

    Raises:
        EngineError: there is no such engine, or it does not work here, or none does; the message has each one's reason.
    """
    wanted = name or os.environ.get("LAYERFORGE_ENGINE", "")
    known = {engine.name: engine for engine in ENGINES}
    if not wanted:
        return choose_first([engine() for engine in ENGINES])
    if wanted not in known:
        raise EngineError(f"there is no engine {wanted!r}", hint=f"the engines are: {', '.join(known)}")
    engine = known[wanted]()
    reason = engine.find_obstacle()
    if reason:
        raise EngineError(f"{wanted} cannot be used: {reason}", hint="leave --engine out to take what works")
    return engine


def choose_first(engines: Sequence[Engine]) -> Engine:
    """The first of ``engines`` that works here, with those behind it to fall back on.

    Raises:
        EngineError: none works.
    """
    reasons = []
    for number, engine in enumerate(engines):
        reason = engine.find_obstacle()
        if not reason:
            return _WithFallback(engine, engines[number + 1 :])
        reasons.append(f"{engine.name}: {reason}")
    raise EngineError("\n  ".join(("there is nothing here to run an image with", *reasons)), hint=_HINT)


class _WithFallback:
    """An engine, and what to do when it does not keep its promise."""

    def __init__(self, first: Engine, others: Sequence[Engine]) -> None:
        self._first = first
        self._others = others

    @property
    def name(self) -> str:
        return self._first.name

    def find_obstacle(self) -> str:
        return self._first.find_obstacle()

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
        engine = self._first
        others = iter(self._others)
        while True:
            try:
                return engine.start(
                    store, manifest, environment=environment, port=port, host=host, command=command, reporter=reporter
                )
            except EngineError as error:
                following = next((other for other in others if not other.find_obstacle()), None)
                if following is None:
                    raise
                reporter.warn(error.message, hint=f"trying {following.name} instead")
                engine = following
