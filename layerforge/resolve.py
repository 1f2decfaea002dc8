"""From a Request to a Lock: asks the Debian archive and the package index what is to be had, once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from layerforge.bins import assign_bins
from layerforge.lock import Lock, PlatformLock
from layerforge.plan import parse_platform
from layerforge.progress import Reporter
from layerforge.request import Request
from layerforge.sources.debian import choose_release, lock_debian
from layerforge.sources.index import lock_packages
from layerforge.store import Store


def resolve(request: Request, previous: Lock | None, store: Store, reporter: Reporter) -> Lock:
    """Resolve everything; what ``previous`` chose is kept where it still fits.

    Raises:
        ResolveError: nothing satisfies the request.
        SourceError: a mirror or an index cannot be reached.
    """
    before = {platform.platform: platform for platform in previous.platforms} if previous else {}
    platforms = tuple(_resolve_platform(request, name, before.get(name), store, reporter) for name in request.platforms)
    return Lock(request.digest, platforms)


def _resolve_platform(
    request: Request, name: str, previous: PlatformLock | None, store: Store, reporter: Reporter
) -> PlatformLock:
    platform = parse_platform(name)
    release = choose_release(request.minor)
    old_packages = previous.packages if previous else ()
    old_runtime = previous.runtime if previous else ()
    with ThreadPoolExecutor(3) as pool:
        debian = pool.submit(lock_debian, request.minor, platform, store, reporter)
        packages = pool.submit(
            lock_packages, request.packages, request.minor, platform, release, old_packages, reporter
        )
        runtime = pool.submit(
            lock_packages,
            request.runtime,
            request.minor,
            platform,
            release,
            old_runtime,
            reporter,
            task="resolve the runtime",
        )
        locked = debian.result()
        return PlatformLock(
            platform=name,
            release=locked.release,
            python=locked.python,
            base=locked.base,
            interpreter=locked.interpreter,
            packages=assign_bins(packages.result(), old_packages),
            runtime=runtime.result(),
        )
