"""From a Request to a Lock: asks the Debian archive and the package index what is to be had, once."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from layerforge.bins import assign_bins
from layerforge.lock import Lock, LockedPython, LockedWheel, PlatformLock
from layerforge.plan import parse_platform
from layerforge.progress import Reporter
from layerforge.request import Request
from layerforge.resolve_upon import resolve_upon
from layerforge.sources.debian import GLIBC, NEWEST, choose_release, lock_debian
from layerforge.sources.index import lock_packages
from layerforge.sources.pythons.choice import Provider, choose_python
from layerforge.sources.pythons.debian import find_debian
from layerforge.sources.pythons.standalone import find_standalone, likely_python
from layerforge.store import Store


def resolve(request: Request, others: Sequence[str], previous: Lock | None, store: Store, reporter: Reporter) -> Lock:
    """Resolve everything for the request's platforms and those of ``others``.

    What ``previous`` chose is kept where it still fits.

    A section of ``previous`` that was made for the same request is taken over whole. A platform that is new gets the
    versions that the first one has, where it can.

    Raises:
        ResolveError: nothing satisfies the request.
        SourceError: a mirror or an index cannot be reached.
    """
    before = {platform.platform: platform for platform in previous.platforms} if previous else {}
    fits = previous is not None and previous.inputs == request.digest
    platforms: list[PlatformLock] = []
    for name in (*request.platforms, *others):
        if fits and name in before:
            platforms.append(before[name])
        else:
            likely = before.get(name) or (platforms[0] if platforms else None)
            platforms.append(_resolve_platform(request, name, likely, store, reporter))
    return Lock(request.digest, tuple(platforms))


def _resolve_platform(
    request: Request, name: str, likely: PlatformLock | None, store: Store, reporter: Reporter
) -> PlatformLock:
    if request.base:
        return resolve_upon(request, name, likely, store, reporter)
    platform = parse_platform(name)
    python = _choose_python(request, name, likely, store, reporter)
    minor = python.minor if python.provider == "debian" else ""
    glibc = GLIBC[choose_release(minor) if minor else NEWEST]
    old_packages = likely.packages if likely else ()
    old_runtime = likely.runtime if likely else ()

    def lock_runtime() -> tuple[LockedWheel, ...]:
        task = "resolve the runtime"
        return lock_packages(request.runtime, python.version, platform, glibc, old_runtime, reporter, task=task)

    def lock_requirements() -> tuple[LockedWheel, ...]:
        return lock_packages(request.packages, python.version, platform, glibc, old_packages, reporter)

    with ThreadPoolExecutor(3) as pool:
        debian = pool.submit(
            lock_debian, minor, platform, store, reporter, system=request.system_names, locate=request.locate
        )
        packages, runtime = pool.submit(lock_requirements), pool.submit(lock_runtime)
        locked = debian.result()
        if locked.python is not None:
            python = msgspec.structs.replace(python, version=locked.python.version)
        return PlatformLock(
            platform=name,
            release=locked.release,
            python=python,
            base=locked.base,
            interpreter=locked.interpreter,
            system=locked.system,
            packages=assign_bins(packages.result(), old_packages),
            runtime=runtime.result(),
        )


def _choose_python(
    request: Request, name: str, likely: PlatformLock | None, store: Store, reporter: Reporter
) -> LockedPython:
    """The interpreter; of Debian's the version is not exact yet, unless it was asked for exactly."""
    platform, old = parse_platform(name), likely_python(likely, name)
    providers: dict[str, Provider] = {
        "debian": lambda: find_debian(request.python, platform, store, reporter),
        "standalone": lambda: find_standalone(request.python, platform, old, store, reporter),
    }
    return choose_python(request.python, request.provider, providers, request.path)
