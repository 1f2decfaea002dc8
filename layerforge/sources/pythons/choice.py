"""Which provider the image's Python comes from, and the sentence that says why. Pure.

Three have it: Debian's release, a standalone build, a base image. Each is asked in turn and answers with an
interpreter or with the Obstacle in its way; nobody is asked once the choice is made, for asking may take a network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from layerforge.errors import ResolveError
from layerforge.lock import LockedPython

PROVIDERS = ("base", "debian", "standalone")
"""In the order of preference: what is there anyway, what gets its updates with the rest, what is one download more."""

_NO_BASE = "there is no base image that could have it"


class Obstacle(msgspec.Struct, frozen=True):
    """Why a provider cannot give the interpreter, as a sentence without a full stop: ``bookworm has Python 3.11.2``."""

    text: str


Answer = LockedPython | Obstacle
Provider = Callable[[], Answer]


def choose_python(wanted: str, forced: str, providers: Mapping[str, Provider], where: str = "") -> LockedPython:
    """The interpreter of the first of PROVIDERS that has Python ``wanted`` (``3.12`` or ``3.12.4``).

    ``forced`` is the only one to be asked; empty for any. One that is not in ``providers`` is not there; ``where``
    is for the error.

    Raises:
        ResolveError: nobody has it; with each one's obstacle, and the ways around them.
    """
    obstacles: dict[str, Obstacle] = {}
    for name in (forced,) if forced else PROVIDERS:
        if name not in providers:
            obstacles[name] = Obstacle(_NO_BASE)
            continue
        answer = providers[name]()
        if isinstance(answer, LockedPython):
            known = "; ".join(obstacle.text for other, obstacle in obstacles.items() if other in providers)
            why = "layerforge.python asks for it" if forced else known
            return msgspec.structs.replace(answer, reason=f"{answer.reason}: {why}" if why else answer.reason)
        obstacles[name] = answer
    raise _refuse(wanted, forced, obstacles, where)


def _refuse(wanted: str, forced: str, obstacles: Mapping[str, Obstacle], where: str) -> ResolveError:
    minor = ".".join(wanted.split(".")[:2])
    lines = [f"Python {wanted} cannot be had"]
    lines += [f"  {obstacle.text}" for obstacle in obstacles.values()]
    if forced:
        lines.append(f"  no other way was tried: layerforge.python is {forced}")
    hint = (
        'write python_version: "3.11" or "3.13" for Debian\'s own; or make the standalone build\'s archive reachable, '
        "or set LAYERFORGE_PYTHON_MIRROR to a mirror of it; or choose a base image that has this Python, such as "
        f"`layerforge: {{base: python:{minor}-slim}}`"
    )
    return ResolveError("\n".join(lines), where=where, hint=hint)
