"""GVariant: GLib's typed values, read from their text form and written in their binary one (little-endian).

Formats: GLib's documentation, "GVariant Text Format"; the GVariant specification, chapter 2 (serialisation).
"""

from __future__ import annotations

import re
import struct
from typing import Any

_FIXED = {"b": "<B", "y": "<B", "n": "<h", "q": "<H", "i": "<i", "u": "<I", "h": "<i", "x": "<q", "t": "<Q", "d": "<d"}
_KEYWORDS = {
    "boolean": "b",
    "byte": "y",
    "int16": "n",
    "uint16": "q",
    "int32": "i",
    "uint32": "u",
    "handle": "h",
    "int64": "x",
    "uint64": "t",
    "double": "d",
    "string": "s",
    "objectpath": "o",
    "signature": "g",
}
_TOKEN = re.compile(
    r"\s*(?:(?P<string>'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")|(?P<type>@[a-z(){}*?]+)"
    r"|(?P<number>[-+]?(?:0[xX][0-9a-fA-F]+|inf|nan|\d*\.?\d+(?:[eE][-+]?\d+)?\.?))"
    r"|(?P<word>[a-z]+[0-9]*)|(?P<mark>[\[\](){}<>:,]))",
    re.DOTALL,
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "a": "\a", "\n": ""}


class Variant:
    """A value inside a value of type ``v``: its type, and what it is."""

    def __init__(self, kind: str, value: Any) -> None:
        self.kind, self.value = kind, value


def split_type(kind: str) -> list[str]:
    """The complete types that follow one another in ``kind``: ``a(si)b`` gives two."""
    found = []
    while kind:
        end = _type_end(kind, 0)
        found.append(kind[:end])
        kind = kind[end:]
    return found


def _type_end(kind: str, start: int) -> int:
    while kind[start] in "am":
        start += 1
    if kind[start] not in "({":
        return start + 1
    depth = 0
    for place in range(start, len(kind)):
        depth += (kind[place] in "({") - (kind[place] in ")}")
        if depth == 0:
            return place + 1
    raise ValueError(f"the type {kind!r} is not closed")


# -- text ---------------------------------------------------------------------------------------------------------


def parse_variant(text: str, kind: str) -> Any:
    """The value of type ``kind`` that ``text`` says: bool, number, str, list (array), tuple, dict, None or Variant.

    Raises:
        ValueError: it says no such value.
    """
    reader = _Reader(text)
    value = reader.read(kind)
    if reader.peek() != ("", ""):
        raise ValueError(f"{text!r} goes on after its value")
    return value


class _Reader:
    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        place, end = 0, len(text.rstrip())
        while place < end:
            match = _TOKEN.match(text, place)
            if match is None:
                raise ValueError(f"{text!r} is no value")
            self._tokens.append((match.lastgroup or "", match[match.lastgroup or 0]))
            place = match.end()
        self._tokens.reverse()

    def peek(self) -> tuple[str, str]:
        return self._tokens[-1] if self._tokens else ("", "")

    def next(self) -> tuple[str, str]:
        if not self._tokens:
            raise ValueError("the value is cut off")
        return self._tokens.pop()

    def _take(self, mark: str) -> bool:
        if self.peek() == ("mark", mark):
            self._tokens.pop()
            return True
        return False

    def _expect(self, mark: str) -> None:
        if not self._take(mark):
            raise ValueError(f"{mark!r} expected, found {self.peek()[1]!r}")

    def read(self, kind: str) -> Any:
        """A value of type ``kind``."""
        self._skip_prefix(kind)
        if kind[0] == "m":
            if self.peek() == ("word", "nothing"):
                self.next()
                return None
            if self.peek() == ("word", "just"):
                self.next()
            return (self.read(kind[1:]),)
        if kind.startswith("a{"):
            return self._read_dictionary(split_type(kind[2:-1]))
        if kind[0] == "a":
            return self._read_row("[", "]", lambda _: kind[1:])
        if kind[0] == "(":
            members = split_type(kind[1:-1])
            row = self._read_row("(", ")", members.__getitem__)
            if len(row) != len(members):
                raise ValueError(f"a tuple of {len(row)} for {kind}")
            return tuple(row)
        if kind == "v":
            self._expect("<")
            inner = self._guess()
            value = Variant(inner, self.read(inner))
            self._expect(">")
            return value
        return self._read_basic(kind)

    def _skip_prefix(self, kind: str) -> None:
        group, text = self.peek()
        if (group == "type" and text[1:] == kind) or (group == "word" and _KEYWORDS.get(text) == kind):
            self.next()

    def _read_dictionary(self, kinds: list[str]) -> dict[Any, Any]:
        found = {}
        self._expect("{")
        while not self._take("}"):
            key = self.read(kinds[0])
            self._expect(":")
            found[key] = self.read(kinds[1])
            if not self._take(","):
                self._expect("}")
                break
        return found

    def _read_row(self, first: str, last: str, kind_of: Any) -> list[Any]:
        found: list[Any] = []
        self._expect(first)
        while not self._take(last):
            try:
                kind = kind_of(len(found))
            except IndexError as error:
                raise ValueError("a tuple with too many members") from error
            found.append(self.read(kind))
            if not self._take(","):
                self._expect(last)
                break
        return found

    def _read_basic(self, kind: str) -> Any:
        group, text = self.next()
        if kind in "sog" and group == "string":
            return re.sub(r"\\(u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", _unescape, text[1:-1], flags=re.DOTALL)
        if kind == "b" and text in ("true", "false"):
            return text == "true"
        if kind == "d" and (group == "number" or text in ("inf", "nan")):
            return float(text)
        if kind in _FIXED and kind not in "bd" and group == "number":
            is_octal = text.lstrip("+-").isdigit() and text.lstrip("+-").startswith("0")
            return int(text, 8 if is_octal else 0)
        raise ValueError(f"{text!r} is no value of type {kind}")

    def _guess(self) -> str:
        """The type of what comes next, where nothing else says it."""
        group, text = self.peek()
        if group == "type":
            return text[1:]
        if group == "word" and text in _KEYWORDS:
            return _KEYWORDS[text]
        if group == "number":
            return "d" if "." in text or ("e" in text.lower() and not text.lower().startswith("0x")) else "i"
        kinds = {"string": "s", "mark": {"<": "v"}.get(text, ""), "word": "b" if text in ("true", "false") else ""}
        if not kinds.get(group):
            raise ValueError(f"the type of {text!r} is not said")
        return kinds[group]


