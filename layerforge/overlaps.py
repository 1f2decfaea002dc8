"""Tells which wheels of different layers install different files under one path.

The upper one wins. Layers are made without knowing each other, so this is found out when they are there, from the
paths of each wheel; the store keeps those, and the answer for each set of wheels. What overlaps within a layer is told
by that layer's own remarks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import msgspec

from layerforge.bins import group_bins
from layerforge.errors import ImageError
from layerforge.layers.overlap import HINT, Identity, Overlap, find_overlaps
from layerforge.layers.step import FORMAT
from layerforge.layers.wheel_plan import installation_key, list_wheel_paths
from layerforge.lock import LockedWheel, PlatformLock
from layerforge.oci import Digest, decode, encode
from layerforge.progress import Reporter
from layerforge.store import Store

T = TypeVar("T")

_SHOWN = 8
"""So many pairs of wheels are named; a set that overlaps more is seen to be wrong from these."""


class _Answer(msgspec.Struct, frozen=True):
    """What was found; ``complete`` unless the store had not every wheel."""

    overlaps: tuple[Overlap, ...]
    complete: bool


def order_wheels(wheels: Sequence[LockedWheel]) -> tuple[LockedWheel, ...]:
    """``wheels`` in the order in which they lie in the image: the layers from the bottom, in each as it is written."""
    return tuple(
        wheel
        for group in group_bins(wheels).values()
        for wheel in sorted(group, key=lambda wheel: installation_key(wheel.filename))
    )


def report_overlaps(section: PlatformLock, store: Store, reporter: Reporter) -> None:
    """Warn of the overlaps between the package layers of ``section``, as far as the store has their wheels.

    Raises:
        LayerError: a path is a file in one wheel and a folder in another.
    """
    wheels, minor = order_wheels(section.packages), section.python.minor
    key = Digest.of(encode(tuple(wheel.digest for wheel in wheels)))
    topic = f"overlaps-{FORMAT}-{minor}"
    answer = _decode(store.find_note(topic, key), _Answer)
    if answer is None or (not answer.complete and _has_all(wheels, minor, store)):
        answer = _find(wheels, minor, store)
        store.keep_note(topic, key, encode(answer))
    bins = {wheel.filename: wheel.bin for wheel in wheels}
    across = [overlap for overlap in answer.overlaps if bins[overlap.loser] != bins[overlap.winner]]
    for overlap in across[:_SHOWN]:
        reporter.warn(str(overlap), HINT)
    if len(across) > _SHOWN:
        reporter.warn(f"{len(across) - _SHOWN} more pairs of wheels install different files under one path", HINT)


def _find(wheels: Sequence[LockedWheel], minor: str, store: Store) -> _Answer:
    tables = [(wheel.filename, _find_paths(wheel, minor, store)) for wheel in wheels]
    known = [(name, paths) for name, paths in tables if paths is not None]
    return _Answer(find_overlaps(known), len(known) == len(tables))


def _has_all(wheels: Sequence[LockedWheel], minor: str, store: Store) -> bool:
    """Whether an answer that was incomplete can be completed now."""
    return all(
        store.material_path(wheel.digest).exists() or store.find_note(_topic(minor), wheel.digest) for wheel in wheels
    )


def _find_paths(wheel: LockedWheel, minor: str, store: Store) -> dict[str, Identity] | None:
    kept = _decode(store.find_note(_topic(minor), wheel.digest), dict[str, Identity])
    material = store.material_path(wheel.digest)
    if kept is not None or not material.exists():
        return kept
    paths = list_wheel_paths(material, wheel.filename, minor)
    store.keep_note(_topic(minor), wheel.digest, encode(paths))
    return paths


def _decode(note: bytes | None, kind: type[T]) -> T | None:
    try:
        return decode(note, kind) if note is not None else None
    except ImageError:  # torn by a power cut: as good as absent
        return None


def _topic(minor: str) -> str:
    return f"wheel-paths-{FORMAT}-{minor}"
