"""Debian's own interpreter: which release ships the Python that a model wants."""

from __future__ import annotations

from layerforge.errors import LayerforgeError
from layerforge.lock import LockedPython
from layerforge.oci import Platform
from layerforge.progress import Reporter
from layerforge.sources.debian.archive import architecture_of, open_index
from layerforge.sources.debian.locking import RELEASES, upstream_version
from layerforge.sources.debian.mirrors import Mirrors
from layerforge.sources.pythons.choice import Answer, Obstacle
from layerforge.store import Store


def find_debian(
    wanted: str, platform: Platform, store: Store, reporter: Reporter, *, mirrors: Mirrors | None = None
) -> Answer:
    """Debian's interpreter of Python ``wanted`` (``3.13`` or ``3.13.5``), or why there is none.

    The archive is asked only when a patch version is wanted; else the ``version`` of the answer is ``wanted``.
    """
    minor = ".".join(wanted.split(".")[:2])
    release = RELEASES.get(minor)
    if release is None:
        return Obstacle(f"Debian ships {' and '.join(f'{known} ({name})' for known, name in RELEASES.items())}")
    reason = f"Debian {release} ships Python {wanted}"
    found = LockedPython(minor=minor, version=wanted, provider="debian", home="/usr/bin", reason=reason)
    if wanted == minor:
        return found
    try:
        index = open_index(release, architecture_of(platform), store, reporter, mirrors=mirrors)
        package = index.candidate(f"python{minor}")
    except LayerforgeError as error:
        return Obstacle(f"Debian cannot be asked: {error}")
    version = upstream_version(package.version) if package is not None else "none"
    return found if version == wanted else Obstacle(f"Debian {release} has Python {version}")