def _unescape(match: re.Match[str]) -> str:
    text = match[1]
    return chr(int(text[1:], 16)) if text[0] in "uU" and len(text) > 1 else _ESCAPES.get(text, text)


# -- bytes --------------------------------------------------------------------------------------------------------


def alignment(kind: str) -> int:
    """The number of bytes on whose multiple a value of this type begins."""
    if kind[0] in "am":
        return alignment(kind[1:])
    if kind[0] in "({":
        return max((alignment(member) for member in split_type(kind[1:-1])), default=1)
    return 8 if kind == "v" else struct.calcsize(_FIXED[kind]) if kind in _FIXED else 1


def fixed_size(kind: str) -> int:
    """The size in bytes of every value of this type; 0 where sizes differ."""
    if kind[0] in "({":
        size = 0
        for member in split_type(kind[1:-1]):
            if not fixed_size(member):
                return 0
            size = _align(size, alignment(member)) + fixed_size(member)
        return _align(size, alignment(kind)) or 1
    return struct.calcsize(_FIXED[kind]) if kind in _FIXED else 0


def encode_variant(value: Any, kind: str) -> bytes:
    """``value``, as :func:`parse_variant` gives it, of type ``kind``."""
    if kind in _FIXED:
        try:
            return struct.pack(_FIXED[kind], value)
        except struct.error as error:
            raise ValueError(f"{value} does not fit into type {kind}") from error
    if kind in ("s", "o", "g"):
        return str(value).encode() + b"\0"
    if kind == "v":
        return b"".join((encode_variant(value.value, value.kind), b"\0", value.kind.encode()))
    if kind[0] == "m":
        if value is None:
            return b""
        return encode_variant(value[0], kind[1:]) + (b"" if fixed_size(kind[1:]) else b"\0")
    if kind[0] == "a":
        items = list(value.items()) if isinstance(value, dict) else value
        return _encode_row([(item, kind[1:]) for item in items], is_array=True)
    return _encode_row(list(zip(value, split_type(kind[1:-1]), strict=True)), is_array=False, kind=kind)


def _encode_row(members: list[tuple[Any, str]], *, is_array: bool, kind: str = "") -> bytes:
    """Members one after another, then where those end whose type does not say it: an array's in order, others' not."""
    body = bytearray()
    ends: list[int] = []
    for number, (value, member) in enumerate(members):
        body += bytes(-len(body) % alignment(member)) + encode_variant(value, member)
        if not fixed_size(member) and (is_array or number < len(members) - 1):
            ends.append(len(body))
    if kind and fixed_size(kind):
        return bytes(body.ljust(fixed_size(kind), b"\0"))
    size = next(size for size in (1, 2, 4, 8) if len(body) + size * len(ends) < 1 << (8 * size))
    return bytes(body) + b"".join(end.to_bytes(size, "little") for end in (ends if is_array else reversed(ends)))


def _align(size: int, to: int) -> int:
    return size + -size % to
