"""What does not fit together is mended, from the most wanted package to the least: apt's problem resolver.

apt's own procedure (``apt-pkg/algorithms.cc``, ``pkgProblemResolver`` of apt 2.6 and 3.0): every package has a score
made of its priority and of what depends on it. Where two cannot be together, the one with the lower score is held
back, replaced by another alternative, or given up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from layerforge.sources.debian.control import Package, Relation
from layerforge.sources.debian.mark_table import Mark, Mode
from layerforge.sources.debian.marking import Marker
from layerforge.sources.debian.marks import Marks

_ROUNDS = 20
_PRIORITY = {1: 3, 2: 2, 3: 1, 4: -1, 5: -2}


def mend(marker: Marker, roots: Iterable[Mark]) -> None:
    """Change what is chosen until nothing is broken, or no way to get there is left. ``roots`` were asked for."""
    if any(marker.marks.is_broken(mark) for mark in marker.marks.chosen()):
        _Mending(marker, frozenset(roots)).run()


class _Mending:
    """One run. A kill is a package to give up, whether for a conflict, and whether what is there now is free of it."""

    def __init__(self, marker: Marker, roots: frozenset[Mark]) -> None:
        self._marks, self._marker, self._roots = marker.marks, marker, roots
        self._upgraded: set[str] = set()
        self._scores: dict[str, int] = {}
        self._round = 0
        self._kills: list[tuple[Mark, bool, bool]] = []

    def run(self) -> None:
        marks = self._marks
        again = True
        while again:
            again = False
            for mark in marks.chosen():
                if mark.mode is not Mode.INSTALL and marks.is_broken(mark):
                    before = mark.chosen
                    self._marker.install(mark, solve=False)
                    again |= mark.chosen is not before
        self._scores = score(marks, self._roots)
        order = sorted(marks.known(), key=lambda mark: -self._score(mark))
        for self._round in range(_ROUNDS):
            if not sum(self._treat(mark) for mark in order):
                break

    def _score(self, mark: Mark) -> int:
        return self._scores.get(mark.name, 0)

    def _treat(self, mark: Mark) -> bool:
        """Mend one package, or give up others for it. True if anything changed."""
        marks, package = self._marks, mark.chosen
        if package is None or not marks.is_broken(mark):
            return False
        self._kills = []
        changed = False
        for group in package.depends:
            if any(marks.is_met(relation, package) for relation in group):
                continue
            if len(group) > 1:
                changed |= self._treat_choice(mark, package, group)
            else:
                done = self._treat_need(mark, package, group[0], is_choice=False)
                changed |= done is not None
                if done is not None:
                    return self._apply_kills(mark) or changed
        for relation in (*package.conflicts, *package.breaks):
            if self._treat_conflict(mark, package, relation, is_break=relation in package.breaks):
                changed = True
                break
        return self._apply_kills(mark) or changed

    # -- dependencies ----------------------------------------------------------------------------------------

    def _treat_choice(self, mark: Mark, package: Package, group: tuple[Relation, ...]) -> bool:
        """An unmet dependency with several alternatives. True if anything changed."""
        marks = self._marks
        before = len(self._kills)
        changed = keeps = False
        for relation in group:
            if any(marks.is_met(other, package) for other in group):
                return changed
            outcome = self._treat_need(mark, package, relation, is_choice=True)
            if outcome is not None:
                changed = True
                keeps = outcome or (keeps and outcome is not False)
        if any(marks.is_met(other, package) for other in group):
            return changed
        if len(self._kills) == before:
            if keeps:
                marks.keep(mark)
                changed = True
            elif not mark.is_protected:
                marks.delete(mark)
                changed = True
        return changed

    def _treat_need(self, mark: Mark, package: Package, relation: Relation, *, is_choice: bool) -> bool | None:
        """One unmet alternative. None if ``mark`` was left alone, else whether to keep it as it is now may mend it."""
        marks = self._marks
        targets = marks.targets(relation, package)
        if not targets:
            if mark.is_protected or (is_choice and not marks.was_broken(mark)):
                return None
            if not marks.was_broken(mark):
                marks.keep(mark)
                return True
            return self._hold_back(mark, is_choice) or False
        for target in targets:
            if self._score(mark) <= self._score(target) or not marks.was_met(relation, package):
                if mark.is_protected:
                    if self._upgrade(target):
                        self._scores[target.name] = min(self._score(target), self._score(mark))
                        break
                    continue
                if self._hold_back(mark, is_choice):
                    return True
                if self._upgrade(mark):
                    return False
                if not is_choice:
                    self._give_up(mark, target)
                    return False
                return self._install_instead(relation)
            if not (target.is_protected and target.mode is not Mode.DELETE):
                self._kills.append((target, False, marks.was_met(relation, package)))
                break
        return None

    def _hold_back(self, mark: Mark, is_choice: bool) -> bool:
        was_installed = mark.mode is Mode.INSTALL
        self._marks.keep(mark)
        if self._marks.is_broken(mark):
            return False
        if is_choice and was_installed:
            self._marker.install(mark, solve=False)
        return True

    def _give_up(self, mark: Mark, other: Mark) -> None:
        self._marks.delete(mark)
        if self._round > 1:
            self._scores[mark.name] = max(self._score(other), self._score(mark))

    def _install_instead(self, relation: Relation) -> bool:
        """Try the alternative's own package, if it was never there. True if that breaks nothing."""
        marks = self._marks
        mark = marks.of(relation.name)
        if mark.current is not None or mark.mode is Mode.DELETE or mark.candidate is None:
            return False
        before = marks.count_broken()
        self._marker.install(mark, solve=True, depth=1)
        if marks.is_broken(mark) or marks.count_broken() > before:
            marks.delete(mark)
            return False
        return True

    def _upgrade(self, mark: Mark) -> bool:
        """Take the candidate, and upgrade what it needs, if that mends it. Tried once for each package."""
        marks = self._marks
        if mark.name in self._upgraded or mark.candidate is None or mark.candidate is mark.current:
            return False
        if mark in self._roots:
            return False
        self._upgraded.add(mark.name)
        was_kept = mark.mode is Mode.KEEP
        if not self._marker.install(mark, solve=False) or mark.chosen is None:
            return False
        package = mark.chosen
        for group in list(marks.unmet(package)):
            if not self._upgrade_for(group, package):
                if was_kept:
                    marks.keep(mark)
                else:
                    marks.delete(mark)
                return False
        return True

    def _upgrade_for(self, group: tuple[Relation, ...], package: Package) -> bool:
        marks = self._marks
        for relation in group:
            if any(marks.is_met(other, package) for other in group):
                return True
            mark = marks.smart_target(relation, package)
            if not mark.is_protected and marks.is_possible(relation, package) and self._upgrade(mark):
                return True
        return False

    # -- conflicts -------------------------------------------------------------------------------------------

    def _treat_conflict(self, mark: Mark, package: Package, relation: Relation, *, is_break: bool) -> bool:
        """Note what is chosen and cannot be beside ``package``. True if ``package`` itself was given up instead."""
        marks = self._marks
        for enemy in list(marks.enemies(package, relation)):
            if self._score(mark) <= self._score(enemy):
                if mark.is_protected:
                    if self._upgrade(enemy):
                        self._scores[enemy.name] = min(self._score(enemy), self._score(mark))
                        break
                    continue
                if not self._hold_back(mark, False) and not self._upgrade(mark):
                    self._give_up(mark, enemy)
                return True
            if is_break and not marks.is_opposed(package, relation):
                self._marker.install(enemy, solve=False)
            elif not (enemy.is_protected and enemy.mode is not Mode.DELETE):
                self._kills.append((enemy, True, not marks.was_opposed(package, relation)))
        return False

    def _apply_kills(self, mark: Mark) -> bool:
        if mark.chosen is None:
            return False
        changed = False
        for target, is_conflict, was_fine in self._kills:
            done = self._marks.keep(target) if was_fine else is_conflict and self._marks.delete(target)
            if (not done or self._round > 1) and self._score(mark) > self._score(target):
                self._scores[target.name] = self._score(mark)
                changed = True
            changed |= done
        return changed


