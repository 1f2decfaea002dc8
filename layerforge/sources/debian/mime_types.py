"""What packages say about MIME types (``/usr/share/mime/packages/*.xml``), gathered from all of them.

Format: the Shared MIME-info specification (freedesktop.org), section 2.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Mapping

import msgspec

from layerforge.errors import LayerError

FOLDER = "usr/share/mime/packages/"

_SPACE = "{http://www.freedesktop.org/standards/shared-mime-info}"
_ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{1,2})|([0-7]{1,3})|(.))", re.DOTALL)
_CHARACTERS = {b"n": b"\n", b"r": b"\r", b"b": b"\b", b"t": b"\t", b"f": b"\f", b"v": b"\v"}
_DEFAULT = 50

NO_GLOBS = "__NOGLOBS__"
NO_MAGIC = b"__NOMAGIC__"
"""What stands for "forget what was said before" in the generated files."""


class Glob(msgspec.Struct, frozen=True):
    """A pattern of file names that means ``type``."""

    pattern: str
    type: str
    weight: int = _DEFAULT
    is_cased: bool = False


class Match(msgspec.Struct, frozen=True):
    """Bytes to look for at ``length`` places from ``start`` on; ``word`` is the size of what is swapped, in bytes."""

    start: int
    length: int
    word: int
    data: bytes
    mask: bytes = b""
    children: tuple[Match, ...] = ()


class Magic(msgspec.Struct, frozen=True):
    """Contents that mean ``type``."""

    priority: int
    type: str
    matches: tuple[Match, ...]
    forgets: bool = False


class TreeMatch(msgspec.Struct, frozen=True):
    """A path to look for on a volume; ``conditions`` as the generated file lists them."""

    path: str
    conditions: tuple[str, ...]
    children: tuple[TreeMatch, ...] = ()


class MimeDatabase(msgspec.Struct):
    """All of it. ``globs`` are those of each pattern in order; ``namespaces`` has keys ``URI localName``."""

    types: set[str] = msgspec.field(default_factory=set)
    globs: dict[str, list[Glob]] = msgspec.field(default_factory=dict)
    aliases: dict[str, str] = msgspec.field(default_factory=dict)
    parents: dict[str, list[str]] = msgspec.field(default_factory=dict)
    namespaces: dict[str, str] = msgspec.field(default_factory=dict)
    icons: dict[str, str] = msgspec.field(default_factory=dict)
    generic_icons: dict[str, str] = msgspec.field(default_factory=dict)
    magic: list[Magic] = msgspec.field(default_factory=list)
    tree_magic: list[tuple[int, str, tuple[TreeMatch, ...]]] = msgspec.field(default_factory=list)


def read_types(files: Mapping[str, bytes]) -> MimeDatabase:
    """What the XML files of :data:`FOLDER` among ``files`` say, in the order in which they are read.

    Raises:
        LayerError: a file is not XML, or says something that makes no sense.
    """
    found = MimeDatabase()
    names = [path for path in files if path.startswith(FOLDER) and path.endswith(".xml")]
    for path in sorted(names, key=lambda path: (path == f"{FOLDER}Override.xml", path)):
        try:
            for element in ElementTree.fromstring(files[path]).iter(f"{_SPACE}mime-type"):
                _read_type(element, found)
        except (ElementTree.ParseError, KeyError, ValueError) as error:
            raise LayerError(f"a damaged list of MIME types: {error}", where=path) from error
    found.magic.sort(key=lambda magic: (not magic.forgets, -magic.priority, magic.type.split("/")))
    found.tree_magic.sort(key=lambda rule: (-rule[0], rule[1].split("/")))
    return found


def _read_type(element: ElementTree.Element, found: MimeDatabase) -> None:
    name = element.attrib["type"]
    found.types.add(name)
    for child in element:
        get = child.attrib.get
        match child.tag.removeprefix(_SPACE):
            case "glob":
                is_cased = get("case-sensitive") == "true"
                pattern = child.attrib["pattern"] if is_cased else _lower(child.attrib["pattern"])
                glob = Glob(pattern, name, int(get("weight", _DEFAULT)), is_cased)
                found.globs.setdefault(pattern, []).append(glob)
            case "glob-deleteall":
                found.globs.setdefault(NO_GLOBS, []).append(Glob(NO_GLOBS, name, 0))
            case "magic":
                found.magic.append(Magic(int(get("priority", _DEFAULT)), name, _read_matches(child)))
            case "magic-deleteall":
                found.magic.append(Magic(0, name, (Match(0, 1, 1, NO_MAGIC),), forgets=True))
            case "treemagic":
                found.tree_magic.append((int(get("priority", _DEFAULT)), name, _read_tree(child)))
            case "alias":
                found.aliases[child.attrib["type"]] = name
            case "sub-class-of":
                found.parents.setdefault(name, []).append(child.attrib["type"])
            case "root-XML":
                found.namespaces[f"{get('namespaceURI', '')} {get('localName', '')}"] = name
            case "icon":
                found.icons[name] = child.attrib["name"]
            case "generic-icon":
                found.generic_icons[name] = child.attrib["name"]


def _lower(text: str) -> str:
    return "".join(char.lower() if char.isascii() else char for char in text)


def _read_matches(parent: Iterable[ElementTree.Element]) -> tuple[Match, ...]:
    matches = []
    for element in parent:
        first, _, last = element.attrib["offset"].partition(":")
        kind, value, mask = element.attrib["type"], element.attrib["value"], element.attrib.get("mask", "")
        data = _read_value(kind, value)
        matches.append(
            Match(
                start=int(first),
                length=int(last) - int(first) + 1 if last else 1,
                word={"host16": 2, "host32": 4}.get(kind, 1),
                data=data,
                mask=_read_mask(kind, mask, len(data)) if mask else b"",
                children=_read_matches(element),
            )
        )
    return tuple(matches)


def _read_value(kind: str, text: str) -> bytes:
    if kind == "string":
        return _ESCAPE.sub(_unescape, text.encode())
    size = {"16": 2, "32": 4}.get(kind[-2:], 1)
    is_octal = text.startswith("0") and text.isdigit()
    value = int(text, 8 if is_octal else 0)
    return value.to_bytes(size, "little" if kind.startswith("l") or size == 1 else "big")


def _unescape(match: re.Match[bytes]) -> bytes:
    if match[1]:
        return bytes((int(match[1], 16),))
    if match[2]:
        return bytes((int(match[2], 8) & 0xFF,))
    return _CHARACTERS.get(match[3], match[3])


def _read_mask(kind: str, text: str, size: int) -> bytes:
    if kind != "string":
        return _read_value(kind, text)
    digits = text.removeprefix("0x")
    return bytes.fromhex(digits.ljust(size * 2, "0"))


def _read_tree(parent: Iterable[ElementTree.Element]) -> tuple[TreeMatch, ...]:
    matches = []
    for element in parent:
        flags = [name for name in ("match-case", "executable", "non-empty") if element.attrib.get(name) == "true"]
        kind = [element.attrib.get("mimetype")] if "mimetype" in element.attrib else []
        conditions = (element.attrib.get("type", "any"), *flags, *(text for text in kind if text))
        matches.append(TreeMatch(element.attrib["path"], conditions, _read_tree(element)))
    return tuple(matches)
