"""From names of packages to the set that is installed, chosen as apt chooses it.

This follows apt's own procedure (``apt-pkg/depcache.cc``, ``MarkInstall`` of apt 2.6 and 3.0) rather than searching
for a best solution: what was asked for is taken first, then depth first every dependency in the order in which it is
written; a group of alternatives that something already taken satisfies is passed over, else the first alternative
that works is taken, and of several packages providing it the one that apt ranks first. A choice that fails further
down is taken back, with all that it brought. Where that ends in a conflict with an earlier choice, as with
libreoffice-writer, apt's problem resolver removes the earlier one; here the resolution starts again without it.
No Recommends. Pure: an index in, packages out.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from layerforge.errors import ResolveError
from layerforge.sources.debian.control import Package, Relation, is_within


class Index(Protocol):
    """What is known of the archive."""

    def candidate(self, name: str) -> Package | None:
        """The version of the package ``name`` that would be installed."""

    def providers(self, name: str) -> tuple[Package, ...]:
        """The candidates of other names that provide ``name``."""

    def essential(self) -> tuple[Package, ...]:
        """The candidates that no system is without."""

    def names(self) -> Iterable[str]:
        """All names, for suggestions."""


def resolve(index: Index, roots: Sequence[str], installed: Iterable[Package] = ()) -> tuple[Package, ...]:
    """The packages that installing ``roots`` takes, besides those ``installed``, sorted by name.

    A root may be ``name``, ``name=version``, or a name that exactly one package provides.

    Raises:
        ResolveError: a root is unknown, a dependency cannot be met, or packages conflict; says along which path.
    """
    avoided: frozenset[str] = frozenset()
    first: ResolveError | None = None
    present = tuple(installed)
    while True:
        resolution = _Resolution(index, present, avoided)
        try:
            return resolution.run(roots)
        except ResolveError as error:
            first = first or error
            if not resolution.enemy or resolution.enemy in avoided or len(avoided) == _RESTARTS:
                raise first from None
            avoided |= {resolution.enemy}


_RESTARTS = 20
"""How many earlier choices may be given up before the conflict is reported."""


class _Resolution:
    """The state of one resolution. ``_taken`` is in the order of taking, which is what taking back undoes."""

    def __init__(self, index: Index, installed: Sequence[Package], avoided: frozenset[str]) -> None:
        self._index = index
        self._avoided = avoided
        self.enemy = ""
        self._taken: dict[str, Package] = {}
        self._providers: dict[str, list[tuple[Package, Relation]]] = {}
        self._enemies: dict[str, list[tuple[Package, Relation]]] = {}
        self._failure = ""
        self._installed = {package.name for package in installed}
        for package in installed:
            self._enter(package)

    def run(self, roots: Sequence[str]) -> tuple[Package, ...]:
        chosen = [self._find_root(root) for root in dict.fromkeys(roots)]
        for package in chosen:
            if package.name not in self._taken and not self._enter_checked(package, ()):
                raise ResolveError(self._failure, hint=_CONFLICT_HINT)
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(max(limit, 20_000))
        try:
            for package in chosen:
                if not self._satisfy(package, (package.name,)):
                    raise ResolveError(self._failure, hint=_CONFLICT_HINT)
        finally:
            sys.setrecursionlimit(limit)
        added = (package for name, package in self._taken.items() if name not in self._installed)
        return tuple(sorted(added, key=lambda package: package.name))

    def _find_root(self, root: str) -> Package:
        name, _, version = root.partition("=")
        name = name.partition(":")[0]
        package = self._taken.get(name) or self._index.candidate(name)
        if package is None:
            providers = self._index.providers(name)
            if len(providers) == 1:
                return providers[0]
            if providers:
                listing = ", ".join(sorted(provider.name for provider in providers))
                hint = f"name one of them: {listing}"
                raise ResolveError(f"{name} is not a package, but several provide it", hint=hint)
            near = difflib.get_close_matches(name, self._index.names(), 1, 0.8)
            hint = f"did you mean {near[0]}?" if near else ""
            raise ResolveError(f"the archive has no package {name}", hint=hint)
        if version and package.version != version:
            raise ResolveError(f"{name} {version} is not in the archive", hint=f"it has {package.version}")
        return package

    # -- taking ----------------------------------------------------------------------------------------------

    def _take(self, package: Package, path: tuple[str, ...]) -> bool:
        """Take ``package`` and what it needs; on failure nothing has changed but the reason."""
        before = len(self._taken)
        if not self._enter_checked(package, path):
            return False
        if self._satisfy(package, (*path, package.name)):
            return True
        for name in list(self._taken)[before:][::-1]:
            self._leave(self._taken[name])
        return False

    def _satisfy(self, package: Package, path: tuple[str, ...]) -> bool:
        for group in package.depends:
            if any(self._is_met(relation) for relation in group):
                continue
            self._failure, self.enemy = "", ""
            if any(self._take(solution, path) for solution in self._solutions(group)):
                continue
            wanted = " | ".join(map(str, group))
            reason = self._failure or f"{package} needs {wanted}, {self._absence(group)}"
            self._failure = reason if "required by" in reason else f"{reason}{_explain(path)}"
            return False
        return True

    def _absence(self, group: tuple[Relation, ...]) -> str:
        for relation in group:
            candidate = self._index.candidate(relation.name)
            if candidate is not None:
                return f"but the archive has {candidate}"
        return "which the archive does not have"

    def _enter_checked(self, package: Package, path: tuple[str, ...]) -> bool:
        other = self._taken.get(package.name)
        if other is not None:
            self._failure = f"{package} is needed where {other} is taken already{_explain(path)}"
            return False
        enemy = next(self._conflicts(package), None)
        if enemy is not None:
            self._failure = f"{package} conflicts with {enemy}{_explain(path)}"
            self.enemy = "" if enemy.name in self._installed else enemy.name
            return False
        self._enter(package)
        return True

    def _enter(self, package: Package) -> None:
        self._taken[package.name] = package
        for relation in package.provides:
            self._providers.setdefault(relation.name, []).append((package, relation))
        for relation in package.conflicts:
            self._enemies.setdefault(relation.name, []).append((package, relation))

    def _leave(self, package: Package) -> None:
        del self._taken[package.name]
        for relation in package.provides:
            self._providers[relation.name].remove((package, relation))
        for relation in package.conflicts:
            self._enemies[relation.name].remove((package, relation))

    def _conflicts(self, package: Package) -> Iterator[Package]:
        """Packages already taken that cannot be beside ``package``."""
        for relation in package.conflicts:
            other = self._taken.get(relation.name)
            if other is not None and is_within(other.version, relation.operator, relation.version):
                yield other
            for provider, provided in self._providers.get(relation.name, ()):
                if _is_provided(provided, relation):
                    yield provider
        for enemy, relation in self._enemies.get(package.name, ()):
            if is_within(package.version, relation.operator, relation.version):
                yield enemy
        for provided in package.provides:
            for enemy, relation in self._enemies.get(provided.name, ()):
                if _is_provided(provided, relation):
                    yield enemy

    # -- choosing --------------------------------------------------------------------------------------------

    def _is_met(self, relation: Relation) -> bool:
        package = self._taken.get(relation.name)
        if package is not None and _is_target(package, relation):
            return True
        return any(
            _is_provided(provided, relation) and _is_reachable(provider, relation)
            for provider, provided in self._providers.get(relation.name, ())
        )

    def _solutions(self, group: tuple[Relation, ...]) -> Iterator[Package]:
        """What could meet the group, best first; apt goes through the alternatives as written."""
        seen: set[str] = set()
        for relation in group:
            found: list[Package] = []
            package = self._index.candidate(relation.name)
            if package is not None and _is_target(package, relation):
                found.append(package)
            for provider in self._index.providers(relation.name):
                if provider.name != relation.name and any(
                    _is_provided(provided, relation) and _is_reachable(provider, relation)
                    for provided in provider.provides
                ):
                    found.append(provider)
            found.sort(key=lambda package, name=relation.name: _rank(package, name))  # type: ignore[misc]
            for package in found:
                if package.name not in seen and package.name not in self._avoided:
                    seen.add(package.name)
                    yield package


_CONFLICT_HINT = "ask for other packages, or leave one of the conflicting ones out"


def _explain(path: tuple[str, ...]) -> str:
    return f" (required by {' → '.join(path)})" if path else ""


def _is_reachable(package: Package, relation: Relation) -> bool:
    """``name:any`` accepts only packages that say so (Multi-Arch: allowed); other qualifiers name our architecture."""
    return relation.qualifier != "any" or package.multi_arch == "allowed"


def _is_target(package: Package, relation: Relation) -> bool:
    return _is_reachable(package, relation) and is_within(package.version, relation.operator, relation.version)


def _is_provided(provided: Relation, wanted: Relation) -> bool:
    """Policy 7.5: a versioned condition is met by a versioned Provides only."""
    if provided.name != wanted.name:
        return False
    return not wanted.operator or (
        provided.operator == "=" and is_within(provided.version, wanted.operator, wanted.version)
    )


def _rank(package: Package, name: str) -> tuple[bool, bool, bool, int, int]:
    """apt's ``CompareProviders``: of that name, essential, important, of higher priority, later in the index."""
    return (package.name != name, not package.essential, not package.important, package.priority, -package.order)
