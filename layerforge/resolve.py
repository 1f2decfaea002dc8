"""From a Request to a Lock: asks the Debian archive and the package index what is to be had, once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from layerforge.bins import assign_bins
from layerforge.budget import packages_share, total_budget
from layerforge.from_source.opening import open_builder
from layerforge.lock import Lock, LockedPython, PlatformLock
from layerforge.plan import parse_platform
from layerforge.platforms import host_platform
from layerforge.progress import Reporter
from layerforge.request import Request
from layerforge.requirements import Requirements
from layerforge.resolve_upon import resolve_upon
from layerforge.resolve_wheels import lock_wheels
from layerforge.sources.addresses import publish_wheels
from layerforge.sources.debian import GLIBC, NEWEST, LockedDebian, choose_release, lock_debian
from layerforge.sources.pythons.choice import Provider, choose_python
from layerforge.sources.pythons.debian import find_debian
from layerforge.sources.pythons.standalone import find_standalone, likely_python
from layerforge.sources.tags import Target
from layerforge.staleness import EVERYTHING, NO_UPGRADE, Kept, Upgrade, choose_kept, find_touched
from layerforge.store import Store


def resolve(
    request: Request,
    others: Sequence[str],
    previous: Lock | None,
    store: Store,
    reporter: Reporter,
    upgrade: Upgrade = NO_UPGRADE,
) -> Lock:
    """Resolve everything for the request's platforms and those of ``others``.

    Of ``previous`` only what the request touches is resolved again, or what ``upgrade`` names; there, too, a version is
    kept where it still fits. A platform that is new gets the versions that another one has, where it can.

    Raises:
        ResolveError: nothing satisfies the request.
        SourceError: a mirror or an index cannot be reached.
    """
    before = {platform.platform: platform for platform in previous.platforms} if previous else {}
    touched = find_touched(previous.wanted, request.wanted) if previous else EVERYTHING
    platforms: list[PlatformLock] = []

    def describe_here() -> PlatformLock:
        """This machine's platform, without packages: where something is built for another one."""
        here = str(host_platform())
        done = next((section for section in platforms if section.platform == here), None)
        bare = msgspec.structs.replace(request, packages=Requirements(), runtime=Requirements())
        kept = choose_kept(before.get(here), None, EVERYTHING, NO_UPGRADE)
        return done or _resolve_platform(bare, here, kept, store, reporter, describe_here)

    for name in sorted({*request.platforms, *others}):
        likely = platforms[0] if platforms else next(iter(before.values()), None)
        kept = choose_kept(before.get(name), likely, touched, upgrade)
        section = _resolve_platform(request, name, kept, store, reporter, describe_here)
        platforms.append(_publish(section, request, kept, store, reporter))
    return Lock(request.wanted, tuple(platforms))


def _publish(section: PlatformLock, request: Request, kept: Kept, store: Store, reporter: Reporter) -> PlatformLock:
    """``section`` with addresses of wheels that serve on other machines, too."""
    old = kept.likely
    if section is kept.section:
        return section
    packages = publish_wheels(section.packages, request.packages, old.packages if old else (), store, reporter)
    runtime = publish_wheels(section.runtime, request.runtime, old.runtime if old else (), store, reporter)
    return msgspec.structs.replace(section, packages=packages, runtime=runtime)


def _resolve_platform(
    request: Request,
    name: str,
    kept: Kept,
    store: Store,
    reporter: Reporter,
    describe_here: Callable[[], PlatformLock],
) -> PlatformLock:
    section = kept.section
    if section is not None and kept.debs and kept.packages and kept.runtime and kept.layers:
        return section
    if request.base:
        return resolve_upon(request, name, kept, store, reporter, describe_here)
    platform = parse_platform(name)
    python = section.python if section is not None else _choose_python(request, name, kept, store, reporter)
    minor = python.minor if python.provider == "debian" else ""
    budget = packages_share(total_budget(request.max_layers))
    release = choose_release(minor) if minor else NEWEST

    def lock_system() -> LockedDebian:
        if section is not None and kept.debs:
            return LockedDebian(section.release, None, section.base, section.interpreter, section.system)
        keep = kept.preferred_debs(release)
        system, locate = request.system_names, request.locate
        return lock_debian(minor, platform, store, reporter, system=system, locate=locate, keep=keep)

    def describe() -> PlatformLock:
        """All but the packages, as soon as the archive has answered."""
        locked = debian.result()
        known = python if locked.python is None else msgspec.structs.replace(python, version=locked.python.version)
        return PlatformLock(name, locked.release, known, locked.base, locked.interpreter, locked.system, (), ())

    target = Target(python.version, platform, GLIBC[release])
    builder = open_builder(request, target, store, reporter, describe, describe_here)
    with ThreadPoolExecutor(3) as pool:
        debian = pool.submit(lock_system)
        packages = pool.submit(lock_wheels, request, kept, target, reporter, builder=builder)
        runtime = pool.submit(lock_wheels, request, kept, target, reporter)
        return msgspec.structs.replace(
            describe(),
            packages=assign_bins(packages.result(), kept.bins, budget=budget),
            runtime=runtime.result(),
        )


def _choose_python(request: Request, name: str, kept: Kept, store: Store, reporter: Reporter) -> LockedPython:
    """The interpreter; of Debian's the version is not exact yet, unless it was asked for exactly."""
    platform, old = parse_platform(name), likely_python(kept.preferred, name)
    providers: dict[str, Provider] = {
        "debian": lambda: find_debian(request.python, platform, store, reporter),
        "standalone": lambda: find_standalone(request.python, platform, old, store, reporter),
    }
    return choose_python(request.python, request.provider, providers, request.path)
