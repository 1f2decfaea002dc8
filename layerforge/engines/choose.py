"""Which engine to use."""

from __future__ import annotations

import os

from layerforge.engines.docker import Docker
from layerforge.engines.podman import Podman
from layerforge.engines.protocol import Engine
from layerforge.engines.sandbox import Sandbox
from layerforge.errors import EngineError

ENGINES: tuple[type[Docker] | type[Podman] | type[Sandbox], ...] = (Docker, Podman, Sandbox)
"""In the order in which they are tried."""

_HINT = "install Docker or Podman, or run this as root"


def choose_engine(name: str | None = None) -> Engine:
    """The engine called ``name``, or named by ``LAYERFORGE_ENGINE``, or the first that works here.

    Raises:
        EngineError: there is no such engine, or it does not work here, or none does; the message has each one's reason.
    """
    wanted = name or os.environ.get("LAYERFORGE_ENGINE", "")
    known = {engine.name: engine for engine in ENGINES}
    if wanted and wanted not in known:
        raise EngineError(f"there is no engine {wanted!r}", hint=f"the engines are: {', '.join(known)}")
    reasons = []
    for kind in [known[wanted]] if wanted else ENGINES:
        engine = kind()
        reason = engine.find_obstacle()
        if not reason:
            return engine
        reasons.append(f"{kind.name}: {reason}")
    what = f"{wanted} cannot be used" if wanted else "there is nothing here to run an image with"
    raise EngineError("\n  ".join((what, *reasons)), hint=_HINT)
