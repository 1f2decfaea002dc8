"""Installing a package, and what follows from it, as apt does it.

This is apt's own procedure (``MarkInstall`` of apt 2.6 and 3.0), not a search for a best solution. What the package
must not stand beside is given up or upgraded, then each dependency is met in the order in which it is written: by what
is chosen already, else by the first alternative that can be installed, with all that it needs. A package that turns out
to be impossible loses its candidate and is not tried again. What was asked for is protected, and so is what only one
package can give it: no later choice takes that away.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from layerforge.sources.debian.control import Package, Relation
from layerforge.sources.debian.mark_table import Mark, Mode, is_barred, may_change, may_delete
from layerforge.sources.debian.marks import Marks

Group = tuple[Relation, ...]

_DEPTH = 5000
"""How deep a chain of dependencies may be."""


class Marker:
    """Installs packages into ``marks``."""

    def __init__(self, marks: Marks) -> None:
        self.marks = marks

    def install(self, mark: Mark, *, solve: bool, depth: int = 0, by_user: bool = False) -> bool:
        """Choose the candidate; with ``solve``, also what it needs. False where it cannot be.

        With ``by_user`` or for a protected package as much as possible is done even where something fails.
        """
        stays = mark.is_protected and mark.mode is Mode.KEEP and mark.candidate is mark.current
        if depth > _DEPTH or mark.candidate is None:
            return False
        if not (stays or by_user or may_change(mark, Mode.INSTALL)):
            return False
        if not mark.is_protected and not self.marks.is_broken(mark):
            if mark.candidate is mark.current:
                return mark.chosen is not None or self.marks.keep(mark)
            if mark.mode is Mode.INSTALL:
                return True
        if not self._is_installable(mark, solve, by_user):
            return False
        if by_user:
            self.marks.take(mark, by_user=True)
        if not solve:
            self.marks.take(mark, by_user=by_user)
            return True
        return self._install_with_needs(mark, mark.candidate, depth, by_user)

    def _install_with_needs(self, mark: Mark, package: Package, depth: int, by_user: bool) -> bool:
        fails_early = not mark.is_protected and not by_user
        needs = [
            group
            for group in package.depends
            if mark.is_protected or not any(self.marks.is_met(relation, package) for relation in group)
        ]
        to_upgrade: list[Mark] = []
        to_remove: list[Mark] = []
        ok = self._give_way(mark, package, to_upgrade, to_remove, by_user)
        if not ok and fails_early:
            return False
        self._collect_dependents(mark, package, to_upgrade, to_remove)
        self.marks.take(mark, by_user=by_user)
        was_protected = mark.is_protected
        mark.is_protected = True
        try:
            self._upgrade_siblings(mark, package, depth)
            steps = itertools.chain(
                self._upgrade_or_remove(to_upgrade, depth, was_protected),
                self._meet(needs, package, depth, was_protected),
                (self.marks.delete(other) for other in to_remove),
            )
            for done in steps:
                if not done:
                    ok = False
                    if fails_early:
                        self.marks.drop(mark)
                        return False
        finally:
            if not was_protected:
                mark.is_protected = False
        return ok

    def _is_installable(self, mark: Mark, solve: bool, by_user: bool) -> bool:
        """Whether there is something for each dependency; a candidate for which there is not is given up."""
        package = mark.candidate
        assert package is not None
        if not by_user and mark.mode is not Mode.INSTALL and package is not mark.current:
            for other in self.marks.siblings(package.name) if package.multi_arch == "same" else ():
                candidate = other.candidate
                if candidate and candidate.multi_arch == "same" and candidate.version != package.version:
                    return False
        if not solve or package is mark.current:
            return True
        for group in package.depends:
            if not any(
                self.marks.is_met(relation, package) or self.marks.is_possible(relation, package) for relation in group
            ):
                if not mark.is_protected:
                    self.marks.refuse(mark)
                return False
        return True

    def _give_way(
        self, mark: Mark, package: Package, to_upgrade: list[Mark], to_remove: list[Mark], by_user: bool
    ) -> bool:
        """What cannot stand beside ``package`` is not chosen, or noted to be upgraded or removed."""
        protects = mark.is_protected
        stops = not protects and not by_user
        ok = True
        refused: list[Mark] = []
        for relation in (*package.conflicts, *package.breaks):
            others = sorted(self.marks.named(relation.name, package), key=lambda other: other.name)
            if not protects and not any(
                o.chosen is not None and self.marks.offends(o.chosen, relation) for o in others
            ):
                continue
            for other in others:
                if other.candidate is None or not self.marks.offends(other.candidate, relation):
                    continue
                if other.candidate is other.current:
                    ok &= self._note_removal(other, protects, to_remove)
                elif other.mode is Mode.INSTALL and not self.marks.keep(other):
                    ok = False
                elif protects:
                    other.candidate = other.chosen
                    other.is_protected |= other.current is None
                else:
                    refused.append(other)
                if not ok and stops:
                    return False
            for other in others:
                if other.current is None or not self.marks.offends(other.current, relation):
                    continue
                if other.candidate is not None and other.candidate is not other.current and other not in refused:
                    to_upgrade.append(other)
                elif other.candidate is not other.current:
                    ok &= self._note_removal(other, protects, to_remove)
                if not ok and stops:
                    return False
        return ok

    def _note_removal(self, mark: Mark, protects: bool, to_remove: list[Mark]) -> bool:
        if not protects:
            if mark.mode is Mode.DELETE:
                return True
            if not may_change(mark, Mode.DELETE) or not may_delete(mark):
                return False
            to_remove.append(mark)
            return True
        if mark.mode is not Mode.DELETE and not self.marks.delete(mark):
            return False
        mark.candidate = mark.chosen
        mark.is_protected = True
        return True

    def _collect_dependents(self, mark: Mark, package: Package, to_upgrade: list[Mark], to_remove: list[Mark]) -> None:
        """What is there now and needs the version there is now has to be upgraded along."""
        if mark.current is None or mark.current is package:
            return
        for other, relation in self.marks.dependents(package.name):
            if other.mode is Mode.KEEP and other not in to_remove and other not in to_upgrade:
                asker = other.current
                assert asker is not None
                if self.marks.meets(mark.current, relation, asker) and not self.marks.meets(package, relation, asker):
                    to_upgrade.append(other)

    def _upgrade_or_remove(self, to_upgrade: list[Mark], depth: int, protects: bool) -> Iterator[bool]:
        for other in to_upgrade:
            if other.mode is Mode.INSTALL or self.install(other, solve=True, depth=depth + 1):
                continue
            is_gone = self.marks.delete(other)
            other.is_protected |= is_gone and protects
            yield is_gone

    def _upgrade_siblings(self, mark: Mark, package: Package, depth: int) -> None:
        """Packages that are there and made from the same source are upgraded to the same version of it."""
        found = [
            other
            for other in self.marks.of_source(package.source[0])
            if other is not mark
            and other.candidate is not None
            and other.candidate is not other.current
            and other.chosen is not other.candidate
            and other.candidate.source == package.source
        ]
        for solve in (False, True):
            for other in found:
                self.install(other, solve=solve, depth=depth + 1)

    def _meet(self, needs: list[Group], package: Package, depth: int, protects: bool) -> Iterator[bool]:
        for group in needs:
            if not any(self.marks.is_met(relation, package) for relation in group):
                yield self._install_first(self.marks.solutions(group, package), depth, protects)
            elif protects:
                yield self._protect_only(group, package, depth)

    def _install_first(self, solutions: list[list[Mark]], depth: int, protects: bool) -> bool:
        is_only = len(solutions) == 1 and len(solutions[0]) == 1
        for solution in (mark for equals in solutions for mark in self.marks.in_order(equals)):
            if solution.candidate is None:
                continue
            if protects and is_only:
                if not self.install(solution, solve=False, depth=depth + 1):
                    continue
                solution.is_protected = True
            if self.install(solution, solve=True, depth=depth + 1):
                return True
        return False

    def _protect_only(self, group: Group, package: Package, depth: int) -> bool:
        """What alone can meet a dependency of something protected is protected, too."""
        solutions = self.marks.solutions(group, package)
        found = {mark.name: (mark, mark.candidate) for equals in solutions for mark in equals}
        versions = {(name, version.version) for name, (_, version) in found.items() if version is not None}
        for relation in group:
            for mark in self.marks.named(relation.name, package):
                if (
                    mark.current is not None
                    and not is_barred(mark)
                    and self.marks.meets(mark.current, relation, package)
                ):
                    versions.add((mark.name, mark.current.version))
                    found.setdefault(mark.name, (mark, mark.current))
        if len(versions) != 1:
            return True
        ((mark, _),) = found.values()
        if mark.is_protected:
            return True
        mark.is_protected = True
        return self.install(mark, solve=True, depth=depth + 1)
