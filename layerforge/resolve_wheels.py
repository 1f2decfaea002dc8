"""The wheels of one platform: those of the lock at hand, or what the package index has."""

from __future__ import annotations

from layerforge.lock import LockedWheel
from layerforge.progress import Reporter
from layerforge.request import Request
from layerforge.sources.builder import Builder
from layerforge.sources.index import lock_packages
from layerforge.sources.tags import Target
from layerforge.staleness import Kept


def lock_wheels(
    request: Request, kept: Kept, target: Target, reporter: Reporter, *, builder: Builder | None = None
) -> tuple[LockedWheel, ...]:
    """The wheels of the model, with ``builder`` for what has none; without one, those of the runtime.

    Raises:
        ResolveError: nothing satisfies what is asked for.
        SourceError: the index cannot be reached, or gave something unusable.
    """
    runtime = builder is None
    if kept.section is not None and (kept.runtime if runtime else kept.packages):
        return kept.section.runtime if runtime else kept.section.packages
    wanted = request.runtime if runtime else request.packages
    preferred = kept.preferred_wheels(runtime=runtime)
    task = "resolve the runtime" if runtime else "resolve packages"
    return lock_packages(wanted, target, preferred, reporter, project=request.project, builder=builder, task=task)
