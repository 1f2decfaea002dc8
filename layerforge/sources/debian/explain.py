"""Why packages cannot be installed, in words, with the path of dependencies that leads there."""

from __future__ import annotations

from collections import deque

from layerforge.errors import ResolveError
from layerforge.sources.debian.control import Package, Relation
from layerforge.sources.debian.index import Index
from layerforge.sources.debian.marks import Mark, Marks

_STAYS_HINT = "nothing of a base is ever removed: choose another package, or another base"
_HINT = "ask for other packages, or leave one of the conflicting ones out"


def explain_failure(index: Index, marks: Marks, roots: list[Mark]) -> ResolveError:
    """The error for ``marks`` in which something is still broken: the first reason on the way down from the roots."""
    seen: set[str] = set()
    paths = _find_paths(marks, roots)
    broken = (mark for mark in marks.chosen() if marks.is_broken(mark) and mark not in roots)
    for mark in (*roots, *broken):
        package = mark.chosen or mark.candidate or index.candidate(mark.name) or mark.current
        path = paths.get(mark.name, ())
        if package is not None and (reason := _find_reason(index, marks, package, path, seen)):
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


def _find_paths(marks: Marks, roots: list[Mark]) -> dict[str, tuple[str, ...]]:
    """For each chosen package the shortest way to it: the names of those that lead there, a root first."""
    paths: dict[str, tuple[str, ...]] = {mark.name: () for mark in roots}
    waiting = deque(mark.chosen for mark in roots if mark.chosen is not None)
    while waiting:
        package = waiting.popleft()
        for relation in (relation for group in package.depends for relation in group):
            for mark in marks.targets(relation, package):
                found = mark.chosen
                if found is not None and mark.name not in paths:
                    paths[mark.name] = (*paths[package.name], package.name)
                    waiting.append(found)
    return paths


def _find_reason(index: Index, marks: Marks, package: Package, path: tuple[str, ...], seen: set[str]) -> str:
    """Why ``package`` cannot be beside what is chosen, or empty."""
    if package.name in seen or len(path) > 50:
        return ""
    seen.add(package.name)
    for relation in (*package.conflicts, *package.breaks):
        for enemy in marks.enemies(package, relation):
            return f"{package} conflicts with {enemy.chosen}{_explain(path)}"
    for mark in marks.chosen():
        other = mark.chosen
        if other is not None and other.name != package.name:
            for relation in (*other.conflicts, *other.breaks):
                if marks.offends(package, relation):
                    return f"{package} conflicts with {other}{_explain(path)}"
    path = (*path, package.name)
    for group in package.depends:
        if any(marks.is_met(relation, package) for relation in group):
            continue
        solutions = [solution for relation in group for solution in _solutions(index, marks, relation, package)]
        if not solutions:
            wanted = " | ".join(map(str, group))
            return f"{package} needs {wanted}, {_absence(index, marks, group)}{_explain(path)}"
        reasons = [_find_reason(index, marks, solution, path, seen) for solution in solutions]
        if any(reasons):
            return next(filter(None, reasons))
    return ""


def _solutions(index: Index, marks: Marks, relation: Relation, asker: Package) -> list[Package]:
    candidate = index.candidate(relation.name)
    packages = (*((candidate,) if candidate else ()), *index.providers(relation.name))
    return [package for package in packages if marks.meets(package, relation, asker)]


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
