"""What lower layers provide: their root as the dynamic loader of a container would find it. Pure.

Where a library is looked for: the folders that the demanding file names, ``LD_LIBRARY_PATH``, ``/etc/ld.so.cache``,
the loader's own folders. Sources: ld.so(8); Debian's glibc for its folders; glibc, ``elf/dl-cache.c``, for the cache.
"""

from __future__ import annotations

import posixpath
import struct
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from layerforge.abi.elf import ElfFile
from layerforge.abi.survey import Surveyed

CACHE = "etc/ld.so.cache"
"""Where the loader's cache is, relative to the root."""

TOPIC = "provides-1"
"""The kind and revision of the notes that a store keeps of layers."""

_FOLDERS = {
    "x86_64": ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "lib64", "usr/lib64", "lib", "usr/lib"),
    "aarch64": ("lib/aarch64-linux-gnu", "usr/lib/aarch64-linux-gnu", "lib64", "usr/lib64", "lib", "usr/lib"),
}
_CACHE_MAGIC = b"glibc-ld.so.cache1.1"
_MOST_LINKS = 40


class Library(msgspec.Struct, frozen=True):
    """A library or program. ``symbols`` maps a version to the names that have it; see ``elf.Definitions``."""

    machine: str
    soname: str = ""
    needed: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()
    has_versions: bool = True
    symbols: dict[str, tuple[str, ...]] = {}


class Provides(msgspec.Struct, frozen=True):
    """One layer, as far as others may depend on it. It is kept as a note of the layer's digest."""

    libraries: dict[str, Library] = {}
    damaged: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    links: dict[str, str] = {}
    names: dict[str, str] = {}
    whiteouts: tuple[str, ...] = ()
    cache: dict[str, str] | None = None


def summarize_provides(seen: Surveyed) -> Provides:
    """What a layer that was surveyed provides."""
    return Provides(
        libraries={path: _summarize(elf) for path, elf in seen.elves.items()},
        damaged=tuple(seen.damaged),
        folders=tuple(seen.folders),
        files=tuple(seen.files),
        links=seen.links,
        names=seen.names,
        whiteouts=tuple(seen.whiteouts),
        cache=parse_cache(seen.texts[CACHE]) if CACHE in seen.texts else None,
    )


def _summarize(elf: ElfFile) -> Library:
    symbols: dict[str, list[str]] = {}
    for name, versions in elf.exports.items():
        for version in versions:
            symbols.setdefault(version, []).append(name)
    frozen = {version: tuple(names) for version, names in symbols.items()}
    return Library(elf.machine, elf.soname, elf.needed, elf.search, elf.versions, elf.has_versions, frozen)


