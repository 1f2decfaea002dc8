"""Keeps the versions that a lock has where they still fit what is resolved now.

apt takes the newest version of whatever it installs. A lock is not to move because of one name more, so of the set that
the resolver chose each package that the lock has in another version stays at the lock's, unless a relation of any
package of the result would be broken: then those that the relation names move. That ends at the resolver's own set in
the worst case, which fits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from layerforge.errors import LayerforgeError
from layerforge.lock import LockedDeb
from layerforge.progress import Reporter
from layerforge.sources.debian.archive import debian_urls
from layerforge.sources.debian.control import Package, Relation, describe, is_within, parse_fields
from layerforge.sources.debian.deb import DebFile
from layerforge.sources.debian.index import Index
from layerforge.sources.debian.mirrors import Mirrors
from layerforge.sources.download import download
from layerforge.store import Store

Name = tuple[str, str]
"""Name and architecture."""


def keep_versions(
    fresh: Iterable[Package], locked: Iterable[Package], around: Iterable[Package] = ()
) -> tuple[Package, ...]:
    """``fresh``, with those of ``locked`` in place of their other versions that fit; sorted by name. Pure.

    ``around`` are packages that are there besides, and stay as they are.
    """
    newest = {_name(package): package for package in fresh}
    kept = {_name(package): package for package in locked if _name(package) in newest}
    kept = {name: package for name, package in kept.items() if package.version != newest[name].version}
    others = [package for package in around if _name(package) not in newest]
    while True:
        chosen = {**newest, **kept}
        moving = _find_misfits([*chosen.values(), *others], kept)
        if not moving:
            return tuple(sorted(chosen.values(), key=lambda package: package.name))
        for name in moving:
            del kept[name]


def read_locked(
    debs: Sequence[LockedDeb], index: Index, store: Store, reporter: Reporter, mirrors: Mirrors | None = None
) -> Iterator[Package]:
    """What ``debs`` are, by the index or by their own control files; those that cannot be had any more are left out."""
    for deb in debs:
        for package in index.versions(deb.name):
            if package.digest == deb.digest:
                yield package
                break
        else:
            try:
                path = download(store, debian_urls(deb, mirrors), deb.digest, size=deb.size, name=deb.name)
                with DebFile(path, where=deb.name) as file:
                    fields = parse_fields(file.control["control"].content.decode("utf-8", "replace"))
                place = {"archive": deb.archive, "path": deb.path, "size": deb.size, "digest": deb.digest}
                yield msgspec.structs.replace(describe(fields), **place)
            except (LayerforgeError, KeyError, ValueError):
                reporter.note(f"{deb.name} {deb.version} is not to be had any more, and cannot be kept")


def take_locked(packages: Iterable[LockedDeb], locked: Iterable[LockedDeb]) -> tuple[LockedDeb, ...]:
    """``packages`` with the entries of ``locked`` for those that are the same, wherever the index has them now."""
    known = {(deb.name, deb.version, deb.architecture): deb for deb in locked}
    return tuple(known.get((deb.name, deb.version, deb.architecture), deb) for deb in packages)


def _name(package: Package) -> Name:
    return package.name, package.architecture


def _find_misfits(packages: Sequence[Package], kept: Mapping[Name, Package]) -> set[Name]:
    """Those of ``kept`` that have a part in a broken relation."""
    present: dict[str, list[tuple[Package, str]]] = {}
    for package in packages:
        present.setdefault(package.name, []).append((package, package.version))
        for relation in package.provides:
            present.setdefault(relation.name, []).append((package, relation.version))

    def find(relation: Relation) -> Iterator[Package]:
        for package, version in present.get(relation.name, ()):
            if not relation.operator or (version and is_within(version, relation.operator, relation.version)):
                yield package

    misfits: set[Name] = set()
    for package in packages:
        involved: list[Package] = []
        for group in package.depends:
            if all(next(find(relation), None) is None for relation in group):
                named = (found for relation in group for found, _ in present.get(relation.name, ()))
                involved += [package, *named]
        for relation in (*package.conflicts, *package.breaks):
            opposed = [other for other in find(relation) if other.name != package.name]
            involved += [package, *opposed] if opposed else []
        misfits |= {_name(each) for each in involved if kept.get(_name(each)) is each}
    return misfits
