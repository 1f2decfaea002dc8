"""Which package owns a path that several ship, as dpkg decides it: the one that replaces the other, or an error.

Source: Debian Policy 7.6.1 ("Overwriting files in other packages") and dpkg's ``lib/dpkg``, ``src/main/archives.c``. A
package that loses a path keeps its other files, and dpkg's list of it no longer names the path. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from layerforge.errors import LayerError
from layerforge.sources.debian.control import Relation, is_within, parse_fields, parse_relations
from layerforge.sources.debian.deb import ControlFile
from layerforge.sources.debian.placement import record_name
from layerforge.sources.debian.rootstate import DebFacts

_HINT = "dpkg would refuse to install these packages together: ask for one of them only"

_DIVERTED = (
    "{} moves the other one's file out of the way (dpkg-divert in its preinst), which is not done for files in layers: "
    "ask for one of them only, or build upon a base image that has both"
)


class Claimant(msgspec.Struct, frozen=True):
    """A package that ships files: dpkg's name of it (``record``), and whose files it may replace.

    ``diverting`` is its ``preinst`` if that calls ``dpkg-divert``.
    """

    record: str
    name: str
    version: str
    replaces: tuple[Relation, ...] = ()
    diverting: bytes = b""

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
    preinst = control["preinst"].content if "preinst" in control else b""
    diverting = preinst if b"dpkg-divert" in preinst else b""
    return Claimant(record, fields["Package"], fields.get("Version", ""), replaces, diverting)


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
        self._folders: dict[str, Claimant] = {}

    def claim(self, path: str, kind: str, claimant: Claimant) -> bool:
        """Whether ``claimant`` owns ``path``; False if another one keeps it.

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
            return True
        if path in self._folders:
            raise self._conflict(f"{path} is a file or link here, and a folder of", claimant, self._folders[path])
        if owner is None:
            self._enter(path.rpartition("/")[0], claimant)
            self._owners[path] = claimant
            return True
        if owner is claimant:
            raise LayerError(f"{path} is there twice", where=f"package {claimant.record}")
        if owner.does_replace(claimant):
            return False
        raise self._conflict(f"{path} is also a file of", claimant, owner, hint=_advise(path, claimant, owner))

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

    def _conflict(self, what: str, claimant: Claimant, owner: Claimant, hint: str = "") -> LayerError:
        package = f"package {owner.record}" if owner is not claimant else "the same package"
        return LayerError(f"{what} {package}", where=f"package {claimant.record}", hint=hint)


def _advise(path: str, *claimants: Claimant) -> str:
    """What to do about a file that all of ``claimants`` ship. Scripts may put the folder into a variable."""
    name = path.rpartition("/")[2].encode("utf-8", "surrogateescape")
    for claimant in claimants:
        if name in claimant.diverting:
            return _DIVERTED.format(claimant.name)
    return _HINT


class Settlement(msgspec.Struct, frozen=True):
    """Facts without what packages have lost to others, and by record the paths lost (as shipped) and their owners."""

    facts: tuple[DebFacts, ...]
    lost: dict[str, dict[str, str]]


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
            if claims.claim(item.path, item.kind, claimants[index]):
                owners[item.path] = claimants[index].record
            else:
                lost.setdefault(index, set()).add(item.path)
    settled = tuple(_without(package, lost.get(index, set())) for index, package in enumerate(facts))
    return Settlement(
        settled, {facts[index].record: {path: owners[path] for path in sorted(paths)} for index, paths in lost.items()}
    )


def _without(package: DebFacts, paths: set[str]) -> DebFacts:
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
