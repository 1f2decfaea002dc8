"""What is at each path of a root, packages' files and what scripts made of them alike: the side that is read.

Paths are as scripts write them (absolute, through links) or relative to the root; they are resolved as the kernel
would.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from layerforge.shell.values import UNKNOWN
from layerforge.sources.debian.rootstate import DebFacts, Listed, Origin, RootBase, RootEntry

_LINKS = 40
"""How many symbolic links may lead to one path (MAXSYMLINKS)."""

FOLDER = RootEntry("dir", mode=0o755)
"""A folder as scripts make it."""


class Tree:
    """The paths of a root, at first those of ``base``. ``facts`` are the packages by name as dpkg records them."""

    def __init__(self, architecture: str, release: str = "", base: RootBase | None = None) -> None:
        self.architecture, self.release = architecture, release
        self.facts: dict[str, DebFacts] = {}
        self._base: Mapping[str, Listed] = base.paths if base else {}
        self._items: dict[str, Listed] = dict(self._base)
        self._contents: dict[str, bytes] = dict(base.contents) if base else {}
        self._origins: dict[str, Origin] = {}
        self._changes: dict[str, RootEntry | None] = {}
        self._unknown: set[str] = set()
        self._children: dict[str, set[str]] | None = None

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
        return self._items.get(path) or (FOLDER if not path else None)

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

    def movable(self, path: str) -> RootEntry | None:
        """As :meth:`entry`, with files of the base image whose content is not known here."""
        item = self.item(path)
        if isinstance(item, Listed) and item is self._base.get(path) and item.kind in ("file", "hardlink"):
            known = self.read(path)
            entry = RootEntry("file", content=known or b"", mode=item.mode, uid=item.uid, gid=item.gid)
            return entry if known is not None else msgspec.structs.replace(entry, origin=Origin("", path))
        return self.entry(path)
