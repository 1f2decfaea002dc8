"""Which package owns a path that several ship, as dpkg decides it: the one that replaces the other, or an error.

Source: Debian Policy 7.6.1 ("Overwriting files in other packages") and dpkg's ``lib/dpkg``, ``src/main/archives.c``. A
package that loses a path keeps its other files, and dpkg's list of it no longer names the path. Where one of them may
divert the other's file (dpkg-divert in its ``preinst``), the path is *contested*: both keep it, and whether it is
diverted is known when the scripts have been read (``scripts/unpacking.py``). Pure.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping, Sequence

import msgspec

from layerforge.errors import LayerError
from layerforge.sources.debian.control import Relation, is_within, parse_fields, parse_relations
from layerforge.sources.debian.deb import ControlFile
from layerforge.sources.debian.placement import record_name
from layerforge.sources.debian.rootstate import DebFacts

_HINT = "dpkg would refuse to install these packages together: ask for one of them only"


class Verdict(enum.Enum):
    """Who has a path that a package ships: itself (``OWNED``), another one, or both until scripts have been read."""

    OWNED = enum.auto()
    LOST = enum.auto()
    CONTESTED = enum.auto()


class Claimant(msgspec.Struct, frozen=True):
    """A package that ships files: dpkg's name of it (``record``), and whose files it may replace.

    ``diverts`` says whether its ``preinst`` calls ``dpkg-divert``.
    """

    record: str
    name: str
    version: str
    replaces: tuple[Relation, ...] = ()
    diverts: bool = False

    def does_replace(self, other: Claimant) -> bool:
        """Whether files of this package take the place of those of ``other``."""
        return any(
            relation.name == other.name and is_within(other.version, relation.operator, relation.version)
            for relation in self.replaces
        )


def parse_claimant(control: Mapping[str, ControlFile]) -> Claimant:
    """The Claimant that control files describe.

    Raises:
        LayerError: the control file names no package.
    """
    return _claimant(record_name(control), parse_fields(control["control"].content.decode("utf-8", "replace")), control)


def _claimant(record: str, fields: Mapping[str, str], control: Mapping[str, ControlFile]) -> Claimant:
    replaces = tuple(relation for group in parse_relations(fields.get("Replaces", "")) for relation in group)
    diverts = "preinst" in control and b"dpkg-divert" in control["preinst"].content
    return Claimant(record, fields["Package"], fields.get("Version", ""), replaces, diverts)


def order_claims(claimants: Sequence[Claimant]) -> list[int]:
    """The order (as indexes) in which paths are claimed, so that the first who claims one owns it.

    It is the order given, but a package that replaces another one comes before it. Of two that replace each
    other, the later one is first, as if they were installed in the order given.
    """
    by_name: dict[str, list[int]] = {}
    for index, claimant in enumerate(claimants):
        by_name.setdefault(claimant.name, []).append(index)
    replacers: dict[int, list[int]] = {}
    for index, claimant in enumerate(claimants):
        for name in {relation.name for relation in claimant.replaces if relation.name in by_name}:
            for other in by_name[name]:
                if other != index and claimant.does_replace(claimants[other]):
                    replacers.setdefault(other, []).append(index)
    order: dict[int, None] = {}
    seen: set[int] = set()
    for start in range(len(claimants)):
        stack = [start]
        while stack:
            index = stack[-1]
            waiting = [other for other in sorted(replacers.get(index, ())) if other not in seen]
            if index not in seen:
                seen.add(index)
                stack += waiting
            else:
                order.setdefault(stack.pop())
    return list(order)


class Claims:
    """Who owns which path, claimed one after another in the order of :func:`order_claims`."""

    def __init__(self) -> None:
        self._owners: dict[str, Claimant] = {}
        self._rivals: dict[str, Claimant] = {}
        self._folders: dict[str, Claimant] = {}

    def claim(self, path: str, kind: str, claimant: Claimant) -> Verdict:
        """What becomes of ``path`` of ``claimant``.

        Raises:
            LayerError: two packages ship it and neither replaces the other, one ships it as a folder and another as
                something else, or it lies below what another one ships as a link or file.
        """
        owner = self._owners.get(path)
        if kind == "dir":
            if owner is not None:
                raise self._conflict(f"{path} is a folder here, and a file or link of", claimant, owner)
            if path not in self._folders:
                self._enter(path, claimant)
            return Verdict.OWNED
        if path in self._folders:
            raise self._conflict(f"{path} is a file or link here, and a folder of", claimant, self._folders[path])
        if owner is None:
            self._enter(path.rpartition("/")[0], claimant)
            self._owners[path] = claimant
            return Verdict.OWNED
        if owner is claimant:
            raise LayerError(f"{path} is there twice", where=f"package {claimant.record}")
        rival = self._rivals.get(path)
        if rival is None and (owner.diverts or claimant.diverts):
            self._rivals[path] = claimant
            return Verdict.CONTESTED
        if owner.does_replace(claimant) or (rival is not None and rival.does_replace(claimant)):
            return Verdict.LOST
        raise refuse_sharing(path, claimant, rival or owner)

    def contested(self) -> dict[str, tuple[Claimant, Claimant]]:
        """The two packages of each contested path."""
        return {path: (self._owners[path], rival) for path, rival in self._rivals.items()}

    def is_owner(self, claimant: Claimant, path: str) -> bool:
        """Whether ``claimant`` owns the file or link ``path``."""
        return self._owners.get(path) is claimant

    def _enter(self, folder: str, claimant: Claimant) -> None:
        """Note ``folder`` and those above it."""
        while folder and folder not in self._folders:
            owner = self._owners.get(folder)
            if owner is not None:
                raise self._conflict(f"{folder} is a folder here, and a file or link of", claimant, owner)
            self._folders[folder] = claimant
            folder = folder.rpartition("/")[0]

    def _conflict(self, what: str, claimant: Claimant, owner: Claimant) -> LayerError:
        package = f"package {owner.record}" if owner is not claimant else "the same package"
        return LayerError(f"{what} {package}", where=f"package {claimant.record}")


def refuse_sharing(path: str, claimant: Claimant, owner: Claimant) -> LayerError:
    """The error for a ``path`` that two packages ship."""
    return LayerError(
        f"{path} is also a file of package {owner.record}", where=f"package {claimant.record}", hint=_HINT
    )


class Settlement(msgspec.Struct, frozen=True):
    """Facts without what packages have lost to others, and by record the paths lost and their owners.

    ``contested`` has the two packages of each path that one of them may divert.
    """

    facts: tuple[DebFacts, ...]
    lost: dict[str, dict[str, str]]
    contested: dict[str, tuple[Claimant, Claimant]] = {}

    def without(self, lost: Mapping[str, Mapping[str, str]]) -> Settlement:
        """This settlement when packages lose more paths."""
        facts = tuple(without_paths(package, lost.get(package.record, ())) for package in self.facts)
        records = sorted({*self.lost, *lost})
        both = {name: {**self.lost.get(name, {}), **lost.get(name, {})} for name in records}
        return Settlement(facts, both, self.contested)


def settle_ownership(facts: Sequence[DebFacts]) -> Settlement:
    """Decide about every path of every package of a root.

    Raises:
        LayerError: packages that do not fit together, as :meth:`Claims.claim`.
    """
    claimants = [_claimant(package.record, package.fields, package.control) for package in facts]
    claims = Claims()
    owners: dict[str, str] = {}
    lost: dict[int, set[str]] = {}
    for index in order_claims(claimants):
        for item in facts[index].paths:
            if item.is_dropped:
                continue
            verdict = claims.claim(item.path, item.kind, claimants[index])
            if verdict is Verdict.OWNED:
                owners[item.path] = claimants[index].record
            elif verdict is Verdict.LOST:
                lost.setdefault(index, set()).add(item.path)
    by_record = {facts[n].record: {path: owners[path] for path in sorted(paths)} for n, paths in lost.items()}
    return Settlement(tuple(facts), {}, claims.contested()).without(by_record)


def without_paths(package: DebFacts, paths: Collection[str]) -> DebFacts:
    """The facts about ``package`` as if it did not ship ``paths``."""
    if not paths:
        return package
    shipped = {item.shipped or item.path for item in package.paths if item.path in paths}
    return msgspec.structs.replace(
        package,
        conffiles=tuple(pair for pair in package.conffiles if pair[0] not in shipped),
        libraries=tuple(item for item in package.libraries if f"{item.folder}/{item.filename}" not in paths),
        files={path: content for path, content in package.files.items() if path not in paths},
        paths=tuple(item for item in package.paths if item.path not in paths),
    )
