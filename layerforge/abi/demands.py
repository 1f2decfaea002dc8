"""What an upper layer demands of what lies below it: a record that is a function of the layer's content. Pure.

The record travels as an annotation of the layer's Descriptor, so it is where the layer is: in the store's index of
keys, in a registry's manifest, in the cache of another machine. Files with the same surroundings (processor, loader,
libraries needed, folders searched) are one group, and a symbol names one of them as an example. What the layer
satisfies by itself, in a library that the demanding file finds through its own search path, is left out.
"""

from __future__ import annotations

import base64
import posixpath
import zlib
from collections.abc import Iterable

import deflate
import msgspec

from layerforge.abi.elf import ElfFile, Undefined
from layerforge.abi.survey import Surveyed
from layerforge.errors import ImageError
from layerforge.oci import decode, encode

ANNOTATION = "run.layerforge.abi"
"""On an upper layer's Descriptor: the record, as :func:`encode_demands` writes it."""

LARGEST = 192 << 10
"""The most bytes that a record may have as an annotation: registries refuse manifests of more than a few MiB."""

_REVISION = 1
_LEVEL = 9
_LARGEST_PLAIN = 64 << 20
_DEPTH = 5
_OWN = ("src/",)


class Needed(msgspec.Struct, frozen=True, array_like=True):
    """Symbols of one version of a library that ``file`` refers to; both are empty for symbols without a version."""

    file: str
    library: str
    version: str
    symbols: tuple[str, ...]


class Group(msgspec.Struct, frozen=True, omit_defaults=True):
    """Files with the same surroundings. ``example`` is one of them.

    ``libraries`` are what they need and the layer does not provide, ``search`` the folders that they look in first.
    ``interpreter`` is the loader of programs, empty for libraries. ``versions`` are (library, version, file).
    """

    machine: str
    example: str
    libraries: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    interpreter: str = ""
    versions: tuple[tuple[str, str, str], ...] = ()
    symbols: tuple[Needed, ...] = ()


class Demands(msgspec.Struct, frozen=True, omit_defaults=True):
    """The record of one layer.

    ``own`` are its shared libraries: path to soname. ``folders`` and ``files`` are where it puts things, not deeper
    than a few levels. ``unknown`` are the files of which nothing could be read, with the reason; ``whiteouts`` are what
    it removes.
    """

    revision: int = _REVISION
    groups: tuple[Group, ...] = ()
    own: dict[str, str] = {}
    folders: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    whiteouts: tuple[str, ...] = ()
    unknown: dict[str, str] = {}


def summarize_demands(seen: Surveyed) -> Demands:
    """The record of a layer that was surveyed."""
    own = _Own(seen)
    groups: dict[tuple[object, ...], _Grouping] = {}
    for path in sorted(seen.elves):
        elf = seen.elves[path]
        if not elf.needed and not elf.undefined and not elf.interpreter:
            continue
        inside, outside = own.reach(path)
        search = tuple(folder for folder in _search_folders(path, elf) if folder not in own.folders)
        unmet = search if outside else ()
        key = (elf.machine, elf.interpreter, tuple(sorted(outside)), unmet)
        groups.setdefault(key, _Grouping(path)).add(path, elf, [seen.elves[name] for name in inside])
    return Demands(
        groups=tuple(
            grouping.finish(machine=key[0], interpreter=key[1], libraries=key[2], search=key[3])
            for key, grouping in sorted(groups.items(), key=lambda item: item[1].example)
        ),
        own=dict(sorted(own.sonames.items())),
        folders=tuple(sorted({_cut(path) for path in _all_folders(seen)})),
        files=tuple(sorted(path for path in (*seen.files, *seen.links, *seen.names) if _cut(path) == path)),
        whiteouts=tuple(sorted(seen.whiteouts)),
        unknown=dict(sorted(seen.damaged.items())),
    )


def encode_demands(demands: Demands) -> str:
    """The record as an annotation. One that would be too large says only that nothing is known."""
    text = _pack(demands)
    if len(text) <= LARGEST:
        return text
    reason = f"its demands take {len(text):,} bytes"
    return _pack(Demands(folders=demands.folders[:64], whiteouts=demands.whiteouts[:64], unknown={"": reason}))


def decode_demands(text: str) -> Demands:
    """The record in an annotation.

    Raises:
        ImageError: damaged, or of a later revision.
    """
    try:
        packed = base64.b64decode(text, validate=True)
        inflater = zlib.decompressobj(wbits=-15)
        data = inflater.decompress(packed, _LARGEST_PLAIN)
        if not inflater.eof or inflater.unconsumed_tail or inflater.unused_data:
            raise ValueError("its end is missing")
    except (ValueError, zlib.error) as error:
        raise ImageError(f"the record of a layer's demands is damaged: {error}") from error
    demands = decode(data, Demands, what="the record of a layer's demands")
    if demands.revision != _REVISION:
        raise ImageError(f"the record of a layer's demands has revision {demands.revision}; {_REVISION} is known here")
    return demands


