"""The root that the layers of a base image make together. Pure.

Source of the rules: OCI image specification 1.1, ``layer.md#applying-changesets``: what a layer takes away is taken
from the layers below it, before its own entries count.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from typing import TypeVar

import msgspec

from layerforge.sources.debian.rootstate import Listed

T = TypeVar("T")

_MOST_LINKS = 40


class BaseRoot:
    """``paths`` is everything by its path relative to the root, ``contents`` what was kept of files.

    ``versions`` are what programs say of themselves, ``layers`` the number of the layer that each path is from.
    """

    def __init__(self) -> None:
        self.paths: dict[str, Listed] = {}
        self.contents: dict[str, bytes] = {}
        self.versions: dict[str, str] = {}
        self.layers: dict[str, int] = {}

    def apply(
        self,
        number: int,
        entries: Iterable[Listed],
        whiteouts: Iterable[str],
        opaque: Iterable[str],
        contents: Mapping[str, bytes],
        versions: Mapping[str, str],
    ) -> None:
        """Put a layer on top."""
        for path in whiteouts:
            self._remove(self.place(path))
        for folder in opaque:
            self._empty(self.place(folder))
        for entry in entries:
            path = self.place(entry.path)
            known = self.paths.get(path)
            if known is not None and known.kind == "dir" and entry.kind != "dir":
                self._empty(path)
            self._forget(path)
            self.paths[path] = entry if path == entry.path else msgspec.structs.replace(entry, path=path)
            self.layers[path] = number
            source = self.place(entry.target) if entry.kind == "hardlink" else ""
            _keep(self.contents, contents, path, entry.path, source)
            _keep(self.versions, versions, path, entry.path, source)

    def resolve(self, path: str) -> str | None:
        """Where ``path`` leads when every link on the way is followed; None where there is nothing."""
        parts = [part for part in path.split("/") if part][::-1]
        done: list[str] = []
        for _ in range(_MOST_LINKS):
            while parts:
                part = parts.pop()
                if part == "..":
                    done = done[:-1]
                    continue
                if part == ".":
                    continue
                done.append(part)
                entry = self.paths.get("/".join(done))
                if entry is not None and entry.kind == "symlink":
                    done = [] if entry.target.startswith("/") else done[:-1]
                    parts += [part for part in entry.target.split("/") if part][::-1]
                    break
            else:
                found = "/".join(done)
                return found if found in self.paths or not found else None
        return None

    def read(self, path: str) -> bytes | None:
        """What was kept of the file that ``path`` leads to."""
        real = self.resolve(path)
        return self.contents.get(real) if real is not None else None

    def find(self, path: str) -> Listed | None:
        """The file or folder that ``path`` leads to."""
        real = self.resolve(path)
        return self.paths.get(real) if real is not None else None

    def place(self, path: str) -> str:
        """Where an entry lies whose topmost folder is a link to another one, as ``lib`` is in a usr-merged root."""
        top, slash, rest = path.partition("/")
        link = self.paths.get(top) if slash else None
        if link is None or link.kind != "symlink":
            return path
        return posixpath.normpath(posixpath.join("/", link.target, rest)).lstrip("/")

    def _remove(self, path: str) -> None:
        entry = self.paths.get(path)
        if entry is None or entry.kind == "dir":  # a folder that no layer lists may have something in it all the same
            self._empty(path)
        self._forget(path)

    def _empty(self, folder: str) -> None:
        inside = f"{folder}/" if folder else ""
        for path in [path for path in self.paths if path.startswith(inside)]:
            self._forget(path)

    def _forget(self, path: str) -> None:
        for known in (self.paths, self.contents, self.versions, self.layers):
            known.pop(path, None)


def _keep(known: dict[str, T], found: Mapping[str, T], path: str, listed: str, source: str) -> None:
    """What was found about the entry ``listed``, or is known of the file that it is another name of."""
    if listed in found:
        known[path] = found[listed]
    elif source in known:
        known[path] = known[source]