def score(marks: Marks, roots: frozenset[Mark]) -> dict[str, int]:
    """How much each chosen package is wanted (``MakeScores``)."""
    chosen = [(mark, mark.chosen) for mark in marks.chosen() if mark.chosen is not None]
    own: Counter[str] = Counter()
    for mark, package in chosen:
        points = 100 if package.essential or package.important else 0
        own[mark.name] += points + _PRIORITY.get(package.priority, -2) + (mark.current is not None)
        for relation, weight in _weights(package):
            targets = {target.name for target in marks.meeting(relation, package)}
            if not relation.operator and relation.name != package.name:
                targets.add(relation.name)
            for name in targets:
                own[name] += weight
    final = dict(own)
    names = {mark.name for mark, _ in chosen}
    for mark, package in chosen:
        if own[mark.name] > 0:
            for relation in (relation for group in package.depends for relation in group):
                if relation.name in names:
                    final[relation.name] += own[mark.name]
    for mark, package in chosen:
        for name in {relation.name for relation in package.provides} & names:
            final[mark.name] += abs(final[name] - own[name])
    for mark, package in chosen:
        final[mark.name] += 10_000 if mark in roots else 0
        final[mark.name] += 5_000 if package.essential or package.important else 0
    return final


def _weights(package: Package) -> Iterator[tuple[Relation, int]]:
    for group in package.depends:
        for relation in group:
            yield relation, 1
    for relation in (*package.conflicts, *package.breaks):
        yield relation, -1
