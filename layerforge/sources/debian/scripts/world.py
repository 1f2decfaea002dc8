"""The model of a root that maintainer scripts act on: what is at each path, as far as it is known.

It begins with the files of packages and of the base image, and remembers what scripts change. What is read of it, and
how paths are resolved, is in ``tree``.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping

import msgspec

from layerforge.shell.values import UNKNOWN
from layerforge.sources.debian.rootstate import DebFacts, Entries, Listed, Origin, RootEntry
from layerforge.sources.debian.scripts.tree import FOLDER, Tree


class World(Tree):
    """A root: the packages in it, its paths, and what scripts made of them.

    ``facts`` are the packages by name as dpkg records them; one is part of the root after :meth:`unpack`.
    """

    def unpack(self, facts: DebFacts, diverted: Mapping[str, str] | None = None) -> None:
        """Put the files of a package into the root; ``diverted`` says where some of its paths go instead."""
        self.facts[facts.record] = facts
        for item in facts.paths:
            if item.is_dropped:
                continue
            target = (diverted or {}).get(f"/{item.shipped or item.path}")
            if target is not None and item.kind != "dir":
                self._divert(facts, item, target)
                continue
            path = item.path
            if self._changes.get(path, FOLDER) is None:
                del self._changes[path]
            if item.shipped.startswith("var/"):
                # base-files ships these folders; its postinst expects them, and makes them links.
                self._items.setdefault(item.shipped, item)
            known = self._items.get(path)
            if known is not None and (known.kind == "dir" or item.kind == "dir") and known.kind != "file":
                continue  # the first package's folder stays, and a link to a folder is taken for one
            self._items[path] = item
            self._note_child(path)
            self._imply_folders(path)
            if item.kind in ("file", "hardlink"):
                self._origins[path] = _origin(facts, item)
            if path not in self._changes:
                self._contents.pop(path, None)
                if path in facts.files:
                    self._contents[path] = facts.files[path]

    def _imply_folders(self, path: str) -> None:
        """Packages name the folders of their files, but need not."""
        for folder in _parents(path):
            if folder in self._items:
                return
            self._items[folder] = Listed(folder, "dir", 0o755)
            self._note_child(folder)

    def _divert(self, facts: DebFacts, item: Listed, target: str) -> None:
        """The layer of its package has ``item`` in its own place; here it goes to ``target``."""
        entry = RootEntry(item.kind, target=item.target, mode=item.mode, uid=item.uid, gid=item.gid)
        if item.kind in ("file", "hardlink"):
            entry = msgspec.structs.replace(entry, kind="file", target="", origin=_origin(facts, item))
        self.put(target, entry)
        if item.path in facts.files:
            self._contents[self.locate(target, follow=False)] = facts.files[item.path]
        known = self._items.setdefault(item.path, item)
        if known is item:
            self._changes[item.path] = None
        elif known is self._base.get(item.path) and (below := self.movable(item.path)) is not None:
            self._items[item.path] = item  # the package's layer has it there, above the base's own
            self._changes.setdefault(item.path, below)

    def write_text(self, path: str, text: str, mode: int = 0o644) -> bool:
        """Make a file with ``mode``, or replace its content; one with unknown parts is not known."""
        real = self.locate(path)
        parent = real.rpartition("/")[0]
        if self.kind(f"/{parent}") != "dir" or UNKNOWN in path:
            return False
        existing = self.item(real)
        new = existing is None or existing.kind not in ("file", "hardlink")
        self.write(real, text.encode("utf-8", "surrogateescape"), mode if new else None)
        if UNKNOWN in text:
            self._unknown.add(real)
        return True

    # -- changes

    def write(self, path: str, content: bytes, mode: int | None = None, uid: int = 0, gid: int = 0) -> None:
        """Make or replace a file; without ``mode`` it keeps mode and owner, or gets 644."""
        real = self.locate(path)
        old = self.item(real)
        if mode is None and old is not None and old.kind in ("file", "hardlink"):
            mode, uid, gid = old.mode, old.uid, old.gid
        self._unknown.discard(real)
        self.put(real, RootEntry("file", content=content, mode=0o644 if mode is None else mode, gid=gid, uid=uid))

    def put(self, path: str, entry: RootEntry) -> None:
        """Put ``entry`` at ``path``, in place of what is there; missing folders are made."""
        real = self.locate(path, follow=False)
        parent = real.rpartition("/")[0]
        if parent and self.item(parent) is None:
            self.put(parent, FOLDER)
        self._changes[real] = entry
        self._note_child(real)
        if entry.kind == "file" and entry.origin is None:
            self._contents.pop(real, None)

    def remove(self, path: str) -> None:
        """Take away what is at ``path`` and everything below it."""
        real = self.locate(path, follow=False)
        item = self.item(real)
        if item is None or not real:
            return
        if item.kind == "dir":
            for name in self.names(f"/{real}"):
                self.remove(f"/{real}/{name}")
        self._changes[real] = None

    def change(self, path: str, **fields: int | bytes) -> bool:
        """Change ``mode``, ``uid``, ``gid`` or ``capability`` of what is at ``path``; False if that cannot be done."""
        real = self.locate(path)
        entry = self.entry(real)
        if entry is None:
            return False
        changed = msgspec.structs.replace(entry, **fields)
        if changed != entry:
            was_unknown = real in self._unknown
            self.put(real, changed)
            if was_unknown:
                self._unknown.add(real)
        return True

    def copy(self, source: str, target: str) -> bool:
        """Copy one file or link; False if what is there cannot be copied."""
        real = self.locate(source)
        entry = self.entry(real)
        if entry is None:
            return False
        self.put(target, entry)
        if real in self._unknown:
            self._unknown.add(self.locate(target, follow=False))
        return True

    def rename(self, source: str, target: str) -> bool:
        """Move a path and everything below it; False if something of it cannot be moved."""
        real, goal = self.locate(source, follow=False), self.locate(target, follow=False)
        entry = self.movable(real)
        if entry is None:
            return False
        moved = True
        self.put(goal, entry)
        if entry.kind == "dir":
            for name in self.names(f"/{real}"):
                moved = self.rename(f"/{real}/{name}", f"/{goal}/{name}") and moved
        if real in self._unknown:
            self._unknown.add(goal)
        self.remove(f"/{real}")
        return moved

    def update(self, entries: Mapping[str, RootEntry]) -> None:
        """Put many entries."""
        for path, entry in entries.items():
            self.put(path, entry)

    def add(self, entries: Mapping[str, RootEntry]) -> None:
        """Put those of the entries where scripts made nothing yet."""
        for path, entry in entries.items():
            if path not in self._changes:
                self.put(path, entry)

    def entries(self) -> Entries:
        """What the root has that packages and base do not: the content of a layer on top of them.

        Files whose content is not known are left out, they have been reported. Folders above what changed are in it
        where their mode or owner is not the usual one, because a layer names the folders of what it holds.
        """
        found: Entries = {}
        for path, entry in self._changes.items():
            if entry is None:
                if path in self._items and self._parent_stays(path):
                    found[path] = RootEntry("absent")
            elif path not in self._unknown and not self._is_shipped(path, entry):
                found[path] = entry
        for path in tuple(found):
            for folder in _parents(path):
                item = self.item(folder)
                if folder in found or item is None or item.kind != "dir":
                    continue
                if (item.mode & 0o7777, item.uid, item.gid) != (0o755, 0, 0):
                    found[folder] = RootEntry("dir", mode=item.mode, uid=item.uid, gid=item.gid)
        return found

    def _parent_stays(self, path: str) -> bool:
        parent = path.rpartition("/")[0]
        return not parent or self.item(parent) is not None

    def _is_shipped(self, path: str, entry: RootEntry) -> bool:
        """Whether a layer below has exactly this already."""
        item = self._items.get(path)
        if item is None or item.kind != entry.kind or entry.kind == "file":
            return False
        is_alike = (item.mode, item.uid, item.gid) == (entry.mode, entry.uid, entry.gid)
        return is_alike and item.target == entry.target


def _origin(facts: DebFacts, item: Listed) -> Origin:
    """Which file of the package has the content of ``item``."""
    return Origin(facts.record, item.target if item.kind == "hardlink" else item.shipped or item.path)


def _parents(path: str) -> Iterable[str]:
    parent = posixpath.dirname(path)
    while parent:
        yield parent
        parent = posixpath.dirname(parent)
