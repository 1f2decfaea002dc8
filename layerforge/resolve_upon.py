"""From a Request for an image upon a base of a registry to the lock of one platform.

The base's configuration is read first. Its layers are read only where that does not say enough: which release it is,
and so which C library its wheels must fit, which Python it has, and what is installed where packages are to be added.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import msgspec

from layerforge.base_image import BaseImage, list_notices
from layerforge.bins import assign_bins
from layerforge.budget import packages_share, total_budget
from layerforge.errors import LayerforgeError, ResolveError
from layerforge.from_source.opening import open_builder
from layerforge.lock import LockedBase, LockedDeb, LockedPython, PlatformLock
from layerforge.oci import Platform
from layerforge.plan import parse_platform
from layerforge.progress import Reporter
from layerforge.request import Request
from layerforge.resolve_wheels import lock_wheels
from layerforge.sources.base.facts import BaseFacts, describe_base, guess_facts
from layerforge.sources.base.fetch import load_base, lock_base
from layerforge.sources.base.packages import check_dpkg, lock_upon, open_release
from layerforge.sources.base.python import describe_added_python, find_base_python
from layerforge.sources.base.root import BaseRoot
from layerforge.sources.base.scan import scan_base
from layerforge.sources.pythons.choice import Answer, Obstacle, Provider, choose_python
from layerforge.sources.pythons.standalone import find_standalone, likely_python
from layerforge.sources.tags import Target
from layerforge.staleness import Kept
from layerforge.store import Store


class Foundation(msgspec.Struct):
    """A base that is being looked at for ``platform``. ``root`` is None as long as no layer had to be read."""

    platform: Platform
    locked: LockedBase
    image: BaseImage
    facts: BaseFacts
    root: BaseRoot | None = None

    def read_root(self, store: Store, reporter: Reporter) -> BaseRoot:
        """What the base holds; its layers are read now, if they were not yet."""
        if self.root is None:
            self.root = scan_base(self.image, store, reporter)
            self.facts = describe_base(self.root, self.image)
        return self.root


def resolve_upon(
    request: Request,
    name: str,
    kept: Kept,
    store: Store,
    reporter: Reporter,
    describe_here: Callable[[], PlatformLock],
) -> PlatformLock:
    """The lock of the platform ``name`` for ``request``, whose ``base`` is the reference of an image.

    ``describe_here`` gives the section of this machine's platform, for building what ``name`` has no wheel of.
    What is ``kept`` stays; so does the base's manifest where the platform's section does.

    Raises:
        ResolveError: the base cannot carry what is asked for.
        RegistryError: it cannot be had.
        ImageError: it cannot be a base.
    """
    platform = parse_platform(name)
    foundation = _look_at(request, platform, kept, store, reporter)
    facts = foundation.facts
    if not facts.glibc:
        library = "musl" if facts.musl else "no C library"
        hint = "the wheels of the index are made for glibc: choose a base on Debian or Ubuntu, such as python:3.12-slim"
        raise ResolveError(f"{request.base} ({facts.name}) has {library}", where=request.path, hint=hint)
    budget = packages_share(total_budget(request.max_layers, len(foundation.image.layers)))
    section = kept.section
    python = section.python if section else _choose_python(request, foundation, name, kept, store, reporter)

    def lock_system() -> tuple[tuple[LockedDeb, ...], tuple[LockedDeb, ...]]:
        if section is not None and kept.debs:
            return section.interpreter, section.system
        return _lock_debs(request, python, foundation, kept, store, reporter)

    def describe() -> PlatformLock:
        """All but the packages, as soon as the release's archive has answered."""
        interpreter, system = debs.result()
        return PlatformLock(
            platform=name,
            release=facts.release,
            python=python,
            base=(),
            interpreter=interpreter,
            system=system,
            packages=(),
            runtime=(),
            image=foundation.locked,
        )

    target = Target(python.version, platform, facts.glibc)
    builder = open_builder(request, target, store, reporter, describe, describe_here)
    with ThreadPoolExecutor(3) as pool:
        debs = pool.submit(lock_system)
        packages = pool.submit(lock_wheels, request, kept, target, reporter, builder=builder)
        runtime = pool.submit(lock_wheels, request, kept, target, reporter)
        return msgspec.structs.replace(
            describe(),
            packages=assign_bins(packages.result(), kept.bins, budget=budget),
            runtime=runtime.result(),
        )


def _look_at(request: Request, platform: Platform, kept: Kept, store: Store, reporter: Reporter) -> Foundation:
    if kept.section is not None and kept.section.image is not None:
        locked = kept.section.image
        image = load_base(locked, platform, store, reporter)
    else:
        locked, image = lock_base(request.base, platform, store, reporter)
        for notice, hint in list_notices(image):
            reporter.warn(notice, hint) if hint else reporter.note(notice)
    facts = None if request.system and not kept.debs else guess_facts(image)
    if facts is not None and (kept.debs or isinstance(find_base_python(request.python, facts), LockedPython)):
        return Foundation(platform, locked, image, facts)
    root = scan_base(image, store, reporter)
    return Foundation(platform, locked, image, describe_base(root, image), root)


def _choose_python(
    request: Request, base: Foundation, name: str, kept: Kept, store: Store, reporter: Reporter
) -> LockedPython:
    old = likely_python(kept.preferred, name)

    def find_in_base() -> Answer:
        found = find_base_python(request.python, base.facts)
        what = f"{request.base} has no Python {request.python}"
        return found if isinstance(found, LockedPython) else Obstacle(f"{what}: {found}")

    def find_in_release() -> Answer:
        try:
            root = base.read_root(store, reporter)
            check_dpkg(base.facts)
            index = open_release(base.facts, root, base.platform, store, reporter)
        except LayerforgeError as error:
            return Obstacle(error.message)
        found = describe_added_python(request.python, index.candidate(f"python{request.minor}"), base.facts)
        return found if isinstance(found, LockedPython) else Obstacle(found)

    providers: dict[str, Provider] = {
        "base": find_in_base,
        "debian": find_in_release,
        "standalone": lambda: find_standalone(request.python, base.platform, old, store, reporter),
    }
    return choose_python(request.python, request.provider, providers, request.path)


def _lock_debs(
    request: Request, python: LockedPython, base: Foundation, kept: Kept, store: Store, reporter: Reporter
) -> tuple[tuple[LockedDeb, ...], tuple[LockedDeb, ...]]:
    """What is added for the interpreter, and for ``system_packages``."""
    names = request.system_names
    interpreter = f"python{python.minor}" if python.provider == "debian" else ""
    if not names and not interpreter:
        return (), ()
    root = base.read_root(store, reporter)
    return lock_upon(
        names,
        base.facts,
        root,
        base.platform,
        store,
        reporter,
        locate=request.locate,
        interpreter=interpreter,
        keep=kept.preferred_debs(base.facts.release),
    )
