"""From names of packages to the set that is installed, chosen as apt chooses it.

The steps are those of ``apt-get --no-install-recommends install``: what was asked for is taken first, then what it
needs (``marking``), what does not fit together is mended (``mending``), and what no longer has a reason to be there is
left out. docs/debian.md has the rules, and where they depart from apt's. Pure: an index in, packages out.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from layerforge.sources.debian.control import Package, parse_relations
from layerforge.sources.debian.explain import explain_failure, explain_removal
from layerforge.sources.debian.index import Index
from layerforge.sources.debian.mark_table import Mark
from layerforge.sources.debian.marking import Marker
from layerforge.sources.debian.marks import Marks
from layerforge.sources.debian.mending import mend
from layerforge.sources.debian.roots import find_roots

__all__ = ["Index", "resolve"]


def resolve(index: Index, roots: Sequence[str], installed: Iterable[Package] = ()) -> tuple[Package, ...]:
    """The packages that installing ``roots`` takes, besides those ``installed``, sorted by name.

    A root is ``name``, ``name=version`` or ``name/suite``, perhaps with ``:architecture`` after the name, a pattern
    of names (``libboost-*-dev``), or a name that exactly one package provides. Where something ``installed`` has to be
    upgraded, the result holds its new version; nothing installed is ever removed.

    Raises:
        ResolveError: a root is unknown, a dependency cannot be met, or packages conflict; says along which path.
    """
    marks = Marks(index, installed)
    marker = Marker(marks)
    wanted = find_roots(index, marks, roots)
    with _deep_recursion():
        for mark in wanted:
            mark.is_protected = True
            marker.install(mark, solve=False, by_user=True)
        for mark in wanted:
            marker.install(mark, solve=True, by_user=True)
        mend(marker, wanted)
    if any(marks.is_broken(mark) for mark in marks.chosen()) or any(mark.chosen is None for mark in wanted):
        raise explain_failure(index, marks, wanted)
    removed = [mark.current for mark in marks.installed if mark.chosen is None and mark.current is not None]
    if removed:
        raise explain_removal(marks, removed)
    needed = _find_needed(marks, wanted)
    added = (mark.chosen for mark in marks.chosen() if mark.chosen is not mark.current and mark in needed)
    return tuple(sorted(filter(None, added), key=lambda package: package.name))


@contextmanager
def _deep_recursion() -> Iterator[None]:
    """A dependency of a dependency of … is as deep in Python's stack."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, 40_000))
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


def _find_needed(marks: Marks, roots: Sequence[Mark]) -> set[Mark]:
    """What is there for a reason: asked for, there before, or needed by such a package, be it by Recommends.

    Others were taken for a choice that was taken back. apt leaves them out, too (its ``DoAutomaticRemove``).
    """
    new = {mark for mark in marks.chosen() if mark.current is None}
    needed = _reach(marks, [*roots, *(mark for mark in marks.chosen() if mark.current is not None)], weak=False)
    return needed if new <= needed else _reach(marks, list(needed), weak=True)


def _reach(marks: Marks, start: list[Mark], *, weak: bool) -> set[Mark]:
    found: set[Mark] = set()
    while start:
        mark = start.pop()
        package = mark.chosen
        if package is None or mark in found:
            continue
        found.add(mark)
        groups = package.depends + (parse_relations(package.weak) if weak else ())
        start += [target for group in groups for relation in group for target in marks.meeting(relation, package)]
    return found
