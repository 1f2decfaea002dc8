"""Configuration files that are there already when their package comes: what people changed stays, as dpkg keeps it.

Source: dpkg, ``src/main/configure.c`` (``deferred_configure_conffile``), with ``--force-confold``: nobody can be asked.
A file as the old package shipped it is replaced; one that was changed or removed stays so. Where the new package has
another version of it, that lies beside it as ``.dpkg-dist``. Permissions and owner stay in any case, and so does a link
that people put in its place, with what it leads to.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec

from layerforge.sources.debian.rootstate import DebFacts, Listed, Origin, RootEntry
from layerforge.sources.debian.scripts.world import World

SUFFIX = ".dpkg-dist"
"""What dpkg appends to the name of a version that it did not install."""


def restore_conffiles(package: DebFacts, world: World, known: Mapping[str, str]) -> dict[str, RootEntry | None]:
    """What has to be put over the files of ``package`` once it is unpacked into ``world``; None: nothing is there.

    ``known`` are the conffiles of all packages that are installed. Paths are those of our root.
    """
    shipped = {item.shipped or item.path: item for item in package.paths if item.kind == "file" and not item.is_dropped}
    found: dict[str, RootEntry | None] = {}
    for path, digest in package.conffiles:
        if path in shipped:
            found |= _restore(shipped[path], digest, world, known.get(path), Origin(package.record, path))
    return found


def _restore(item: Listed, digest: str, world: World, old: str | None, origin: Origin) -> dict[str, RootEntry | None]:
    path = item.path
    new = RootEntry("file", mode=item.mode, uid=item.uid, gid=item.gid, origin=origin)
    place = world.locate(path, follow=False)
    if world.item(place) is None:
        if old is None:
            return {}
        return {path: None} if old == digest else {path: None, f"{path}{SUFFIX}": new}
    there, content = world.entry(place), world.read(path)
    if there is not None and there.kind == "symlink":
        return {path: there}
    if there is None or content is None:
        return {}  # too large to be known, or none of /etc
    new = msgspec.structs.replace(new, mode=there.mode & 0o7777, uid=there.uid, gid=there.gid)
    if hashlib.md5(content, usedforsecurity=False).hexdigest() in (old, digest):
        is_as_shipped = (new.mode, new.uid, new.gid) == (item.mode, item.uid, item.gid)
        return {} if is_as_shipped else {path: new}
    return {path: there} if old == digest else {path: there, f"{path}{SUFFIX}": new}
