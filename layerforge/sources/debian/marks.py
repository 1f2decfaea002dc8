"""Which version of each package is there, could be there and will be: apt's dependency cache, and questions about it.

The rules are those of Policy, chapter 7, of https://wiki.debian.org/Multiarch/HOWTO, and of apt where these leave a
choice (``apt-pkg/depcache.cc``). Changes of one package at a time; what follows from them is in ``marking``.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from enum import Enum

from layerforge.sources.debian.control import Package, Relation, compare_versions
from layerforge.sources.debian.index import Index
from layerforge.sources.debian.reach import meets, offends


class Mode(Enum):
    """What is to be done with a package."""

    KEEP = "keep"
    INSTALL = "install"
    DELETE = "delete"


class Mark:
    """One package: the version there is (``current``), could be (``candidate``) and will be (``chosen``)."""

    __slots__ = ("candidate", "chosen", "current", "is_auto", "is_protected", "mode", "name")

    def __init__(self, name: str, current: Package | None, candidate: Package | None) -> None:
        self.name = name
        self.current = self.chosen = current
        self.candidate = candidate
        self.mode = Mode.KEEP
        self.is_protected = False
        self.is_auto = False


class Marks:
    """The marks of all packages looked at so far. Native packages go by name, others by ``name:architecture``."""

    def __init__(self, index: Index, installed: Iterable[Package]) -> None:
        self._index = index
        self._architecture = index.architecture
        self._marks: dict[str, Mark] = {}
        self._chosen: dict[str, list[Mark]] = {}
        self._provided_here: dict[str, list[str]] = {}
        self._siblings: dict[str, list[Mark]] = {}
        self._dependents: dict[str, list[tuple[Mark, Relation]]] | None = None
        self._by_source: dict[str, list[Mark]] = {}
        self._tolerated: frozenset[Mark] = frozenset()
        self.installed: list[Mark] = []
        for package in installed:
            self._enter_installed(package)
        self._tolerated = frozenset(mark for mark in self.installed if self.is_broken(mark))

    def _enter_installed(self, package: Package) -> None:
        is_native = package.architecture in (self._architecture, "all")
        key = package.name if is_native else f"{package.name}:{package.architecture}"
        candidate = self._index.candidate(package.name) if is_native else None
        if candidate is None or compare_versions(candidate.version, package.version) <= 0:
            candidate = package
        mark = self._marks[key] = Mark(key, package, candidate)
        self.installed.append(mark)
        if not is_native:
            self._siblings.setdefault(package.name, []).append(mark)
        if candidate is not package:
            self._by_source.setdefault(candidate.source[0], []).append(mark)
        self._enter(mark, package)
        self._note_provides(package, key)

    def _note_provides(self, package: Package, key: str) -> None:
        for relation in package.provides:
            self._provided_here.setdefault(relation.name, []).append(key)

    def pin(self, package: Package) -> None:
        """Make ``package`` the candidate of its name, as ``name=version`` asks."""
        self.of(package.name).candidate = package
        self._note_provides(package, package.name)

    def of(self, name: str) -> Mark:
        """The mark of the package ``name``, known or not."""
        mark = self._marks.get(name)
        if mark is None:
            mark = self._marks[name] = Mark(name, None, self._index.candidate(name))
        return mark

    def siblings(self, name: str) -> list[Mark]:
        """The packages of this name for other architectures that are there now."""
        return self._siblings.get(name, [])

    def of_source(self, source: str) -> list[Mark]:
        """Packages made from ``source`` that are there now and have a newer version."""
        return self._by_source.get(source, [])

    def dependents(self, name: str) -> list[tuple[Mark, Relation]]:
        """What is there now and has ``name`` among the alternatives of its dependencies."""
        if self._dependents is None:
            self._dependents = {}
            for mark in self.installed:
                for group in mark.current.depends if mark.current else ():
                    for relation in group:
                        self._dependents.setdefault(relation.name, []).append((mark, relation))
        return self._dependents.get(name, [])

    def known(self) -> list[Mark]:
        """Every mark there is so far."""
        return list(self._marks.values())

    def chosen(self) -> Iterator[Mark]:
        """The marks of all packages that will be there."""
        return (mark for mark in tuple(self._marks.values()) if mark.chosen is not None)

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

    # -- changing one mark -----------------------------------------------------------------------------------

    def _choose(self, mark: Mark, package: Package | None) -> None:
        if mark.chosen is not package:
            if mark.chosen is not None:
                for name in {relation.name for relation in mark.chosen.provides}:
                    self._chosen[name].remove(mark)
            mark.chosen = package
            if package is not None:
                self._enter(mark, package)

    def _enter(self, mark: Mark, package: Package) -> None:
        for name in {relation.name for relation in package.provides}:
            self._chosen.setdefault(name, []).append(mark)

    def keep(self, mark: Mark) -> bool:
        """Leave the package as it is now, there or not. False where that may not be."""
        if not may_change(mark, Mode.KEEP):
            return False
        if mark.mode is not Mode.KEEP:
            mark.mode = Mode.KEEP
            self._choose(mark, mark.current)
        return True

    def delete(self, mark: Mark) -> bool:
        """Have the package not there. False where that may not be."""
        if not may_change(mark, Mode.DELETE):
            return False
        if mark.mode is Mode.DELETE or mark.chosen is None:
            return True
        if not may_delete(mark):
            return False
        mark.mode = Mode.KEEP if mark.current is None else Mode.DELETE
        self._choose(mark, None)
        return True

    def take(self, mark: Mark, *, by_user: bool) -> None:
        """Choose the candidate."""
        if mark.is_protected and mark.chosen is mark.candidate:
            return
        if by_user:
            mark.is_auto = False
        elif mark.current is None:
            mark.is_auto = True
        mark.mode = Mode.KEEP if mark.candidate is mark.current else Mode.INSTALL
        self._choose(mark, mark.candidate)

    def refuse(self, mark: Mark) -> None:
        """Give the candidate up: there is nothing that meets one of its dependencies."""
        mark.candidate = mark.current
        if mark.mode is not Mode.DELETE:
            mark.mode = Mode.KEEP
            self._choose(mark, mark.current)

    def drop(self, mark: Mark) -> None:
        """Take a choice back, with its candidate: it turned out to be impossible."""
        if not (mark.mode is Mode.KEEP and mark.chosen is mark.candidate is mark.current):
            mark.mode = Mode.KEEP
            self._choose(mark, mark.current)
            mark.candidate = mark.chosen


def may_change(mark: Mark, mode: Mode) -> bool:
    """Whether something other than the user may decide so."""
    if mark.mode is mode:
        return True
    if mark.is_protected:
        return False
    version = mark.current or mark.candidate
    return not (mode is Mode.DELETE and version is not None and (version.essential or version.important))


def may_delete(mark: Mark) -> bool:
    """What the user asked for is not given up."""
    return not (mark.current is None and mark.chosen is not None and not mark.is_auto)


def is_barred(mark: Mark) -> bool:
    """Whether something protected rules the package out."""
    return mark.is_protected and (mark.mode is Mode.DELETE or (mark.mode is Mode.KEEP and mark.current is None))