def parse_cache(data: bytes) -> dict[str, str]:
    """Soname to path of an ``ld.so.cache`` in the format of glibc since 2.2; empty when it is none."""
    at = data.find(_CACHE_MAGIC)
    found: dict[str, str] = {}
    if at < 0 or len(data) < at + 48:
        return found
    (count,) = struct.unpack_from("<I", data, at + 20)
    for index in range(min(count, (len(data) - at - 48) // 24)):
        _, key, value = struct.unpack_from("<iII", data, at + 48 + 24 * index)
        name, path = (
            data[at + start : data.find(b"\0", at + start)].decode("utf-8", "replace") for start in (key, value)
        )
        found.setdefault(name, path)
    return found


class Foundation:
    """The root that ``layers`` make, bottom first; ``environment`` is the container's."""

    def __init__(self, layers: Sequence[Provides], environment: Iterable[str] = ()) -> None:
        self.libraries: dict[str, Library] = {}
        self.damaged: set[str] = set()
        self._nodes: dict[str, str | None] = {"": None}  # None: a folder; "": a file; else where a link leads
        self._cache: dict[str, str] = {}
        self._exports: dict[str, dict[str, frozenset[str]]] = {}
        self._exporters: dict[str, list[str]] | None = None
        variables = dict(item.partition("=")[::2] for item in environment)
        self._path = tuple(filter(None, variables.get("LD_LIBRARY_PATH", "").split(":")))
        for layer in layers:
            self._add(layer)

    # -- paths -----------------------------------------------------------------------------------------------

    def kind(self, path: str) -> str:
        """What is at ``path``: ``file``, ``folder``, ``link`` or empty. Links before its last part are followed."""
        folder, _, name = path.rpartition("/")
        real = self.resolve(folder)
        place = f"{real}/{name}".lstrip("/") if real is not None else "\0"
        if place not in self._nodes:
            return ""
        node = self._nodes[place]
        return "folder" if node is None else "link" if node else "file"

    def resolve(self, path: str) -> str | None:
        """Where ``path`` leads once every link is followed, relative to the root; None when there is nothing."""
        parts = [part for part in reversed(path.split("/")) if part]
        place: list[str] = []
        links = 0
        while parts:
            part = parts.pop()
            if part == "..":
                del place[-1:]
                continue
            if part == ".":
                continue
            name = "/".join((*place, part))
            if name not in self._nodes:
                return None
            node = self._nodes[name]
            if not node:
                place.append(part)
                continue
            links += 1
            if links > _MOST_LINKS:
                return None
            if node.startswith("/"):
                place.clear()
            parts.extend(piece for piece in reversed(node.split("/")) if piece)
        return "/".join(place)

    # -- libraries -------------------------------------------------------------------------------------------

    def find(self, name: str, machine: str, search: Iterable[str] = ()) -> str | None:
        """The path of the library that the loader takes for ``name`` (a soname, or a path with a slash), or None."""
        if "/" in name:
            return self._usable(name, machine)
        for folder in (*search, *self._path):
            if found := self._usable(f"{folder}/{name}", machine):
                return found
        if name in self._cache and (found := self._usable(self._cache[name], machine)):
            return found
        for folder in _FOLDERS.get(machine, ("lib", "usr/lib")):
            if found := self._usable(f"{folder}/{name}", machine):
                return found
        return None

    def close_over(self, paths: Iterable[str], missing: set[str] | None = None) -> tuple[str, ...]:
        """``paths`` of libraries and programs, with all that they need in turn. ``missing`` takes what is not found."""
        found: dict[str, None] = {}
        queue = list(paths)
        while queue:
            path = queue.pop(0)
            if path in found:
                continue
            found[path] = None
            library = self.libraries[path]
            origin = "/" + path.rpartition("/")[0]
            search = [folder.replace("${ORIGIN}", origin).replace("$ORIGIN", origin) for folder in library.search]
            for name in library.needed:
                place = self.find(name, library.machine, [posixpath.normpath(folder) for folder in search])
                if place is not None:
                    queue.append(place)
                elif missing is not None:
                    missing.add(name)
        return tuple(found)

    def exports(self, path: str) -> dict[str, frozenset[str]]:
        """The names that a library defines, with their versions."""
        if path not in self._exports:
            names: dict[str, list[str]] = {}
            for version, symbols in self.libraries[path].symbols.items():
                for name in symbols:
                    names.setdefault(name, []).append(version)
            self._exports[path] = {name: frozenset(versions) for name, versions in names.items()}
        return self._exports[path]

    def defines(self, path: str, name: str, version: str, library: str = "") -> bool:
        """Whether a reference to ``name`` with ``version`` (empty: without one) binds to the library at ``path``.

        ``library`` is the one that the version is asked of. Source: glibc, ``elf/dl-lookup.c``, ``check_match``: a
        library without a table of versions is taken, unless it is that one, for which an assertion fails.
        """
        found = self.exports(path).get(name)
        if found is None:
            return False
        if not version:
            return any(not label.startswith("~") for label in found)
        if not self.libraries[path].has_versions:
            return library != (self.libraries[path].soname or path.rpartition("/")[2])
        return version in found or f"~{version}" in found or "" in found

    def exporters(self, name: str, version: str) -> frozenset[str]:
        """The sonames of all libraries to which the reference would bind, wherever they are."""
        if self._exporters is None:
            self._exporters = {}
            for path, library in self.libraries.items():
                for symbols in library.symbols.values():
                    for symbol in symbols:
                        self._exporters.setdefault(symbol, []).append(path)
        paths = [path for path in self._exporters.get(name, ()) if self.defines(path, name, version)]
        return frozenset(self.libraries[path].soname or path for path in paths)

    def _usable(self, path: str, machine: str) -> str | None:
        real = self.resolve(path)
        library = self.libraries.get(real) if real is not None else None
        return real if library is not None and library.machine == machine else None

    # -- putting layers together -----------------------------------------------------------------------------

    def _add(self, layer: Provides) -> None:
        for path in layer.whiteouts:
            folder, _, name = path.rpartition("/")
            if name == ".wh..wh..opq":
                self._remove_below(folder)
            else:
                gone = f"{folder}/{name[4:]}".lstrip("/")
                self._remove_below(gone)
                self._remove(gone)
        for path in layer.folders:
            self._put(path, None)
        for path in layer.files:
            self._put(path, "")
        for path, target in layer.links.items():
            self._put(path, target)
        for path in layer.names:
            self._put(path, "")
        for path, library in layer.libraries.items():
            self.libraries[path] = library
        for path, target in layer.names.items():
            if target in self.libraries:
                self.libraries[path] = self.libraries[target]
        self.damaged |= set(layer.damaged)
        if layer.cache is not None:
            self._cache = layer.cache

    def _put(self, path: str, node: str | None) -> None:
        parent = path.rpartition("/")[0]
        if parent and self._nodes.get(parent, "") is not None:
            self._put(parent, None)
        if path in self._nodes:
            if self._nodes[path] is None:
                if node is None:
                    return
                self._remove_below(path)
            self._remove(path)
        self._nodes[path] = node

    def _remove(self, path: str) -> None:
        self._nodes.pop(path, None)
        self.libraries.pop(path, None)
        self.damaged.discard(path)

    def _remove_below(self, folder: str) -> None:
        for path in list(self._below(folder)):
            self._remove(path)

    def _below(self, folder: str) -> Iterator[str]:
        prefix = f"{folder}/" if folder else ""
        return (path for path in self._nodes if path.startswith(prefix) and path)
