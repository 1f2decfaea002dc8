"""Whether upper layers work on other lower layers as they did on the old ones. Pure.

A demand of the upper layers that the new foundation meets is settled. One that it does not meet is looked at on the old
foundation too: what that did not meet either (a library of the graphics driver, a symbol of a library in another upper
layer) is as before; anything else is a refusal. Where there is a choice, it is the one that refuses.

What cannot be seen is what a program asks for by name at run time (``dlopen``, ``ctypes``) and starts as a process; and
that a symbol of the same name and version does something else.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Sequence

import msgspec

from layerforge.abi.demands import Demands, Group
from layerforge.abi.foundation import Foundation

_OWN_GROUND = ("usr/local/", "src/", "opt/", "home/", "root/", "tmp/", ".cog/")
"""Where an upper layer may have put something in place of a lower one's file without touching the distribution's."""


_HIDDEN = "hidden"


class Refusal(msgspec.Struct, frozen=True):
    """One thing that would break. ``file`` is the upper layer's (relative to the root), ``layer`` that layer's name.

    ``symbol``, ``version`` and ``library`` are what it wants, as far as it is about these; ``found`` says what there
    is.
    """

    layer: str
    file: str
    message: str
    library: str = ""
    version: str = ""
    symbol: str = ""
    found: str = ""

    def __str__(self) -> str:
        end = f"; {self.found}" if self.found else ""
        return f"/{self.file}: {self.message}{end}"


class UpperLayer(msgspec.Struct, frozen=True):
    """A layer that stays. ``demands`` is None when nothing was recorded."""

    name: str
    demands: Demands | None


class _Finding(msgspec.Struct, frozen=True):
    """A demand that a foundation does not meet."""

    layer: str
    group: Group
    file: str
    library: str
    version: str = ""
    symbol: str = ""


def judge(
    upper: Sequence[UpperLayer], new: Foundation, old: Callable[[], Foundation | None], *, python: str = ""
) -> tuple[Refusal, ...]:
    """What would break if ``new`` came below ``upper`` in place of what ``old`` gives; empty when nothing does.

    ``old`` is called only when it matters, because it may have to be fetched; None means that it cannot be had.
    ``python`` is the interpreter's path, absolute, whose symbols extension modules are linked against.
    """
    refusals = [*_refuse_unknown(upper), *_refuse_changes(upper)]
    if refusals:
        return tuple(refusals)
    findings = list(_Check(upper, new, python).findings())
    clashes = list(_find_clashes(upper, new))
    if not findings and not clashes:
        return ()
    before = old()
    if before is None:
        return (*(_explain(finding, new) for finding in findings), *(clash for _, clash in clashes))
    check = _Check(upper, before, python)
    known = {clash for clash, _ in _find_clashes(upper, before) if clash[1] != _HIDDEN}
    return (
        *(_explain(finding, new) for finding in findings if check.regresses(finding, new)),
        *(refusal for clash, refusal in clashes if clash not in known),
    )


def _refuse_unknown(upper: Sequence[UpperLayer]) -> Iterator[Refusal]:
    for layer in upper:
        if layer.demands is None:
            yield Refusal(layer.name, "", f"nothing is recorded of what layer {layer.name} demands")
            continue
        for path, reason in layer.demands.unknown.items():
            yield Refusal(layer.name, path, f"what it demands is not known: {reason}")


def _refuse_changes(upper: Sequence[UpperLayer]) -> Iterator[Refusal]:
    for layer in upper:
        for path in layer.demands.whiteouts if layer.demands else ():
            yield Refusal(layer.name, path, f"layer {layer.name} removes files of the layers below")


def _find_clashes(upper: Sequence[UpperLayer], foundation: Foundation) -> Iterator[tuple[tuple[str, str], Refusal]]:
    """Paths at which an upper layer and the foundation have different things, or one hides the other's."""
    for layer in upper:
        assert layer.demands is not None
        for path in layer.demands.folders:
            for part in _prefixes(path):
                kind = foundation.kind(part)
                if kind in ("file", "link"):
                    what = f"layer {layer.name} has a folder where the new base has a {kind}"
                    yield (part, kind), Refusal(layer.name, part, what)
        for path in layer.demands.files:
            kind = foundation.kind(path)
            if kind == "folder":
                what = f"layer {layer.name} has a file where the new base has a folder"
                yield (path, kind), Refusal(layer.name, path, what)
            elif kind and not path.startswith(_OWN_GROUND):
                what = f"layer {layer.name} replaces a file of the base, and would hide the new one"
                yield (path, _HIDDEN), Refusal(layer.name, path, what)


def _prefixes(path: str) -> Iterator[str]:
    parts = path.split("/")
    return ("/".join(parts[: index + 1]) for index in range(len(parts)))


class _Scope(msgspec.Struct):
    """What a group's references are looked up in, and where each library that it needs was found.

    ``places`` maps a library to its path in the foundation, ``""`` when an upper layer has it, None when nobody has.
    """

    paths: tuple[str, ...]
    places: dict[str, str | None]


