"""The model of a root that maintainer scripts act on: what is at each path, as far as it is known.

It begins with the files of packages and of the base image, and remembers what scripts change. Paths are as scripts
write them (absolute, through links) or relative to the root; they are resolved as the kernel would.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from layerforge.shell.values import UNKNOWN
from layerforge.sources.debian.rootstate import DebFacts, Entries, Listed, Origin, RootBase, RootEntry

_LINKS = 40
"""How many symbolic links may lead to one path (MAXSYMLINKS)."""

_FOLDER = RootEntry("dir", mode=0o755)


class World:
    """A root: the packages in it, its paths, and what scripts made of them.

    ``facts`` are the packages by name as dpkg records them; one is part of the root after :meth:`unpack`.
    """

    def __init__(self, architecture: str, release: str = "", base: RootBase | None = None) -> None:
        self.architecture, self.release = architecture, release
        self.facts: dict[str, DebFacts] = {}
        self._items: dict[str, Listed] = dict(base.paths) if base else {}
        self._contents: dict[str, bytes] = dict(base.contents) if base else {}
        self._origins: dict[str, Origin] = {}
        self._changes: dict[str, RootEntry | None] = {}
        self._unknown: set[str] = set()
        self._children: dict[str, set[str]] | None = None

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
            if self._changes.get(path, _FOLDER) is None:
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

    # -- where things are

    def locate(self, path: str, *, follow: bool = True) -> str:
        """``path`` relative to the root, every link in it resolved (the last one only with ``follow``)."""
        waiting = [part for part in reversed(path.split("/")) if part and part != "."]
        found: list[str] = []
        links = 0
        while waiting:
            part = waiting.pop()
            if part == "..":
                if found:
                    found.pop()
                continue
            found.append(part)
            item = self.item("/".join(found))
            if item is not None and item.kind == "symlink" and (follow or waiting):
                links += 1
                if links > _LINKS:
                    break
                found.pop()
                if item.target.startswith("/"):
                    found.clear()
                waiting.extend(part for part in reversed(item.target.split("/")) if part and part != ".")
        return "/".join(found)

    def item(self, path: str) -> Listed | RootEntry | None:
        """What is at a resolved path."""
        if path in self._changes:
            return self._changes[path]
        return self._items.get(path) or (_FOLDER if not path else None)

    def at(self, path: str, *, follow: bool = True) -> Listed | RootEntry | None:
        """What is at any path."""
        return self.item(self.locate(path, follow=follow))

    def paths(self, below: str = "") -> Iterator[str]:
        """Every path of the root, or of those below a folder, relative to the root and sorted."""
        prefix = f"{below.strip('/')}/" if below.strip("/") else ""
        for path in sorted({*self._items, *self._changes}):
            if path.startswith(prefix) and self.item(path) is not None:
                yield path

    def names(self, folder: str) -> list[str]:
        """The names in a folder, sorted."""
        return sorted(
            name
            for name in self._index().get(self.locate(folder), ())
            if self.item(f"{self.locate(folder)}/{name}".lstrip("/")) is not None
        )

    def _index(self) -> dict[str, set[str]]:
        if self._children is None:
            self._children = {}
            for path in (*self._items, *self._changes):
                self._note_child(path)
        return self._children

    def _note_child(self, path: str) -> None:
        if self._children is not None:
            parent, _, name = path.rpartition("/")
            self._children.setdefault(parent, set()).add(name)

    def origin(self, path: str) -> Origin | None:
        """Which file of a package is at ``path``, where no script wrote another one."""
        real = self.locate(path)
        item = self.item(real)
        return item.origin if isinstance(item, RootEntry) else self._origins.get(real) if item is not None else None

    # -- the Files of a shell

    def kind(self, path: str, *, follow: bool = True) -> str | None:
        """``file``, ``dir``, ``symlink`` or nothing; None where the path is not known."""
        if UNKNOWN in path:
            return None
        item = self.at(path, follow=follow)
        if item is None:
            return ""
        return "file" if item.kind == "hardlink" else item.kind

    def size(self, path: str) -> int | None:
        """The size of a file in bytes, where it is known."""
        real = self.locate(path)
        if real in self._unknown:
            return None
        item = self.item(real)
        if isinstance(item, Listed):
            return item.size
        return len(item.content) if item is not None and item.origin is None else None

    def mode(self, path: str) -> int:
        """The permission bits of what is there."""
        item = self.at(path)
        return item.mode & 0o7777 if item is not None else 0

    def owner(self, path: str) -> tuple[int, int]:
        """User and group of what is there."""
        item = self.at(path)
        return (item.uid, item.gid) if item is not None else (0, 0)

    def target(self, path: str) -> str:
        """The text of a symbolic link; empty if it is none."""
        item = self.at(path, follow=False)
        return item.target if item is not None and item.kind == "symlink" else ""

    def real(self, path: str) -> str:
        """``path`` with every link resolved, absolute."""
        return f"/{self.locate(path)}"

    def read(self, path: str) -> bytes | None:
        """A file's content; None if there is no such file or its content is not known."""
        real = self.locate(path)
        item = self.item(real)
        if item is None or item.kind not in ("file", "hardlink") or real in self._unknown:
            return None
        if isinstance(item, RootEntry) and item.origin is None:
            return item.content
        return b"" if isinstance(item, Listed) and item.kind == "file" and not item.size else self._contents.get(real)

    def read_text(self, path: str) -> str | None:
        """A file's text; UNKNOWN if it is not known; None if there is no such file."""
        if UNKNOWN in path:
            return UNKNOWN
        kind = self.kind(path)
        if kind != "file":
            return None
        data = self.read(path)
        return UNKNOWN if data is None else data.decode("utf-8", "surrogateescape")

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
            self.put(parent, _FOLDER)
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

    def entry(self, path: str) -> RootEntry | None:
        """What is at a resolved path, as an entry that could be put elsewhere; None if nothing, or nothing known."""
        item = self.item(path)
        if isinstance(item, RootEntry) or item is None:
            return item
        if item.kind in ("dir", "symlink"):
            return RootEntry(item.kind, target=item.target, mode=item.mode, uid=item.uid, gid=item.gid)
        content = self.read(path)
        origin = self._origins.get(path) if content is None else None
        if content is None and origin is None:
            return None
        return RootEntry("file", content=content or b"", mode=item.mode, uid=item.uid, gid=item.gid, origin=origin)

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
        entry = self.entry(real)
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
        if (
            item is None
            or item.kind != entry.kind
            or (item.mode, item.uid, item.gid)
            != (
                entry.mode,
                entry.uid,
                entry.gid,
            )
        ):
            return False
        if entry.kind == "file":
            return False
        return item.target == entry.target


def _origin(facts: DebFacts, item: Listed) -> Origin:
    """Which file of the package has the content of ``item``."""
    return Origin(facts.record, item.target if item.kind == "hardlink" else item.shipped or item.path)


def _parents(path: str) -> Iterable[str]:
    parent = posixpath.dirname(path)
    while parent:
        yield parent
        parent = posixpath.dirname(parent)
