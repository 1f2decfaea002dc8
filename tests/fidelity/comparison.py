"""One package set from names to reviewed differences."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import msgspec

from layerforge.store import Store
from tests.fidelity.assembled import Chooser, assemble, open_workbench
from tests.fidelity.reference import remembered
from tests.fidelity.review import Review, Rule, review
from tests.fidelity.roots import Root, compare_roots, read_root

_ROOM = 6 << 30
"""Bytes: a large set's root, its archive, its packages twice."""


class Comparison(msgspec.Struct):
    """Both roots of a set, and what is to be said about them."""

    packages: int
    ours: Root
    theirs: Root
    review: Review


def compare(
    release: str, name: str, store: Store, chooser: Chooser, rules: tuple[Rule, ...], memory: Path | None = None
) -> Comparison:
    """Make both roots of the set ``name`` in ``release`` and compare them.

    ``memory`` is a folder in which reference roots are remembered between runs.
    """
    section = chooser.choose(release, name)
    with (
        tempfile.TemporaryDirectory(prefix="fidelity-", dir=_find_room()) as temporary,
        open_workbench(section, store) as bench,
    ):
        folder = Path(temporary)
        ours = read_root(assemble(section, bench, folder))
        theirs = remembered(section, bench.material, folder, memory)
    found = review(f"{release}/{name}", ours, theirs, compare_roots(ours, theirs), rules)
    return Comparison(len(section.debs), ours, theirs, found)


def _find_room() -> Path | None:
    """Memory where there is plenty: dpkg forces every file to disk, which costs ten times what the rest does."""
    shared = Path("/dev/shm")
    return shared if shared.is_dir() and shutil.disk_usage(shared).free >= _ROOM else None