class _Check:
    def __init__(self, upper: Sequence[UpperLayer], foundation: Foundation, python: str) -> None:
        self._upper = upper
        self._foundation = foundation
        self._own_paths: dict[str, str] = {}
        for layer in upper:
            self._own_paths |= layer.demands.own if layer.demands else {}
        self._own_names = set(self._own_paths.values())
        program = foundation.resolve(python) if python else None
        self._global = (program,) if program is not None and program in foundation.libraries else ()
        self._scopes: dict[int, _Scope] = {}  # by the id of the Group: hashing one takes as long as a lookup of all

    def findings(self) -> Iterator[_Finding]:
        """Every demand that is not met."""
        for layer in self._upper:
            for group in layer.demands.groups if layer.demands else ():
                yield from self._check_group(layer.name, group)

    def regresses(self, finding: _Finding, new: Foundation) -> bool:
        """Whether this, the old foundation, met what ``new`` does not."""
        scope = self._scope(finding.group)
        if not finding.symbol:
            place = scope.places.get(finding.library)
            if finding.library == finding.group.interpreter:
                return self._foundation.resolve(finding.library) is not None
            if not place:
                return False
            return not finding.version or self._has_version(place, finding.version)
        if self._is_met(scope, finding.symbol, finding.version, finding.library):
            return True
        # Nothing that the file names had it. Something else may have brought it into the process, so that it counts
        # unless whatever had it still has.
        before = self._foundation.exporters(finding.symbol, finding.version)
        return not before <= new.exporters(finding.symbol, finding.version)

    def _check_group(self, layer: str, group: Group) -> Iterator[_Finding]:
        scope = self._scope(group)
        if group.interpreter and self._foundation.resolve(group.interpreter) is None:
            yield _Finding(layer, group, group.example, group.interpreter)
            return
        for library, place in scope.places.items():
            if place is None or (place == "" and not self._finds_own(group, library)):
                yield _Finding(layer, group, group.example, library)
        for library, version, file in group.versions:
            place = scope.places.get(library)
            if place and not self._has_version(place, version):
                yield _Finding(layer, group, file, library, version)
        for needed in group.symbols:
            if needed.library and not scope.places.get(needed.library):
                continue  # an upper layer's own affair, or told already
            for symbol in needed.symbols:
                if not self._is_met(scope, symbol, needed.version, needed.library):
                    yield _Finding(layer, group, needed.file, needed.library, needed.version, symbol)

    def _scope(self, group: Group) -> _Scope:
        if id(group) not in self._scopes:
            places: dict[str, str | None] = {}
            libraries = dict.fromkeys((*group.libraries, *(library for library, _, _ in group.versions)))
            for library in libraries:
                places[library] = self._place(group, library)
            start = () if group.interpreter else self._global
            paths = self._foundation.close_over((*start, *filter(None, places.values())))
            self._scopes[id(group)] = _Scope(paths, places)
        return self._scopes[id(group)]

    def _place(self, group: Group, library: str) -> str | None:
        if self._finds_own(group, library):
            return ""
        found = self._foundation.find(library, group.machine, [f"/{folder}" for folder in group.search])
        if found is None and library in self._own_names:
            return ""
        return found

    def _finds_own(self, group: Group, library: str) -> bool:
        """Whether the group's own search path leads to an upper layer's library of that name."""
        return any(posixpath.join(folder, library) in self._own_paths for folder in group.search)

    def _has_version(self, path: str, version: str) -> bool:
        """A library without any versions satisfies all of them (glibc, ``elf/dl-version.c``, ``match_symbol``)."""
        versions = self._foundation.libraries[path].versions
        return not versions or version in versions

    def _is_met(self, scope: _Scope, symbol: str, version: str, library: str) -> bool:
        return any(self._foundation.defines(path, symbol, version, library) for path in scope.paths)


def _explain(finding: _Finding, new: Foundation) -> Refusal:
    group, library, version, symbol = finding.group, finding.library, finding.version, finding.symbol
    place = new.find(library, group.machine, [f"/{folder}" for folder in group.search]) if library else None
    common = {"library": library, "version": version, "symbol": symbol}
    if library == group.interpreter and library:
        message, found = f"needs the loader {library}", "the new base does not have it"
    elif symbol:
        which = f"{symbol}@{version}" if version else symbol
        message = f"needs the symbol {which}" + (f" of {library}" if library else "")
        others = sorted(new.exporters(symbol, version))
        found = "nothing in the new base defines it"
        if others:
            found = f"the new base has it in {', '.join(others[:3])} only, which the file does not ask for"
        elif place is not None:
            found = f"the new base's /{place} does not define it"
    elif version:
        message = f"needs version {version} of {library}"
        has = _newest(new.libraries[place].versions, version) if place is not None else ""
        found = f"the new base's goes up to {has}" if has else "the new base's does not have it"
    else:
        message, found = f"needs the library {library}", "the new base does not have it"
    return Refusal(finding.layer, finding.file, message, found=found, **common)


def _newest(versions: Sequence[str], wanted: str) -> str:
    """The highest version of the same family (``GLIBC_``), by its numbers."""
    family = wanted.rstrip("0123456789.")
    numbered = [(version, version[len(family) :].split(".")) for version in versions if version.startswith(family)]
    ordered = [
        ([int(part) for part in parts], version) for version, parts in numbered if all(p.isdigit() for p in parts)
    ]
    return max(ordered)[1] if ordered else ""
