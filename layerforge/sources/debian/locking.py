"""What a Debian image is made of: a release, its base packages, the interpreter's, and those the model wants."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from layerforge.errors import ResolveError
from layerforge.lock import LockedDeb, LockedPython
from layerforge.oci import Platform
from layerforge.progress import SILENCE, Reporter
from layerforge.sources.debian.archive import architecture_of, open_index
from layerforge.sources.debian.control import Package
from layerforge.sources.debian.keeping import keep_versions, read_locked, take_locked
from layerforge.sources.debian.mirrors import Mirrors
from layerforge.sources.debian.resolve import Index, resolve
from layerforge.sources.debian.wishes import Locate, placing_errors, settle_names
from layerforge.store import Store

RELEASES = {"3.11": "bookworm", "3.13": "trixie"}
"""The stable release that ships each Python."""

GLIBC = {"bookworm": 36, "trixie": 41}
"""The minor version of glibc 2 in each release. Source: packages.debian.org, libc6."""

NEWEST = "trixie"
"""The release for an interpreter that Debian does not ship."""

BASE = ("apt", "ca-certificates", "netbase", "tzdata")
"""What the base holds besides the essential packages."""


class LockedDebian(msgspec.Struct, frozen=True):
    """``base``, ``interpreter`` and ``system`` are disjoint, each sorted by name.

    ``python`` is None, and ``interpreter`` empty, when the interpreter comes from elsewhere.
    """

    release: str
    python: LockedPython | None
    base: tuple[LockedDeb, ...]
    interpreter: tuple[LockedDeb, ...]
    system: tuple[LockedDeb, ...] = ()


def choose_release(minor: str) -> str:
    """The Debian release for a Python like ``3.13``.

    Raises:
        ResolveError: no stable release ships it.
    """
    if minor not in RELEASES:
        known = " and ".join(f"{python} (Debian {release})" for python, release in RELEASES.items())
        hint = f'write python_version: "{max(RELEASES, key=_number)}" or another of these in cog.yaml'
        raise ResolveError(f"Python {minor} is not in a Debian release that can be used: there are {known}", hint=hint)
    return RELEASES[minor]


def _number(minor: str) -> tuple[int, ...]:
    return tuple(int(part) for part in minor.split("."))


def upstream_version(version: str) -> str:
    """``3.13.5`` from a Debian version such as ``3.13.5-2+deb13u1``."""
    return version.rpartition(":")[2].partition("-")[0]


def lock_debian(
    minor: str,
    platform: Platform,
    store: Store,
    reporter: Reporter = SILENCE,
    *,
    system: Sequence[str] = (),
    locate: Locate = lambda _: ("system_packages", 0),
    keep: Sequence[LockedDeb] = (),
    mirrors: Mirrors | None = None,
    now: datetime | None = None,
) -> LockedDebian:
    """The Debian packages of an image with Python ``minor`` (``3.13``), as the mirrors have them now.

    An empty ``minor`` is for an image whose interpreter comes from elsewhere: the newest release, without one.
    ``system`` are the names of packages that the model wants besides, ``locate`` tells where each one stands.
    Packages of ``keep``, of the same release, stay at that version where they fit.

    Raises:
        ResolveError: no release ships that Python, or the archive's packages do not fit together.
        ConfigError: names of ``system`` are unknown, and nothing replaces them.
        SourceError: a mirror cannot be reached, or none is configured.
        VerificationError: a signature, digest or date is wrong.
    """
    release = choose_release(minor) if minor else NEWEST
    index = open_index(release, architecture_of(platform), store, reporter, mirrors=mirrors, now=now)
    names = settle_names(index, system, locate, reporter)
    with placing_errors(system, locate):
        kept = tuple(read_locked(keep, index, store, reporter, mirrors))
        found = choose_packages(index, minor, release, names, kept)
    return msgspec.structs.replace(
        found,
        base=take_locked(found.base, keep),
        interpreter=take_locked(found.interpreter, keep),
        system=take_locked(found.system, keep),
    )


def choose_packages(
    index: Index, minor: str, release: str, system: Sequence[str] = (), keep: Sequence[Package] = ()
) -> LockedDebian:
    """The packages of :func:`lock_debian`, from an index; versions of ``keep`` are kept where they fit. Pure.

    Raises:
        ResolveError: as :func:`lock_debian`.
    """
    base = resolve(index, [*(package.name for package in index.essential()), *BASE])
    interpreter = resolve(index, [f"python{minor}"], installed=base) if minor else ()
    extra = resolve(index, system, installed=(*base, *interpreter)) if system else ()
    if keep:
        chosen = keep_versions((*base, *interpreter, *extra), keep)
        by_name = {(each.name, each.architecture): each for each in chosen}
        base, interpreter, extra = (
            tuple(by_name[each.name, each.architecture] for each in part) for part in (base, interpreter, extra)
        )
    python: LockedPython | None = None
    if minor:
        version = next(package.version for package in interpreter if package.name == f"python{minor}")
        reason = f"Debian {release} ships Python {minor}"
        python = LockedPython(minor, upstream_version(version), "debian", "/usr/bin", reason)
    return LockedDebian(release, python, lock_packages(base), lock_packages(interpreter), lock_packages(extra))


def lock_packages(packages: Iterable[Package]) -> tuple[LockedDeb, ...]:
    """``packages`` as a lock records them."""
    return tuple(
        LockedDeb(
            name=package.name,
            version=package.version,
            architecture=package.architecture,
            archive=package.archive,
            path=package.path,
            size=package.size,
            digest=package.digest,
        )
        for package in packages
        if package.digest is not None
    )
