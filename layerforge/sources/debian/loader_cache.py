"""The format of the dynamic loader's cache, ``/etc/ld.so.cache``: entries to bytes and back.

Sources: glibc, ``sysdeps/generic/dl-cache.h`` for the layout, ``elf/cache.c`` for the order and for what ldconfig
writes at the end (names of folders for processors with special abilities, and its own), ``elf/stringtable.c``.
"""

from __future__ import annotations

import functools
import re
import struct
from collections.abc import Iterable

import msgspec

_MAGIC = b"glibc-ld.so.cache1.1"
_HEADER = struct.Struct("<20sIIB3xI12x")
_ENTRY = struct.Struct("<iIIIQ")
_EXTENSION = struct.Struct("<II")
_SECTION = struct.Struct("<IIII")
_EXTENSION_MAGIC = 0xEAA42174
_WRITER, _HWCAPS = 0, 1
_LITTLE_ENDIAN = 2
_IN_HWCAPS = 1 << 62
"""``DL_CACHE_HWCAP_EXTENSION``: the lower half of the field is the number of a ``glibc-hwcaps`` folder."""


class CacheEntry(msgspec.Struct, frozen=True):
    """A library: ``flags`` say its kind (``elf/ldconfig.h``), ``hwcaps`` the ``glibc-hwcaps`` folder it is from."""

    soname: str
    path: str
    flags: int
    hwcaps: str = ""


class LoaderCache(msgspec.Struct, frozen=True):
    """A whole cache. ``writer`` is what made it, for people to read."""

    entries: tuple[CacheEntry, ...] = ()
    writer: str = ""


def encode_cache(cache: LoaderCache) -> bytes:
    """The file's content. Entries that compare equal stay in the order given: the first one is what programs get."""
    entries = sorted(cache.entries, key=functools.cmp_to_key(_compare_entries))
    folders = sorted({entry.hwcaps for entry in entries} - {""})
    start = _HEADER.size + _ENTRY.size * len(entries)
    strings, offsets = _pack_strings(
        {*folders, *(entry.soname for entry in entries), *(entry.path for entry in entries)}
    )
    body = b"".join(
        _ENTRY.pack(
            entry.flags,
            start + offsets[entry.soname],
            start + offsets[entry.path],
            0,
            _IN_HWCAPS | folders.index(entry.hwcaps) if entry.hwcaps else 0,
        )
        for entry in entries
    )
    body += strings
    extension = b""
    if cache.writer or folders:
        body += bytes(-(_HEADER.size + len(body)) % 4)
        names = [start + offsets[folder] for folder in folders]
        extension = _pack_extension(_HEADER.size + len(body), names, cache.writer.encode())
    offset = _HEADER.size + len(body) if extension else 0
    return _HEADER.pack(_MAGIC, len(entries), len(strings), _LITTLE_ENDIAN, offset) + body + extension


def _pack_extension(offset: int, folders: list[int], writer: bytes) -> bytes:
    """What follows the strings, to be written at ``offset``; ``folders`` are where the names of folders begin."""
    count = 1 + bool(folders)
    numbers = offset + _EXTENSION.size + count * _SECTION.size
    packed = struct.pack(f"<{len(folders)}I", *folders)
    sections = _SECTION.pack(_WRITER, 0, numbers + len(packed), len(writer))
    if folders:
        sections += _SECTION.pack(_HWCAPS, 0, numbers, len(packed))
    return _EXTENSION.pack(_EXTENSION_MAGIC, count) + sections + packed + writer


def _pack_strings(strings: Iterable[str]) -> tuple[bytes, dict[str, int]]:
    """The strings, each once, and where each begins; one that ends another is found in it (``elf/stringtable.c``)."""
    packed = bytearray()
    offsets: dict[str, int] = {}
    before = ""
    for text in sorted(strings, key=lambda text: text[::-1], reverse=True):
        if before.endswith(text):
            offsets[text] = offsets[before] + len(before.encode()) - len(text.encode())
            continue
        offsets[text] = len(packed)
        packed += text.encode() + b"\0"
        before = text
    return bytes(packed), offsets


def decode_cache(data: bytes) -> LoaderCache:
    """What a file says, as far as it is whole; an empty cache if it is none."""
    start = data.find(_MAGIC)
    if start < 0 or len(data) < start + _HEADER.size:
        return LoaderCache()
    body = data[start:]
    _, count, _, _, extension = _HEADER.unpack_from(body)
    writer, folders = _read_extension(body, extension)
    entries: list[CacheEntry] = []
    for number in range(min(count, (len(body) - _HEADER.size) // _ENTRY.size)):
        flags, key, value, _, special = _ENTRY.unpack_from(body, _HEADER.size + number * _ENTRY.size)
        hwcaps = ""
        if special:
            index = special & 0xFFFFFFFF
            if not special & _IN_HWCAPS or index >= len(folders):
                continue  # of a glibc before 2.33, or torn
            hwcaps = folders[index]
        entries.append(CacheEntry(_read_string(body, key), _read_string(body, value), flags, hwcaps))
    return LoaderCache(tuple(entries), writer)


def _read_extension(body: bytes, offset: int) -> tuple[str, list[str]]:
    """Who wrote the cache, and the names of folders for processors with special abilities."""
    if not offset or len(body) < offset + _EXTENSION.size:
        return "", []
    magic, count = _EXTENSION.unpack_from(body, offset)
    offset += _EXTENSION.size
    if magic != _EXTENSION_MAGIC or len(body) < offset + count * _SECTION.size:
        return "", []
    writer, folders = "", list[str]()
    for number in range(count):
        tag, _, begin, size = _SECTION.unpack_from(body, offset + number * _SECTION.size)
        content = body[begin : begin + size]
        if tag == _WRITER:
            writer = content.decode("utf-8", "replace")
        elif tag == _HWCAPS:
            folders = [_read_string(body, at) for (at,) in struct.iter_unpack("<I", content[: len(content) // 4 * 4])]
    return writer, folders


def _read_string(body: bytes, start: int) -> str:
    end = body.find(b"\0", start)
    return body[start : end if end >= 0 else len(body)].decode("utf-8", "replace")


def _compare_entries(left: CacheEntry, right: CacheEntry) -> int:
    """Names from last to first; of one name, what is for special processors comes before what all can use."""
    order = compare_names(right.soname, left.soname)
    if order or left.flags != right.flags:
        return order or right.flags - left.flags
    first, second = (not left.hwcaps, left.hwcaps), (not right.hwcaps, right.hwcaps)
    return (first > second) - (first < second)


def compare_names(left: str, right: str) -> int:
    """glibc's ``_dl_cache_libcmp``: numbers inside names compare as numbers, and above other characters."""
    first, second = _pieces(left), _pieces(right)
    for a, b in zip(first, second, strict=False):
        if a == b:
            continue
        if isinstance(a, int) and isinstance(b, int):
            return -1 if a < b else 1
        if isinstance(a, int):
            return 1
        if isinstance(b, int):
            return -1
        return -1 if a < b else 1
    return (len(first) > len(second)) - (len(first) < len(second))


def _pieces(name: str) -> list[int | str]:
    return [int(piece) if piece.isdigit() else piece for piece in re.findall(r"\d+|\D", name)]
