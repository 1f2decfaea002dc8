"""The order in which packages are configured: each after those that it depends on, as far as cycles let it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from layerforge.sources.debian.control import parse_relations
from layerforge.sources.debian.rootstate import DebFacts

_FIRST = ("base-passwd", "base-files", "dpkg", "libc6")
"""What every installer configures before anything else: scripts expect users, folders and dpkg to be there."""


def configuration_order(facts: Iterable[DebFacts]) -> tuple[list[DebFacts], list[DebFacts]]:
    """An order in which dpkg could configure ``facts``: the essential ones with what they need, then the rest."""
    packages = sorted(facts, key=lambda each: each.record)
    by_name: dict[str, list[DebFacts]] = {}
    for package in packages:
        by_name.setdefault(package.name, []).append(package)
    providers: dict[str, list[DebFacts]] = {}
    for package in packages:
        for group in parse_relations(package.fields.get("Provides", "")):
            providers.setdefault(group[0].name, []).append(package)
    essential = [package for package in packages if package.fields.get("Essential") == "yes"]
    first = [package for name in _FIRST for package in by_name.get(name, ())]
    done: dict[str, DebFacts] = {package.record: package for package in first}
    for start in essential:
        _visit(start, by_name, providers, done)
    count = len(done)
    for start in packages:
        _visit(start, by_name, providers, done)
    ordered = list(done.values())
    return ordered[:count], ordered[count:]


def _visit(
    start: DebFacts, by_name: dict[str, list[DebFacts]], providers: dict[str, list[DebFacts]], done: dict[str, DebFacts]
) -> None:
    """Depth first, without recursion; a package that waits for itself is passed over."""
    if start.record in done:
        return
    waiting = {start.record}
    stack = [(start, _dependencies(start, by_name, providers))]
    while stack:
        package, dependencies = stack[-1]
        following = next(
            (each for each in dependencies if each.record not in waiting and each.record not in done), None
        )
        if following is None:
            done[package.record] = package
            stack.pop()
        else:
            waiting.add(following.record)
            stack.append((following, _dependencies(following, by_name, providers)))


def _dependencies(
    package: DebFacts, by_name: dict[str, list[DebFacts]], providers: dict[str, list[DebFacts]]
) -> Iterator[DebFacts]:
    for field in ("Pre-Depends", "Depends"):
        for group in parse_relations(package.fields.get(field, "")):
            for relation in group:
                yield from by_name.get(relation.name, providers.get(relation.name, ()))
