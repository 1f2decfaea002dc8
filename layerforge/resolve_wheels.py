"""The wheels of one platform: those of the lock at hand, or what the package index has."""

from __future__ import annotations

from layerforge.lock import LockedPython, LockedWheel
from layerforge.oci import Platform
from layerforge.progress import Reporter
from layerforge.request import Request
from layerforge.sources.index import lock_packages
from layerforge.sources.tags import Target
from layerforge.staleness import Kept


def lock_wheels(
    request: Request,
    kept: Kept,
    python: LockedPython,
    platform: Platform,
    glibc: int,
    reporter: Reporter,
    *,
    runtime: bool,
) -> tuple[LockedWheel, ...]:
    """The wheels of the model, or those of the runtime; ``glibc`` is the minor version below.

    Raises:
        ResolveError: nothing satisfies what is asked for.
        SourceError: the index cannot be reached, or gave something unusable.
    """
    if kept.section is not None and (kept.runtime if runtime else kept.packages):
        return kept.section.runtime if runtime else kept.section.packages
    wanted = request.runtime if runtime else request.packages
    preferred = kept.preferred_wheels(runtime=runtime)
    task = "resolve the runtime" if runtime else "resolve packages"
    target = Target(python.version, platform, glibc)
    return lock_packages(wanted, target, preferred, reporter, project=request.project, task=task)
