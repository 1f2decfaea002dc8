"""Names of packages that a release does not have: replaced where the archive says by what, else refused with advice."""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Iterable, Sequence

import msgspec

from layerforge.sources.debian.index import Index
from layerforge.sources.debian.renames import ADVICE, RENAMED

_LIBRARIES = (
    re.compile(r"(lib[a-z0-9+.-]*[0-9])-([0-9][0-9.]*[a-z]?)(?:t64)?"),
    re.compile(r"(lib[a-z0-9+.-]*?[a-z+])-?([0-9][0-9.]*(?:-[0-9]+)*[a-z]?)(?:t64)?"),
)
"""A shared library's package: its name and its soname's version, with a hyphen between digits (Policy 8.1)."""
_PYTHON = re.compile(r"(?:lib)?python3\.[0-9]+(?:-.*)?")
_RENAMED = {row.old: row for row in RENAMED}
_ADVICE = {row.name: row for row in ADVICE}


class ChosenName(msgspec.Struct, frozen=True):
    """What became of one entry: ``names`` go to the resolver in place of ``asked``, none if it is refused.

    ``message`` is a warning where a name was replaced, the error where it was refused, else empty.
    """

    asked: str
    names: tuple[str, ...]
    message: str = ""
    hint: str = ""


def choose_names(index: Index, names: Iterable[str]) -> tuple[ChosenName, ...]:
    """For each of ``names`` (entries of ``system_packages``), in their order, what to install. Pure.

    A name that the release has stays. One that it lacks is replaced where the archive says by what: a single package
    provides it, the library's own package after the change of time_t (``libasound2t64``) does, or a transitional
    package of an earlier release names its successor (``renames.RENAMED``). The caller reports each ``message`` with
    the place of its entry: as a warning where there are ``names``, else as an error.
    """
    return tuple(_choose(index, name.strip()) for name in names)


def _choose(index: Index, asked: str) -> ChosenName:
    name = re.split(r"[:=/]", asked, maxsplit=1)[0]
    if index.candidate(name) is not None:
        return ChosenName(asked, (asked,))
    if any(character in name for character in "*?["):
        if fnmatch.filter(index.names(), name):
            return ChosenName(asked, (asked,))
        return ChosenName(asked, (), f"no package matches {name}", "write the name of a package")
    new, reason = _find_successors(index, name)
    if not new:
        return ChosenName(asked, (), *describe_unknown(index, name))
    listing = " and ".join(new)
    if asked != name:
        hint = f"write {listing} and a version of it"
        return ChosenName(asked, (), f"there is no package {name}: {reason}", hint)
    return ChosenName(asked, new, f"{name} is installed as {listing}: {reason}", f"write {listing}")


def _find_successors(index: Index, name: str) -> tuple[tuple[str, ...], str]:
    providers = sorted({package.name for package in index.providers(name)})
    if f"{name}t64" in providers:
        return (f"{name}t64",), "the library's package has that name since time_t has 64 bits"
    if len(providers) == 1:
        return (providers[0],), "it provides that name"
    row = _RENAMED.get(name)
    if row is not None and all(index.candidate(new) is not None for new in row.new):
        return row.new, f"the release {row.release} has {name} as a transitional package for it"
    return (), ""


def describe_unknown(index: Index, name: str) -> tuple[str, str]:
    """Why ``name`` cannot be installed, and a hint, which may be empty."""
    providers = sorted({package.name for package in index.providers(name)})
    if providers:
        return f"{name} is not a package, but several provide it", f"name one of them: {', '.join(providers)}"
    message = f"the archive has no package {name}"
    if advice := _ADVICE.get(name):
        return f"{message}: {advice.reason}", advice.hint
    if _PYTHON.fullmatch(name):
        return message, "the model's own Python is chosen with python_version, and needs no entry here"
    if others := _find_sonames(index, name):
        return message, f"it has {others[-1]}, with another soname: what was built for {name} does not run with it"
    if name.startswith("python-") and index.candidate(f"python3-{name[7:]}") is not None:
        return message, f"did you mean python3-{name[7:]}?"
    near = _find_near(index, name)
    return message, f"did you mean {near[0]}?" if near else ""


def _find_sonames(index: Index, name: str) -> list[str]:
    """The library's packages for other sonames, the newest last."""
    for pattern in _LIBRARIES:
        match = pattern.fullmatch(name)
        found = [
            (_number(other[2]), candidate)
            for candidate in (index.names() if match else ())
            if match and candidate.startswith(match[1])
            if (other := pattern.fullmatch(candidate)) and other[1] == match[1]
            if index.candidate(candidate) is not None
        ]
        if found:
            return [candidate for _, candidate in sorted(found)]
    return []


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(digits) for digits in re.findall("[0-9]+", version))


def _find_near(index: Index, name: str) -> Sequence[str]:
    """Names that are almost ``name``: of 80,000, only those that begin or end like it are compared."""
    names = (
        other
        for other in index.names()
        if abs(len(other) - len(name)) < 4 and (other[:3] == name[:3] or other[-3:] == name[-3:])
    )
    return difflib.get_close_matches(name, sorted(names), 1, 0.8)
