"""Which package is in which layer: pure, and as still as possible from one lock to the next.

A large wheel has a layer of its own; the small ones share :data:`BINS` bins. Changing one small package then makes
one bin anew and leaves all others as they are, in every registry that has them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgspec

from layerforge.lock import LockedWheel

LARGE = 8 << 20
"""Bytes (as downloaded) from which a wheel has its own layer.

The hundred small wheels of a usual stack (transformers, scikit-learn, FastAPI, Jupyter and what they need) have 50 MB
in all: eight bins are then about as large as the smallest layers of their own, so that no change costs more than
another, and there are few enough layers for a registry to be asked about each of them.
"""

BINS = 8
"""The number of bins for small wheels."""

BUDGET = 64
"""The most layers that packages may have; overlayfs and Docker allow 127 for the whole image."""


def assign_bins(
    wheels: Iterable[LockedWheel], previous: Iterable[LockedWheel] = (), *, budget: int = BUDGET
) -> tuple[LockedWheel, ...]:
    """``wheels``, sorted by name, with ``bin`` set: the package's own name, or ``bin.0`` to ``bin.7``.

    No package can be called like the latter. One that ``previous`` has stays where it was, unless its wheel has grown
    beyond twice :data:`LARGE`, or shrunk below half of it. With more large wheels than ``budget`` has room for, the
    smallest of them share bins; those with a layer already come first.

    Raises:
        ValueError: ``budget`` leaves no room for the bins.
    """
    if budget < BINS:
        raise ValueError(f"a budget of {budget} layers is too small: the bins alone are {BINS}")
    before = {wheel.name: wheel.bin for wheel in previous if wheel.bin}
    ordered = sorted(wheels, key=lambda wheel: wheel.name)
    alone = [wheel for wheel in ordered if _is_alone(wheel, before.get(wheel.name, ""))]
    alone.sort(key=lambda wheel: (before.get(wheel.name) != wheel.name, -wheel.size, wheel.name))
    own = {wheel.name for wheel in alone[: budget - BINS]}
    return tuple(msgspec.structs.replace(wheel, bin=_bin(wheel.name, own, before)) for wheel in ordered)


def group_bins(wheels: Iterable[LockedWheel]) -> dict[str, tuple[LockedWheel, ...]]:
    """The wheels of each bin, both sorted by name: bins of several first, then layers of one wheel, by name."""
    groups: dict[str, list[LockedWheel]] = {}
    for wheel in sorted(wheels, key=lambda wheel: wheel.name):
        groups.setdefault(wheel.bin, []).append(wheel)
    return {name: tuple(groups[name]) for name in sorted(groups, key=lambda name: (not _is_shared(name), name))}


def _is_alone(wheel: LockedWheel, before: str) -> bool:
    if before == wheel.name:
        return wheel.size >= LARGE // 2
    if _is_shared(before):
        return wheel.size >= LARGE * 2
    return wheel.size >= LARGE


def _bin(name: str, own: set[str], before: dict[str, str]) -> str:
    if name in own:
        return name
    if _is_shared(before.get(name, "")):
        return before[name]
    return max(_NAMES, key=lambda bin_: hashlib.sha256(f"{bin_}/{name}".encode()).digest())


_NAMES = tuple(f"bin.{index}" for index in range(BINS))


def _is_shared(name: str) -> bool:
    return name in _NAMES
