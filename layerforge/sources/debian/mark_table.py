"""Which version of each package is there, could be there and will be: apt's dependency cache.

Changes of one package at a time; what can be asked about them is in ``marks``, what follows from them in ``marking``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum

from layerforge.sources.debian.control import Package, compare_versions
from layerforge.sources.debian.index import Index


class Mode(Enum):
    """What is to be done with a package."""

    KEEP = "keep"
    INSTALL = "install"
    DELETE = "delete"


class Mark:
    """One package: the version there is (``current``), could be (``candidate``) and will be (``chosen``)."""

    __slots__ = ("candidate", "chosen", "current", "is_auto", "is_protected", "mode", "name")

    def __init__(self, name: str, current: Package | None, candidate: Package | None) -> None:
        self.name = name
        self.current = self.chosen = current
        self.candidate = candidate
        self.mode = Mode.KEEP
        self.is_protected = False
        self.is_auto = False


class MarkTable:
    """The marks of all packages looked at so far. Native packages go by name, others by ``name:architecture``."""

    def __init__(self, index: Index, installed: Iterable[Package]) -> None:
        self._index = index
        self._architecture = index.architecture
        self._marks: dict[str, Mark] = {}
        self._chosen: dict[str, list[Mark]] = {}
        self._provided_here: dict[str, list[str]] = {}
        self._siblings: dict[str, list[Mark]] = {}
        self._by_source: dict[str, list[Mark]] = {}
        self.installed: list[Mark] = []
        for package in installed:
            self._enter_installed(package)

    def _enter_installed(self, package: Package) -> None:
        is_native = package.architecture in (self._architecture, "all")
        key = package.name if is_native else f"{package.name}:{package.architecture}"
        candidate = self._index.candidate(package.name) if is_native else None
        if candidate is None or compare_versions(candidate.version, package.version) <= 0:
            candidate = package
        mark = self._marks[key] = Mark(key, package, candidate)
        self.installed.append(mark)
        if not is_native:
            self._siblings.setdefault(package.name, []).append(mark)
        if candidate is not package:
            self._by_source.setdefault(candidate.source[0], []).append(mark)
        self._enter(mark, package)
        self._note_provides(package, key)

    def _note_provides(self, package: Package, key: str) -> None:
        for relation in package.provides:
            self._provided_here.setdefault(relation.name, []).append(key)

    def pin(self, package: Package) -> None:
        """Make ``package`` the candidate of its name, as ``name=version`` asks."""
        self.of(package.name).candidate = package
        self._note_provides(package, package.name)

    def of(self, name: str) -> Mark:
        """The mark of the package ``name``, known or not."""
        mark = self._marks.get(name)
        if mark is None:
            mark = self._marks[name] = Mark(name, None, self._index.candidate(name))
        return mark

    def siblings(self, name: str) -> list[Mark]:
        """The packages of this name for other architectures that are there now."""
        return self._siblings.get(name, [])

    def of_source(self, source: str) -> list[Mark]:
        """Packages made from ``source`` that are there now and have a newer version."""
        return self._by_source.get(source, [])

    def known(self) -> list[Mark]:
        """Every mark there is so far."""
        return list(self._marks.values())

    def chosen(self) -> Iterator[Mark]:
        """The marks of all packages that will be there."""
        return (mark for mark in tuple(self._marks.values()) if mark.chosen is not None)

    # -- changing one mark -----------------------------------------------------------------------------------

    def _choose(self, mark: Mark, package: Package | None) -> None:
        if mark.chosen is not package:
            if mark.chosen is not None:
                for name in {relation.name for relation in mark.chosen.provides}:
                    self._chosen[name].remove(mark)
            mark.chosen = package
            if package is not None:
                self._enter(mark, package)

    def _enter(self, mark: Mark, package: Package) -> None:
        for name in {relation.name for relation in package.provides}:
            self._chosen.setdefault(name, []).append(mark)

    def keep(self, mark: Mark) -> bool:
        """Leave the package as it is now, there or not. False where that may not be."""
        if not may_change(mark, Mode.KEEP):
            return False
        if mark.mode is not Mode.KEEP:
            mark.mode = Mode.KEEP
            self._choose(mark, mark.current)
        return True

    def delete(self, mark: Mark) -> bool:
        """Have the package not there. False where that may not be."""
        if not may_change(mark, Mode.DELETE):
            return False
        if mark.mode is Mode.DELETE or mark.chosen is None:
            return True
        if not may_delete(mark):
            return False
        mark.mode = Mode.KEEP if mark.current is None else Mode.DELETE
        self._choose(mark, None)
        return True

    def take(self, mark: Mark, *, by_user: bool) -> None:
        """Choose the candidate."""
        if mark.is_protected and mark.chosen is mark.candidate:
            return
        if by_user:
            mark.is_auto = False
        elif mark.current is None:
            mark.is_auto = True
        mark.mode = Mode.KEEP if mark.candidate is mark.current else Mode.INSTALL
        self._choose(mark, mark.candidate)

    def refuse(self, mark: Mark) -> None:
        """Give the candidate up: there is nothing that meets one of its dependencies."""
        mark.candidate = mark.current
        if mark.mode is not Mode.DELETE:
            mark.mode = Mode.KEEP
            self._choose(mark, mark.current)

    def drop(self, mark: Mark) -> None:
        """Take a choice back, with its candidate: it turned out to be impossible."""
        if not (mark.mode is Mode.KEEP and mark.chosen is mark.candidate is mark.current):
            mark.mode = Mode.KEEP
            self._choose(mark, mark.current)
            mark.candidate = mark.chosen


def may_change(mark: Mark, mode: Mode) -> bool:
    """Whether something other than the user may decide so."""
    if mark.mode is mode:
        return True
    if mark.is_protected:
        return False
    version = mark.current or mark.candidate
    return not (mode is Mode.DELETE and version is not None and (version.essential or version.important))


def may_delete(mark: Mark) -> bool:
    """What the user asked for is not given up."""
    return not (mark.current is None and mark.chosen is not None and not mark.is_auto)


def is_barred(mark: Mark) -> bool:
    """Whether something protected rules the package out."""
    return mark.is_protected and (mark.mode is Mode.DELETE or (mark.mode is Mode.KEEP and mark.current is None))
