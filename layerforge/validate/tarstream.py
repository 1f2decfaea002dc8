"""A strict reader of tar headers: bytes go in as they come, entries and problems come out.

Python's ``tarfile`` is made to get something out of any archive; here every doubt is a problem. Sources: POSIX.1-2017,
pax; the GNU tar manual, "Basic Tar Format" (long names and large numbers, which other builders write).
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

_BLOCK = 512
_EXTENSIONS = {"x": "pax header", "g": "global pax header", "L": "long name", "K": "long link"}
_LARGEST_EXTENSION = 1 << 20
_ZEROS = bytes(_BLOCK)


class Entry(msgspec.Struct, frozen=True):
    """One member. ``kind`` is the type flag, ``0`` for regular files; ``size`` is in bytes."""

    path: str
    kind: str
    size: int
    mode: int
    target: str


class TarError(Exception):
    """The stream is no tar archive from here on."""


class TarStream:
    """Feed it the archive; ``found`` is called with each Entry and ``doubt`` with each (path, problem)."""

    def __init__(self, found: Callable[[Entry], None], doubt: Callable[[str, str], None]) -> None:
        self._found = found
        self._doubt = doubt
        self._buffer = bytearray()
        self._skip = 0  # bytes of content and padding to pass over
        self._keep = 0  # bytes of an extension to collect, with its padding
        self._extension = ("", 0)
        self._pax: dict[str, str] = {}
        self._zeros = 0
        self._offset = 0

    def feed(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            TarError: they cannot be part of a tar archive.
        """
        view = memoryview(data)
        while view:
            if self._skip:
                passed = min(self._skip, len(view))
                self._skip -= passed
            else:
                passed = min((self._keep or _BLOCK) - len(self._buffer), len(view))
                self._buffer += view[:passed]
                if len(self._buffer) == (self._keep or _BLOCK):
                    self._take(bytes(self._buffer))
            view = view[passed:]
            self._offset += passed

    def finish(self) -> None:
        """Say that no more bytes come.

        Raises:
            TarError: the archive is cut off.
        """
        if self._skip or self._keep or self._buffer:
            raise TarError(f"is cut off after {self._offset:,} bytes, inside an entry")
        if self._zeros < 2:
            raise TarError(f"is cut off after {self._offset:,} bytes: no end of archive")

    def _take(self, block: bytes) -> None:
        self._buffer.clear()
        if self._keep:
            self._keep = 0
            self._read_extension(block)
        elif block == _ZEROS:
            self._zeros += 1
            if self._pax:
                raise TarError("an extended header has no entry")
        elif self._zeros:
            what = "data behind the end of the archive" if self._zeros > 1 else "a block of zeros between entries"
            raise TarError(f"{what}, at byte {self._offset // _BLOCK * _BLOCK:,}")
        else:
            self._read_header(block)

    def _read_header(self, block: bytes) -> None:
        checksum = _read_number(block[148:156])
        if checksum != sum(block[:148]) + sum(block[156:]) + 8 * 0x20:
            raise TarError(f"a header with a wrong checksum, at byte {self._offset // _BLOCK * _BLOCK:,}")
        kind = chr(block[156]) if block[156] else "0"
        size = _read_number(block[124:136])
        if kind in _EXTENSIONS:
            if size > _LARGEST_EXTENSION:
                raise TarError(f"a {_EXTENSIONS[kind]} of {size:,} bytes")
            self._extension = kind, size
            self._keep = size + -size % _BLOCK
            return
        pax, self._pax = self._pax, {}
        name = _read_text(block[:100])
        if block[257:263] == b"ustar\0" and block[345]:
            name = f"{_read_text(block[345:500])}/{name}"
        path = pax.get("path", name)
        if "size" in pax:
            size = _read_decimal(pax["size"])
        entry = Entry(path, kind, size, _read_number(block[100:108]), pax.get("linkpath", _read_text(block[157:257])))
        if any(key.startswith("GNU.sparse.") for key in pax):
            self._doubt(path, "is stored as a sparse file, which many engines cannot read")
        for start, end in ((108, 116), (116, 124), (136, 148)):  # uid, gid, mtime
            _read_number(block[start:end])
        self._found(entry)
        if kind in "07":
            self._skip = size + -size % _BLOCK
        elif size:
            self._doubt(path, f"has a size of {size:,} bytes though it is not a file")

    def _read_extension(self, block: bytes) -> None:
        kind, size = self._extension
        data = block[:size]
        if kind in "LK":
            self._pax["path" if kind == "L" else "linkpath"] = _read_text(data)
            return
        records = _read_pax(data)
        if kind == "x":
            self._pax.update(records)
        elif set(records) - {"comment"}:
            self._doubt("", f"a global pax header sets {', '.join(sorted(records))}, which engines pass over")


def _read_text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _read_number(field: bytes) -> int:
    """Octal digits, or base 256 as GNU writes large numbers."""
    if field[0] in (0x80, 0xFF):
        return int.from_bytes(field if field[0] == 0xFF else field[1:], "big", signed=field[0] == 0xFF)
    text = field.strip(b" \0")
    if not text:
        return 0
    try:
        if text.isdigit():
            return int(text, 8)
    except ValueError:
        pass
    raise TarError(f"{field!r} in a header is not a number")


def _read_decimal(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise TarError(f"{text!r} in a pax header is not a size")
    return int(text)


def _read_pax(data: bytes) -> dict[str, str]:
    """``LENGTH KEY=VALUE\\n`` records; the length counts itself."""
    records: dict[str, str] = {}
    while data:
        digits, space, _ = data.partition(b" ")
        length = int(digits) if digits.isdigit() and len(digits) < 9 and space else 0
        key, equals, value = data[len(digits) + 1 : length - 1].partition(b"=")
        if not length or length > len(data) or data[length - 1 : length] != b"\n" or not equals or not key:
            raise TarError(f"a damaged pax record: {data[:60]!r}")
        if key in (b"path", b"linkpath") and b"\0" in value:
            raise TarError(f"a NUL in a pax record: {data[:60]!r}")
        records[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        data = data[length:]
    return records
