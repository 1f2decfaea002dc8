"""What of a lock still fits what is asked for now, and what must be resolved again. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from layerforge.lock import LockedDeb, LockedWheel, PlatformLock, Wanted
from layerforge.requirements import normalise_name

_KEYS = {"python": "build.python_version", "provider": "layerforge.python", "base": "layerforge.base"}
_SHAPES = {"max_layers": "layerforge.max_layers"}
_LISTS = {"system": "build.system_packages", "packages": "Python requirements", "runtime": "the runtime's requirements"}


class Touched(msgspec.Struct, frozen=True):
    """The parts of a lock that a change touches; ``foundation`` (release, interpreter, base) includes the others.

    ``layers`` is about which package is in which of them.
    """

    foundation: bool
    system: bool
    packages: bool
    runtime: bool
    layers: bool = False

    @property
    def anything(self) -> bool:
        """Whether the lock is stale."""
        return self.foundation or self.system or self.packages or self.runtime or self.layers


EVERYTHING = Touched(True, True, True, True, True)


def find_touched(old: Wanted, new: Wanted) -> Touched:
    """What must be resolved again when ``new`` is wanted in place of ``old``."""
    foundation = any(getattr(old, name) != getattr(new, name) for name in (*_KEYS, "revision"))
    return Touched(
        foundation, *(foundation or getattr(old, name) != getattr(new, name) for name in (*_LISTS, *_SHAPES))
    )


def list_differences(old: Wanted, new: Wanted) -> Iterator[str]:
    """What is different, a line each: ``+`` for what was added since the lock was made, ``-`` for what was removed."""
    for name, key in (_KEYS | _SHAPES).items():
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            yield f"{key}: {before or '(none)'} → {after or '(none)'}"
    for name, key in _LISTS.items():
        before, after = getattr(old, name), getattr(new, name)
        if set(before) != set(after):
            yield from (f"{key}: - {text}" for text in before if text not in after)
            yield from (f"{key}: + {text}" for text in after if text not in before)
        elif before != after:
            yield f"{key}: in another order"
    if old.revision != new.revision:
        yield f"resolved by the rules of another Layerforge (revision {old.revision}, now {new.revision})"


class Upgrade(msgspec.Struct, frozen=True):
    """What may move to a newer version though the lock has it: ``everything``, or the packages called ``names``.

    A Python package may be named in any spelling.
    """

    everything: bool = False
    names: frozenset[str] = frozenset()

    @property
    def anything(self) -> bool:
        """Whether anything may."""
        return self.everything or bool(self.names)

    def includes(self, item: LockedDeb | LockedWheel) -> bool:
        """Whether ``item`` is one of the packages called ``names``."""
        return any(item.name in (name, normalise_name(name)) for name in self.names)


NO_UPGRADE = Upgrade()


class Kept(msgspec.Struct, frozen=True):
    """What one platform's section takes over from earlier ones.

    ``section`` is its own earlier one, if release, interpreter and base stay; then ``debs``, ``packages``,
    ``runtime`` and ``layers`` tell which of its parts stay as they are. ``likely`` has the versions to prefer where
    something is resolved: the platform's own, or those of another platform.
    """

    section: PlatformLock | None = None
    debs: bool = False
    packages: bool = False
    runtime: bool = False
    layers: bool = False
    likely: PlatformLock | None = None
    upgrade: Upgrade = NO_UPGRADE

    @property
    def preferred(self) -> PlatformLock | None:
        """The section whose versions are preferred, if any are."""
        return None if self.upgrade.everything else self.likely

    @property
    def bins(self) -> tuple[LockedWheel, ...]:
        """The wheels whose places in layers are kept, whatever becomes of their versions."""
        return self.likely.packages if self.likely is not None else ()

    def preferred_wheels(self, *, runtime: bool = False) -> tuple[LockedWheel, ...]:
        """The wheels to prefer, of the model or of the runtime."""
        if self.preferred is None:
            return ()
        wheels = self.preferred.runtime if runtime else self.preferred.packages
        return tuple(wheel for wheel in wheels if not self.upgrade.includes(wheel))

    def preferred_debs(self, release: str) -> tuple[LockedDeb, ...]:
        """The Debian packages of ``release`` to prefer: of this platform only."""
        if self.section is None or self.section.release != release:
            return ()
        return tuple(deb for deb in self.section.debs if not self.upgrade.includes(deb))


def choose_kept(
    old: PlatformLock | None, likely: PlatformLock | None, touched: Touched, upgrade: Upgrade = NO_UPGRADE
) -> Kept:
    """What is kept of ``old``, the platform's own section, where ``touched`` and ``upgrade`` tell what is not."""
    likely = old or likely
    if old is None or touched.foundation or upgrade.everything:
        return Kept(likely=likely, upgrade=upgrade)

    def stays(is_touched: bool, items: tuple[LockedDeb, ...] | tuple[LockedWheel, ...]) -> bool:
        return not is_touched and not any(map(upgrade.includes, items))

    return Kept(
        section=old,
        debs=stays(touched.system, old.debs),
        packages=stays(touched.packages, old.packages),
        runtime=stays(touched.runtime, old.runtime),
        layers=not touched.layers,
        likely=likely,
        upgrade=upgrade,
    )
