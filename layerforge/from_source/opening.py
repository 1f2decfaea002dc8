"""Builders: one that resolving asks, and one that puts a lock's wheels back where the store lacks them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from layerforge.errors import SourceError
from layerforge.from_source.builder import SourceBuilder
from layerforge.from_source.room import Room
from layerforge.lock import Lock, PlatformLock
from layerforge.plan import parse_platform
from layerforge.platforms import host_platform
from layerforge.progress import Reporter
from layerforge.request import Request
from layerforge.requirements import Requirements
from layerforge.sources.debian import GLIBC
from layerforge.sources.tags import Target
from layerforge.store import Store

_OLD_GLIBC = 31
"""Taken for a release that is not known here: that of the oldest one that is maintained, Ubuntu 20.04."""


def open_builder(
    request: Request,
    target: Target,
    store: Store,
    reporter: Reporter,
    describe: Callable[[], PlatformLock],
    describe_here: Callable[[], PlatformLock],
) -> SourceBuilder:
    """What builds for ``request`` and ``target``.

    ``describe`` gives the target's section of the lock, without packages, ``describe_here`` that of this machine's
    platform; one of them is called when something is to be built.
    """

    def open_room() -> Room:
        section = describe() if str(target.platform) == str(host_platform()) else describe_here()
        return Room(store, section, request.project, reporter, request.build_network)

    return SourceBuilder(target, request.packages, open_room)


def open_restorer(
    store: Store, lock: Lock, section: PlatformLock, project: Path, reporter: Reporter, *, network: bool
) -> SourceBuilder:
    """What builds the wheels of ``section`` of ``lock`` again."""
    python = section.python.version
    target = Target(python, parse_platform(section.platform), GLIBC.get(section.release, _OLD_GLIBC))

    def open_room() -> Room:
        here = next((each for each in lock.platforms if each.platform == str(host_platform())), None)
        if here is None:
            hint = f"carry them here (export-store, import-store), or lock for {host_platform()} too"
            message = "what is built from source cannot be built here"
            raise SourceError(message, where=section.platform, hint=hint)
        return Room(store, here, project, reporter, network)

    return SourceBuilder(target, Requirements(), open_room)
