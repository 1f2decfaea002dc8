"""What was asked for: ``name``, ``name=version``, ``name/suite`` or a pattern, as apt-get takes them."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Sequence

from layerforge.errors import ResolveError
from layerforge.sources.debian.control import Package
from layerforge.sources.debian.index import Index
from layerforge.sources.debian.mark_table import Mark
from layerforge.sources.debian.marks import Marks
from layerforge.sources.debian.names import describe_unknown

_ROOT = re.compile(r"([^:=/\s]+)(?::([a-z0-9-]+))?(?:(=|/)(\S+))?")


def find_roots(index: Index, marks: Marks, roots: Sequence[str]) -> list[Mark]:
    """The marks of what ``roots`` mean, each once; their candidates are the versions asked for.

    Raises:
        ResolveError: one is malformed, unknown, or not to be had in that version, suite or architecture.
    """
    found = dict.fromkeys(mark for root in roots for mark in _find_root(index, marks, root.strip()))
    return list(found)


def _find_root(index: Index, marks: Marks, root: str) -> Iterator[Mark]:
    match = _ROOT.fullmatch(root)
    if match is None:
        raise ResolveError(f"{root!r} names no package", hint="write it as name, name=version or name/suite")
    name, architecture, kind, condition = match.groups()
    if architecture not in (None, "any", "native", "all", index.architecture):
        hint = f"leave :{architecture} out, or build for another platform"
        raise ResolveError(f"{root}: only packages for {index.architecture} can be installed", hint=hint)
    if any(character in name for character in "*?["):
        yield from _match_pattern(index, marks, name)
        return
    mark = marks.of(name)
    if mark.candidate is None:
        mark = _find_provider(index, marks, name)
    if kind == "=":
        versions = {package.version: package for package in index.versions(mark.name)}
        if mark.current is not None:
            versions[mark.current.version] = mark.current
        if condition not in versions:
            hint = f"it has {', '.join(versions)}"
            raise ResolveError(f"{mark.name} {condition} is not in the archive", hint=hint)
        marks.pin(versions[condition])
    elif kind == "/":
        _pin_suite(index, marks, mark, condition)
    yield mark


def _find_provider(index: Index, marks: Marks, name: str) -> Mark:
    """The one package that provides ``name``; something that is there already goes before."""
    providers = marks.providing(name)
    if len(providers) == 1:
        return providers[0]
    message, hint = describe_unknown(index, name)
    raise ResolveError(message, hint=hint)


def _match_pattern(index: Index, marks: Marks, pattern: str) -> Iterator[Mark]:
    names = sorted(fnmatch.filter(index.names(), pattern))
    marked = [marks.of(name) for name in names]
    found = [mark for mark in marked if mark.candidate is not None]
    for mark in marked:
        if mark.candidate is None and len(providers := marks.providing(mark.name)) == 1:
            found += providers
    if not found:
        raise ResolveError(f"the archive has no package that matches {pattern}", hint="write a package's name")
    yield from found


def _pin_suite(index: Index, marks: Marks, mark: Mark, suite: str) -> None:
    if suite not in index.suites:
        raise ResolveError(f"{mark.name}/{suite}: there is no such suite", hint=f"known are {', '.join(index.suites)}")
    package = index.in_suite(mark.name, suite)
    if package is None:
        has = mark.candidate.version if mark.candidate else "none"
        raise ResolveError(f"{suite} has no package {mark.name}", hint=f"the other suites have {has}")
    _pin_with_needs(index, marks, package, suite)


def _pin_with_needs(index: Index, marks: Marks, package: Package, suite: str) -> None:
    """As apt does: what the older version needs and no candidate gives is taken from that suite, too."""
    if marks.of(package.name).candidate is package:
        return
    marks.pin(package)
    for group in package.depends:
        if any(marks.is_possible(relation, package) for relation in group):
            continue
        for relation in group:
            other = index.in_suite(relation.name, suite)
            if other is not None and marks.meets(other, relation, package):
                _pin_with_needs(index, marks, other, suite)
                break
