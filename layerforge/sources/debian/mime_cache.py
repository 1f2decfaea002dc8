"""``mime.cache``: all MIME types in one file that programs map into memory.

Format: the Shared MIME-info specification, section "The mime.cache files", version 1.2. Numbers are big-endian,
offsets count from the beginning of the file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from layerforge.sources.debian.mime_types import Glob, Match, MimeDatabase

_VERSION = (1, 2)
_HEADER = struct.Struct(">HH10I")
_CASED = 0x100

_Tree = dict[str, "_Tree | Glob"]


class _Buffer:
    """Sections of the file as they are written, and where each string is."""

    def __init__(self) -> None:
        self.data = bytearray(_HEADER.size)
        self._strings: dict[str, int] = {}

    def intern(self, texts: Iterable[str]) -> None:
        for text in sorted(set(texts)):
            self._strings[text] = len(self.data)
            self.data += text.encode() + b"\0"
            self.data += bytes(-len(self.data) % 4)

    def at(self, text: str) -> int:
        return self._strings[text]

    def write(self, *numbers: int) -> None:
        self.data += struct.pack(f">{len(numbers)}I", *numbers)


def encode_cache(database: MimeDatabase) -> bytes:
    """The file for ``database``."""
    buffer = _Buffer()
    buffer.intern(_strings(database))
    starts: list[int] = []

    def begin() -> None:
        starts.append(len(buffer.data))

    begin()
    _write_pairs(buffer, database.aliases)
    begin()
    _write_parents(buffer, database)
    globs = [glob for pattern in sorted(database.globs, key=str.encode) for glob in database.globs[pattern]]
    begin()
    _write_globs(buffer, [glob for glob in globs if _kind(glob.pattern) == "literal"])
    begin()
    _write_suffixes(buffer, [glob for glob in globs if _kind(glob.pattern) == "suffix"])
    begin()
    _write_globs(buffer, [glob for glob in globs if _kind(glob.pattern) == "full"])
    begin()
    _write_magic(buffer, database)
    begin()
    _write_namespaces(buffer, database)
    begin()
    _write_pairs(buffer, database.icons)
    begin()
    _write_pairs(buffer, database.generic_icons)
    begin()
    names = sorted(database.types, key=str.encode)
    buffer.write(len(names), *map(buffer.at, names))
    _HEADER.pack_into(buffer.data, 0, *_VERSION, *starts)
    return bytes(buffer.data)


def _strings(database: MimeDatabase) -> Iterable[str]:
    yield from database.types
    for pairs in (database.aliases, database.icons, database.generic_icons, database.namespaces):
        for key, value in pairs.items():
            yield from key.split(" ", 1) if pairs is database.namespaces else (key,)
            yield value
    for name, parents in database.parents.items():
        yield from (name, *parents)
    for pattern in database.globs:
        yield from (pattern,) if _kind(pattern) != "suffix" else ()


def _kind(pattern: str) -> str:
    rest = pattern.removeprefix("*")
    if any(char in rest for char in "\\[?*"):
        return "full"
    return "literal" if rest == pattern else "suffix"


def _write_pairs(buffer: _Buffer, pairs: dict[str, str]) -> None:
    buffer.write(len(pairs))
    for key in sorted(pairs, key=str.encode):
        buffer.write(buffer.at(key), buffer.at(pairs[key]))


def _write_parents(buffer: _Buffer, database: MimeDatabase) -> None:
    names = sorted(database.parents, key=str.encode)
    place = len(buffer.data) + 4 + 8 * len(names)
    buffer.write(len(names))
    for name in names:
        buffer.write(buffer.at(name), place)
        place += 4 + 4 * len(database.parents[name])
    for name in names:
        parents = database.parents[name]
        buffer.write(len(parents), *map(buffer.at, parents))


def _flags(glob: Glob) -> int:
    return glob.weight & 0xFF | (_CASED if glob.is_cased else 0)


def _write_globs(buffer: _Buffer, globs: list[Glob]) -> None:
    buffer.write(len(globs))
    for glob in globs:
        buffer.write(buffer.at(glob.pattern), buffer.at(glob.type), _flags(glob))


def _write_suffixes(buffer: _Buffer, globs: list[Glob]) -> None:
    """A tree of the patterns read from their ends, one level after the other; a leaf has the character 0."""
    tree: _Tree = {}
    for glob in globs:
        node = tree
        for char in reversed(glob.pattern[1:]):
            child = node.setdefault(char, {})
            assert isinstance(child, dict)
            node = child
        leaf = f"\0{glob.type}"
        known = node.get(leaf)
        if not isinstance(known, Glob) or known.weight < glob.weight:
            node[leaf] = glob if not isinstance(known, Glob) else Glob(known.pattern, known.type, glob.weight)
    buffer.write(len(tree), len(buffer.data) + 8)
    level = [tree]
    while level:
        place = len(buffer.data) + 12 * sum(map(len, level))
        below: list[_Tree] = []
        for node in level:
            for char, child in _ordered(node):
                if isinstance(child, Glob):
                    buffer.write(0, buffer.at(child.type), _flags(child))
                else:
                    buffer.write(ord(char), len(child), place)
                    place += 12 * len(child)
                    below.append(child)
        level = below


def _ordered(node: _Tree) -> list[tuple[str, _Tree | Glob]]:
    """Leaves first, as they came; then by character."""
    leaves = [(char, child) for char, child in node.items() if isinstance(child, Glob)]
    return leaves + sorted((char, child) for char, child in node.items() if not isinstance(child, Glob))


def _write_magic(buffer: _Buffer, database: MimeDatabase) -> None:
    matches: list[Match] = []
    places: dict[int, int] = {}

    def collect(siblings: tuple[Match, ...]) -> None:
        if siblings:
            places[id(siblings)] = len(matches)
            matches.extend(siblings)
            for match in siblings:
                collect(match.children)

    for magic in database.magic:
        collect(magic.matches)
    extent = max((len(match.data) + match.start + match.length for match in matches), default=0)
    start = len(buffer.data) + 12
    first = start + 16 * len(database.magic)
    buffer.write(len(database.magic), extent, start)
    for magic in database.magic:
        where = first + 32 * places[id(magic.matches)]
        buffer.write(magic.priority, buffer.at(magic.type), len(magic.matches), where)
    place = first + 32 * len(matches)
    content = bytearray()
    for match in matches:
        numbers = [match.start, match.length, match.word, len(match.data), place + len(content)]
        content += match.data + bytes(-len(match.data) % 4)
        numbers.append(place + len(content) if match.mask else 0)
        content += match.mask + bytes(-len(match.mask) % 4)
        below = first + 32 * places[id(match.children)] if match.children else 0
        buffer.write(*numbers, len(match.children), below)
    buffer.data += content


def _write_namespaces(buffer: _Buffer, database: MimeDatabase) -> None:
    buffer.write(len(database.namespaces))
    for key in sorted(database.namespaces, key=str.encode):
        space, _, name = key.partition(" ")
        buffer.write(buffer.at(space), buffer.at(name), buffer.at(database.namespaces[key]))
