"""Which package is in which layer: pure, and as still as possible from one lock to the next.

A large wheel has a layer of its own; the small ones share :data:`BINS` bins. Changing one small package then makes
one bin anew and leaves all others as they are, in every registry that has them. See docs/layers.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import msgspec

from layerforge.budget import DEFAULT, packages_share
from layerforge.lock import LockedWheel

LARGE = 2 << 20
"""Bytes (as downloaded) from which a wheel has its own layer.

Only a layer of one wheel is the same in two models that have different sets of packages. docs/layers.md tells what
was measured with 1 to 8 MiB.
"""

BINS = 8
"""The number of bins for small wheels, where the budget allows."""

BUDGET = packages_share(DEFAULT)
"""The most layers that packages may have, unless cog.yaml says otherwise."""

_HOLD = 4
"""A wheel must be so many times as large as another to take its layer when there are not enough for both."""


def assign_bins(
    wheels: Iterable[LockedWheel], previous: Iterable[LockedWheel] = (), *, budget: int = BUDGET
) -> tuple[LockedWheel, ...]:
    """``wheels``, sorted by name, with ``bin`` set: the package's own name, or ``bin.0`` to ``bin.7``.

    No package can be called like the latter. A wheel that ``previous`` has stays where it was. A package whose wheel
    has changed does so too, unless the new one is beyond twice :data:`LARGE`, or below half of it: the layer that it
    leaves has to be made anew anyway. ``budget`` is the most layers that may come out; where it is too small for all
    large wheels, the smallest of them share bins, and one that has a layer is counted as :data:`_HOLD` times its size.
    """
    before = {wheel.name: wheel for wheel in previous if wheel.bin}
    ordered = sorted(wheels, key=lambda wheel: wheel.name)
    names = bin_names(budget)
    alone = [wheel for wheel in ordered if _is_alone(wheel, before.get(wheel.name), names)]
    alone.sort(key=lambda wheel: (-_weigh(wheel, before.get(wheel.name)), wheel.name))
    own = {wheel.name for wheel in alone[: max(0, budget - len(names))]}
    return tuple(msgspec.structs.replace(wheel, bin=_bin(wheel.name, own, before, names)) for wheel in ordered)


def group_bins(wheels: Iterable[LockedWheel]) -> dict[str, tuple[LockedWheel, ...]]:
    """The wheels of each layer, both in order: layers of one wheel come first, by name, then the bins.

    What changes more often is further up, so that an engine unpacks less of a new image. The names go through the
    alphabet from behind, as with pip: what comes later wins where two wheels have one path.
    """
    groups: dict[str, list[LockedWheel]] = {}
    for wheel in sorted(wheels, key=lambda wheel: wheel.name):
        groups.setdefault(wheel.bin, []).append(wheel)
    ordered = sorted(sorted(groups, reverse=True), key=lambda name: "." in name)
    return {name: tuple(groups[name]) for name in ordered}


def bin_names(budget: int) -> tuple[str, ...]:
    """The bins there are when packages may have ``budget`` layers: half of them at most, and at least one."""
    return tuple(f"bin.{index}" for index in range(min(BINS, max(1, budget // 2))))


def choose_bin(name: str, names: Sequence[str]) -> str:
    """The bin of ``name`` by rendezvous hash: one more or less of ``names`` moves only what must move.

    Source: Thaler and Ravishankar, "A Name-Based Mapping Scheme for Rendezvous", 1996.
    """
    return max(names, key=lambda bin_: hashlib.sha256(f"{bin_}/{name}".encode()).digest())


def _is_alone(wheel: LockedWheel, before: LockedWheel | None, names: Sequence[str]) -> bool:
    """Whether ``wheel`` is to have a layer of its own, if there are enough."""
    if before is None or before.bin not in (*names, before.name):
        return wheel.size >= LARGE
    had_one = before.bin == before.name
    if before.digest == wheel.digest:
        return had_one
    return wheel.size >= (LARGE // 2 if had_one else LARGE * 2)


def _weigh(wheel: LockedWheel, before: LockedWheel | None) -> int:
    return wheel.size * _HOLD if before is not None and before.bin == before.name else wheel.size


def _bin(name: str, own: set[str], before: dict[str, LockedWheel], names: Sequence[str]) -> str:
    if name in own:
        return name
    if name in before and before[name].bin in names:
        return before[name].bin
    return choose_bin(name, names)
