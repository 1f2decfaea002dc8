"""Why packages cannot be installed, in words, with the path of dependencies that leads there."""

from __future__ import annotations

from layerforge.errors import ResolveError
from layerforge.sources.debian.control import Package, Relation, compare_versions
from layerforge.sources.debian.index import Index
from layerforge.sources.debian.mark_table import Mark
from layerforge.sources.debian.marks import Marks

_STAYS_HINT = "nothing of a base is ever removed: choose another package, or another base"
_HINT = "ask for other packages, or leave one of the conflicting ones out"


def explain_failure(index: Index, marks: Marks, roots: list[Mark]) -> ResolveError:
    """The error for ``marks`` in which something is still broken: the first reason on the way down from the roots."""
    seen: set[str] = set()
    broken = (mark for mark in marks.chosen() if marks.is_broken(mark) and mark not in roots)
    for mark in (*roots, *broken):
        package = mark.chosen or mark.candidate or index.candidate(mark.name) or mark.current
        if package is None:
            continue
        path = _find_path(index, marks, roots, mark)
        if reason := _find_reason(index, marks, roots, package, path, seen):
            return ResolveError(reason, hint=_HINT)
    names = ", ".join(mark.name for mark in roots)
    return ResolveError(f"{names}: these packages do not fit together", hint=_HINT)


def explain_removal(marks: Marks, removed: list[Package]) -> ResolveError:
    """The error for a result without ``removed``, packages that are there now."""
    for mark in marks.chosen():
        package = mark.chosen
        for relation in (*package.conflicts, *package.breaks) if package is not None else ():
            for gone in removed:
                if marks.offends(gone, relation):
                    return ResolveError(f"{package} conflicts with {gone}, which is installed", hint=_STAYS_HINT)
    names = ", ".join(map(str, removed))
    return ResolveError(f"the packages cannot be installed beside {names}, which is installed", hint=_STAYS_HINT)


def _find_reason(
    index: Index, marks: Marks, roots: list[Mark], package: Package, path: tuple[str, ...], seen: set[str]
) -> str:
    """Why ``package`` cannot be beside what is chosen, or empty."""
    if package.name in seen or len(path) > 50:
        return ""
    seen.add(package.name)
    if (enemy := _find_enemy(marks, package)) is not None:
        return f"{package} conflicts with {enemy.chosen}{_explain(path or _find_path(index, marks, roots, enemy))}"
    path = (*path, package.name)
    for group in package.depends:
        if any(marks.is_met(relation, package) for relation in group):
            continue
        solutions = [solution for relation in group for solution in _solutions(index, marks, relation, package)]
        if not solutions:
            wanted = " | ".join(map(str, group))
            return f"{package} needs {wanted}, {_absence(index, marks, group)}{_explain(path)}"
        reasons = [_find_reason(index, marks, roots, solution, path, seen) for solution in solutions]
        if any(reasons):
            return next(filter(None, reasons))
    return ""


def _find_enemy(marks: Marks, package: Package) -> Mark | None:
    for relation in (*package.conflicts, *package.breaks):
        for enemy in marks.enemies(package, relation):
            return enemy
    for mark in marks.chosen():
        other = mark.chosen
        if other is None or other.name == package.name:
            continue
        if any(marks.offends(package, relation) for relation in (*other.conflicts, *other.breaks)):
            return mark
    return None


def _find_path(index: Index, marks: Marks, roots: list[Mark], target: Mark) -> tuple[str, ...]:
    """The names on the shortest way of dependencies from a root to ``target``, without it."""
    paths: dict[Mark, tuple[str, ...]] = dict.fromkeys(roots, ())
    for mark in (queue := list(roots)):
        if mark is target:
            return paths[mark]
        package = mark.chosen or index.candidate(mark.name)
        if package is None:
            continue
        for relation in (relation for group in package.depends for relation in group):
            for other in (marks.of(relation.name), *marks.meeting(relation, package)):
                if other not in paths:
                    paths[other] = (*paths[mark], mark.name)
                    queue.append(other)
    return ()


def _solutions(index: Index, marks: Marks, relation: Relation, asker: Package) -> list[Package]:
    candidate = index.candidate(relation.name)
    packages = (*((candidate,) if candidate else ()), *index.providers(relation.name))
    return [
        package
        for package in packages
        if marks.meets(package, relation, asker) and not _is_older(package, marks.of(package.name).current)
    ]


def _is_older(package: Package, current: Package | None) -> bool:
    return current is not None and compare_versions(package.version, current.version) < 0


def _absence(index: Index, marks: Marks, group: tuple[Relation, ...]) -> str:
    for relation in group:
        current = marks.of(relation.name).current
        if current is not None:
            return f"but {current} is installed"
        candidate = index.candidate(relation.name)
        if candidate is not None:
            return f"but the archive has {candidate}"
    return "which the archive does not have"


def _explain(path: tuple[str, ...]) -> str:
    return f" (required by {' → '.join(path)})" if path else ""