def _pack(demands: Demands) -> str:
    return base64.b64encode(deflate.deflate_compress(encode(demands), _LEVEL)).decode()


def _all_folders(seen: Surveyed) -> Iterable[str]:
    yield from seen.folders
    for path in (*seen.files, *seen.links, *seen.names):
        if "/" in path:
            yield path.rpartition("/")[0]


def _cut(path: str) -> str:
    """The first folders of ``path``, as many as may collide with what another image has."""
    depth = 2 if path.startswith(_OWN) else _DEPTH
    return "/".join(path.split("/")[:depth])


def _search_folders(path: str, elf: ElfFile) -> tuple[str, ...]:
    """DT_RPATH or DT_RUNPATH relative to the root, with ``$ORIGIN`` replaced by the folder of ``path``."""
    origin = "/" + path.rpartition("/")[0]
    folders = []
    for folder in elf.search:
        expanded = folder.replace("${ORIGIN}", origin).replace("$ORIGIN", origin)
        if expanded.startswith("/") and "$" not in expanded:
            folders.append(posixpath.normpath(expanded).strip("/"))
    return tuple(dict.fromkeys(folders))


class _Own:
    """The layer's own libraries, and which of them a file finds by its search path."""

    def __init__(self, seen: Surveyed) -> None:
        self._seen = seen
        self._places = {**{path: path for path in seen.elves}, **self._resolve_links()}
        self.sonames = {
            path: elf.soname or path.rpartition("/")[2]
            for path, elf in seen.elves.items()
            if not elf.interpreter and (elf.soname or ".so" in path.rpartition("/")[2])
        }
        self.sonames |= {
            place: place.rpartition("/")[2]
            for place, path in self._places.items()
            if path != place and path in self.sonames
        }
        self.folders = {path.rpartition("/")[0] for path in self._places}

    def _resolve_links(self) -> dict[str, str]:
        """Links of the layer that lead to an ELF file of the layer."""
        seen, found = self._seen, {}
        for link in (*seen.links, *seen.names):
            path = link
            for _ in range(8):
                if path in seen.elves:
                    found[link] = path
                    break
                if path in seen.names:
                    path = seen.names[path]
                elif path in seen.links:
                    folder = "/" + path.rpartition("/")[0]
                    path = posixpath.normpath(posixpath.join(folder, seen.links[path])).lstrip("/")
                else:
                    break
        return found

    def reach(self, path: str) -> tuple[set[str], set[str]]:
        """The layer's own files that come along when ``path`` is loaded, and the libraries that must come from outside.

        A DT_RPATH holds for what is loaded in turn too, a DT_RUNPATH does not; taking the folders of each file only is
        the stricter reading.
        """
        inside: set[str] = set()
        outside: set[str] = set()
        queue = [path]
        while queue:
            current = queue.pop()
            elf = self._seen.elves[current]
            folders = _search_folders(current, elf)
            for library in (*elf.needed, *(required.library for required in elf.required)):
                place = next((p for p in (f"{folder}/{library}" for folder in folders) if p in self._places), None)
                if place is None:
                    outside.add(library)
                elif (found := self._places[place]) not in inside and found != path:
                    inside.add(found)
                    queue.append(found)
        return inside, outside


class _Grouping:
    def __init__(self, example: str) -> None:
        self.example = example
        self._versions: dict[tuple[str, str], str] = {}
        self._strong: dict[tuple[str, str, str], str] = {}

    def add(self, path: str, elf: ElfFile, inside: list[ElfFile]) -> None:
        own = {library.soname for library in inside}
        for required in elf.required:
            if not required.weak and required.library not in own:
                self._versions.setdefault((required.library, required.version), path)
        defined = [(library.exports, library.has_versions) for library in inside]
        for symbol in elf.undefined:
            key = symbol.library, symbol.version, symbol.name
            if symbol.weak or key in self._strong:
                continue
            if not any(_defines(exports, versioned, symbol) for exports, versioned in defined):
                self._strong[key] = path

    def finish(self, *, machine: object, interpreter: object, libraries: object, search: object) -> Group:
        symbols: dict[tuple[str, str, str], list[str]] = {}
        for (library, version, name), path in self._strong.items():
            symbols.setdefault((path, library, version), []).append(name)
        return msgspec.convert(
            {
                "machine": machine,
                "example": self.example,
                "libraries": libraries,
                "search": search,
                "interpreter": interpreter,
                "versions": [(library, version, path) for (library, version), path in sorted(self._versions.items())],
                "symbols": [(*key, sorted(names)) for key, names in sorted(symbols.items())],
            },
            Group,
        )


def _defines(exports: dict[str, tuple[str, ...]], versioned: bool, symbol: Undefined) -> bool:
    found = exports.get(symbol.name)
    return found is not None and (not symbol.version or symbol.version in found or not versioned)
