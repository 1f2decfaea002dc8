"""Questions about what is chosen: which relations are met, what is broken, what would solve it.

The rules are those of Policy, chapter 7, of https://wiki.debian.org/Multiarch/HOWTO, and of apt where these leave a
choice (``apt-pkg/depcache.cc``).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from layerforge.sources.debian.control import Package, Relation
from layerforge.sources.debian.index import Index
from layerforge.sources.debian.mark_table import Mark, MarkTable, is_barred
from layerforge.sources.debian.reach import meets, offends


class Marks(MarkTable):
    """The marks of all packages looked at so far, and how what is chosen fits together."""

    def __init__(self, index: Index, installed: Iterable[Package]) -> None:
        super().__init__(index, installed)
        self._dependents: dict[str, list[tuple[Mark, Relation]]] | None = None
        self._tolerated: frozenset[Mark] = frozenset()
        self._tolerated = frozenset(mark for mark in self.installed if self.is_broken(mark))

    def dependents(self, name: str) -> list[tuple[Mark, Relation]]:
        """What is there now and has ``name`` among the alternatives of its dependencies."""
        if self._dependents is None:
            self._dependents = {}
            for mark in self.installed:
                for group in mark.current.depends if mark.current else ():
                    for relation in group:
                        self._dependents.setdefault(relation.name, []).append((mark, relation))
        return self._dependents.get(name, [])

    # -- relations -------------------------------------------------------------------------------------------

    def meets(self, package: Package, relation: Relation, asker: Package) -> bool:
        """Whether ``package``, by its own name or by one that it provides, meets ``asker``'s relation."""
        return meets(package, relation, asker.architecture, self._architecture)

    def offends(self, package: Package, relation: Relation) -> bool:
        """Whether a Conflicts or Breaks with this relation is about ``package``."""
        return offends(package, relation, self._architecture)

    def is_met(self, relation: Relation, asker: Package) -> bool:
        """Whether something chosen meets ``asker``'s relation."""
        return any(self.meets(package, relation, asker) for _, package in self._present(relation.name))

    def enemies(self, asker: Package, relation: Relation) -> Iterator[Mark]:
        """The chosen packages that ``asker`` cannot stand beside by this Conflicts or Breaks: never itself."""
        for mark, package in self._present(relation.name):
            if package.name != asker.name and self.offends(package, relation):
                yield mark

    def _present(self, name: str) -> Iterator[tuple[Mark, Package]]:
        """What is chosen and is called ``name`` or provides it."""
        mark = self._marks.get(name)
        if mark is not None and mark.chosen is not None:
            yield mark, mark.chosen
        for mark in self._siblings.get(name, ()):
            if mark.chosen is not None:
                yield mark, mark.chosen
        for mark in self._chosen.get(name, ()):
            if mark.chosen is not None and mark.chosen.name != name:
                yield mark, mark.chosen

    def named(self, name: str, asker: Package) -> Iterator[Mark]:
        """The marks that are called ``name`` or provide it, but for those of ``asker``'s own name."""
        if name != asker.name:
            yield self.of(name)
            yield from self._siblings.get(name, ())
        seen = {name, asker.name}
        for provider in self._providers(name):
            if provider.name.partition(":")[0] not in seen:
                seen.add(provider.name)
                yield provider

    def _providers(self, name: str) -> Iterator[Mark]:
        for package in self._index.providers(name):
            yield self.of(package.name)
        for key in self._provided_here.get(name, ()):
            yield self._marks[key]

    def providing(self, name: str) -> list[Mark]:
        """The packages whose candidates provide ``name``; of these, those that are there now if there are any."""
        found = {
            mark.name: mark
            for mark in self._providers(name)
            if mark.candidate is not None and any(relation.name == name for relation in mark.candidate.provides)
        }
        return [mark for mark in found.values() if mark.current is not None] or list(found.values())

    def is_broken(self, mark: Mark) -> bool:
        """Whether what is chosen does not fit to everything else that is chosen."""
        package = mark.chosen
        if package is None or mark in self._tolerated:
            return False
        if next(self.unmet(package), None) is not None:
            return True
        return any(next(self.enemies(package, relation), None) for relation in (*package.conflicts, *package.breaks))

    def unmet(self, package: Package) -> Iterator[tuple[Relation, ...]]:
        """The dependencies of ``package`` that nothing chosen meets."""
        for group in package.depends:
            if not any(self.is_met(relation, package) for relation in group):
                yield group

    def is_possible(self, relation: Relation, asker: Package) -> bool:
        """Whether some candidate would meet ``asker``'s relation."""
        candidate = self.of(relation.name).candidate
        if candidate is not None and self.meets(candidate, relation, asker):
            return True
        return any(
            mark.candidate is not None and self.meets(mark.candidate, relation, asker)
            for mark in (*self.siblings(relation.name), *self._providers(relation.name))
        )

    def solutions(self, group: Iterable[Relation], asker: Package) -> list[list[Mark]]:
        """The packages whose candidates would meet the group, best first: what is there now, then by alternative.

        Equally good ones are listed together, in no order: see :meth:`in_order`.
        """
        here: list[list[Mark]] = []
        new: list[list[Mark]] = []
        seen: set[Mark] = set()
        for relation in group:
            marks = (self.of(relation.name), *self.siblings(relation.name), *self._providers(relation.name))
            found = {mark.name: mark for mark in marks if mark not in seen and not is_barred(mark)}
            able = [m for m in found.values() if m.candidate is not None and self.meets(m.candidate, relation, asker)]
            seen.update(able)
            ranks = {mark: self._rank(mark, relation.name) for mark in able}
            for _, equals in itertools.groupby(sorted(able, key=ranks.__getitem__), key=ranks.__getitem__):
                marks_of_rank = list(equals)
                (new if marks_of_rank[0].current is None else here).append(marks_of_rank)
        return here + new

    def in_order(self, equals: list[Mark]) -> list[Mark]:
        """Of packages that are equally good, apt takes first the one that the index speaks of last."""
        if len(equals) > 1:
            places = self._index.first_mentions(mark.name for mark in equals)
            equals.sort(key=lambda mark: places.get(mark.name, ()), reverse=True)
        return equals

    def _rank(self, mark: Mark, name: str) -> tuple[object, ...]:
        """What apt's ``CompareProviders`` goes by, but for the last resort."""
        package = mark.candidate
        assert package is not None
        is_shared = package.multi_arch == "same"
        return (
            not mark.is_protected,
            not (is_shared and (mark.current is not None or bool(self._siblings.get(package.name)))),
            mark.current is None,
            package.name != name,
            not package.essential,
            not package.important,
            ":" in mark.name,
            package.priority,
        )

    # -- what mending asks -----------------------------------------------------------------------------------

    def count_broken(self) -> int:
        """How many chosen packages are broken."""
        return sum(self.is_broken(mark) for mark in self.chosen())

    def targets(self, relation: Relation, asker: Package) -> list[Mark]:
        """The packages of which any version, a candidate or not, would meet ``asker``'s relation."""
        mark = self.of(relation.name)
        found: dict[str, Mark] = {}
        for version in (*self._index.versions(relation.name), *filter(None, (mark.current,))):
            if self.meets(version, relation, asker):
                found[mark.name] = mark
        for other in (*self.siblings(relation.name), *self._providers(relation.name)):
            if any(version and self.meets(version, relation, asker) for version in (other.candidate, other.current)):
                found[other.name] = other
        return list(found.values())

    def smart_target(self, relation: Relation, asker: Package) -> Mark:
        """The package that the relation names; where there is none, the first that provides the name."""
        mark = self.of(relation.name)
        if mark.current is None and not self._index.versions(relation.name):
            return next((other for other in self._providers(relation.name) if other.name != asker.name), mark)
        return mark

    def meeting(self, relation: Relation, asker: Package) -> list[Mark]:
        """The chosen packages of other names that meet ``asker``'s relation, or that its Conflicts is about."""
        return [
            mark
            for mark, package in self._present(relation.name)
            if package.name != asker.name and self.meets(package, relation, asker)
        ]

    def was_met(self, relation: Relation, asker: Package) -> bool:
        """Whether something that is there now meets ``asker``'s relation."""
        marks = (self.of(relation.name), *self.siblings(relation.name), *self._providers(relation.name))
        return any(mark.current is not None and self.meets(mark.current, relation, asker) for mark in marks)

    def was_broken(self, mark: Mark) -> bool:
        """Whether the version that is there now does not fit to the others."""
        package = mark.current
        return package is not None and not all(
            any(self.was_met(relation, package) for relation in group) for group in package.depends
        )

    def was_opposed(self, asker: Package, relation: Relation) -> bool:
        """Whether something that is there now cannot stand beside ``asker``."""
        return any(mark.current and self.offends(mark.current, relation) for mark in self.named(relation.name, asker))

    def is_opposed(self, asker: Package, relation: Relation) -> bool:
        """Whether some candidate cannot stand beside ``asker``."""
        return any(
            mark.candidate and self.offends(mark.candidate, relation) for mark in self.named(relation.name, asker)
        )
