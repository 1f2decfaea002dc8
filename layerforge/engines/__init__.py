"""Running a built image: Docker, Podman, or the sandbox that needs neither.

An Engine starts a Container from an image of the store; :func:`choose_engine` finds one that works here. A Container
is reached over HTTP on this machine and is gone, with everything it wrote, once it is stopped.
"""

from __future__ import annotations

from layerforge.engines.choose import choose_engine
from layerforge.engines.protocol import Container, Engine

__all__ = ["Container", "Engine", "choose_engine"]
