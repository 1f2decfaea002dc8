"""From a Request for an image upon a base of a registry to the lock of one platform.

The base's configuration is read first. Its layers are read only where that does not say enough: which release it is,
and so which C library its wheels must fit, which Python it has, and what is installed where packages are to be added.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import msgspec

from layerforge.base_image import BaseImage, list_notices
from layerforge.bins import assign_bins
from layerforge.errors import ResolveError
from layerforge.lock import LockedBase, LockedDeb, LockedPython, LockedWheel, PlatformLock
from layerforge.oci import Platform
from layerforge.plan import parse_platform
from layerforge.progress import Reporter
from layerforge.request import Request
from layerforge.sources.base.facts import BaseFacts, describe_base, guess_facts
from layerforge.sources.base.fetch import lock_base
from layerforge.sources.base.packages import lock_upon
from layerforge.sources.base.python import find_base_python
from layerforge.sources.base.root import BaseRoot
from layerforge.sources.base.scan import scan_base
from layerforge.sources.index import lock_packages
from layerforge.sources.pythons.choice import Answer, Obstacle, Provider, choose_python
from layerforge.sources.pythons.standalone import find_standalone, likely_python
from layerforge.store import Store


class Foundation(msgspec.Struct):
    """A base that is being looked at. ``root`` is None as long as no layer had to be read."""

    locked: LockedBase
    image: BaseImage
    facts: BaseFacts
    root: BaseRoot | None = None


def resolve_upon(
    request: Request, name: str, likely: PlatformLock | None, store: Store, reporter: Reporter
) -> PlatformLock:
    """The lock of the platform ``name`` for ``request``, whose ``base`` is the reference of an image.

    Raises:
        ResolveError: the base cannot carry what is asked for.
        RegistryError: it cannot be had.
        ImageError: it cannot be a base.
    """
    platform = parse_platform(name)
    foundation = _look_at(request, platform, store, reporter)
    facts = foundation.facts
    if not facts.glibc:
        library = "musl" if facts.musl else "no C library"
        hint = "the wheels of the index are made for glibc: choose a base on Debian or Ubuntu, such as python:3.12-slim"
        raise ResolveError(f"{request.base} ({facts.name}) has {library}", where=request.path, hint=hint)
    python = _choose_python(request, facts, name, likely, store, reporter)
    old_packages, old_runtime = (likely.packages, likely.runtime) if likely else ((), ())

    def lock_wheels(runtime: bool) -> tuple[LockedWheel, ...]:
        wanted, old = (request.runtime, old_runtime) if runtime else (request.packages, old_packages)
        task = "resolve the runtime" if runtime else "resolve packages"
        return lock_packages(wanted, python.version, platform, facts.glibc, old, reporter, task=task)

    with ThreadPoolExecutor(3) as pool:
        packages, runtime = pool.submit(lock_wheels, False), pool.submit(lock_wheels, True)
        system = pool.submit(_lock_system, request, platform, foundation, store, reporter)
        return PlatformLock(
            platform=name,
            release=facts.release,
            python=python,
            base=(),
            interpreter=(),
            system=system.result(),
            packages=assign_bins(packages.result(), old_packages),
            runtime=runtime.result(),
            image=foundation.locked,
        )


def _look_at(request: Request, platform: Platform, store: Store, reporter: Reporter) -> Foundation:
    locked, image = lock_base(request.base, platform, store, reporter)
    for notice, hint in list_notices(image):
        reporter.warn(notice, hint) if hint else reporter.note(notice)
    facts = None if request.system else guess_facts(image)
    if facts is not None and isinstance(find_base_python(request.python, facts), LockedPython):
        return Foundation(locked, image, facts)
    root = scan_base(image, store, reporter)
    return Foundation(locked, image, describe_base(root, image), root)


def _choose_python(
    request: Request, facts: BaseFacts, name: str, likely: PlatformLock | None, store: Store, reporter: Reporter
) -> LockedPython:
    platform, old = parse_platform(name), likely_python(likely, name)

    def find_in_base() -> Answer:
        found = find_base_python(request.python, facts)
        what = f"{request.base} has no Python {request.python}"
        return found if isinstance(found, LockedPython) else Obstacle(f"{what}: {found}")

    providers: dict[str, Provider] = {
        "base": find_in_base,
        "debian": lambda: Obstacle("Debian's own Python comes with `base: debian` only"),
        "standalone": lambda: find_standalone(request.python, platform, old, store, reporter),
    }
    return choose_python(request.python, request.provider, providers, request.path)


def _lock_system(
    request: Request, platform: Platform, foundation: Foundation, store: Store, reporter: Reporter
) -> tuple[LockedDeb, ...]:
    if not request.system:
        return ()
    assert foundation.root is not None, "the layers are read where packages are to be added"
    names, locate = request.system_names, request.locate
    return lock_upon(names, foundation.facts, foundation.root, platform, store, reporter, locate=locate)
