"""Triggers: which packages are told that others brought something they look after (deb-triggers(5))."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from layerforge.sources.debian.rootstate import DebFacts

_LINE = re.compile(r"\s*(interest|activate)(?:-await|-noawait)?\s+(\S+)")


def _named(package: DebFacts, directive: str) -> list[str]:
    member = package.control.get("triggers")
    lines = member.content.decode("utf-8", "replace").splitlines() if member else []
    matches = (_LINE.match(line) for line in lines)
    return [match[2] for match in matches if match and match[1] == directive]


def pending_triggers(
    installed: Iterable[DebFacts], new: Iterable[DebFacts], activated: Iterable[str]
) -> list[tuple[DebFacts, tuple[str, ...]]]:
    """The packages among ``installed`` with an interest in what ``new`` packages bring, each with its triggers.

    ``activated`` are triggers that scripts named. A path is a trigger for everything below it.
    """
    fresh = list(new)
    names = {*activated, *(name for package in fresh for name in _named(package, "activate"))}
    folders = _folders(fresh)
    found: list[tuple[DebFacts, tuple[str, ...]]] = []
    for package in installed:
        interests = _named(package, "interest")
        due = tuple(dict.fromkeys(each for each in interests if each in names or each.lstrip("/") in folders))
        if due:
            found.append((package, due))
    return found


def _folders(packages: Iterable[DebFacts]) -> Mapping[str, None]:
    """Every path of the packages, and every folder above one."""
    found: dict[str, None] = {}
    for package in packages:
        for item in package.paths:
            path = item.path
            while path and path not in found:
                found[path] = None
                path = path.rpartition("/")[0]
    return found
