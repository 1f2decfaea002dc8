"""GVDB, the file format of GLib's compiled settings schemas: hash tables of GVariants, mapped into memory.

Format: ``gvdb-format.h`` and ``gvdb-builder.c`` of GLib. Items of a bucket are sorted, so that the bytes are always
the same; GLib leaves them in the order of its own hash table.
"""

from __future__ import annotations

import struct
from typing import Any

from layerforge.sources.debian.variant import Variant, encode_variant

_SIGNATURE = b"GVariant"
_HEADER = struct.Struct("<8sIIII")
_ITEM = struct.Struct("<IIIHcB8s")
_NO_PARENT = 0xFFFFFFFF
_BLOOM = 5 << 27

Table = dict[str, "Variant | Table"]
"""What a table holds, by name. The item ``""`` that lists the others is added; names with a dot before them are in no
list."""


def encode_gvdb(table: Table, *, is_listed: Any = lambda name: not name.startswith(".")) -> bytes:
    """The file with this table at its root."""
    data = bytearray(_HEADER.size)
    start, end = _add_table(data, table, is_listed)
    _HEADER.pack_into(data, 0, _SIGNATURE, 0, 0, start, end)
    return bytes(data)


def _hash(key: str) -> int:
    value = 5381
    for byte in key.encode():
        value = (value * 33 + (byte - 256 if byte > 127 else byte)) & 0xFFFFFFFF
    return value


def _add_table(data: bytearray, table: Table, is_listed: Any) -> tuple[int, int]:
    names = ["", *sorted(table)]
    buckets: list[list[str]] = [[] for _ in names]
    for name in names:
        buckets[_hash(name) % len(buckets)].append(name)
    ordered = [name for bucket in buckets for name in bucket]
    index = {name: number for number, name in enumerate(ordered)}
    data += bytes(-len(data) % 4)
    start = len(data)
    first = start + 8 + 4 * len(buckets)
    end = first + _ITEM.size * len(ordered)
    data += struct.pack("<II", _BLOOM, len(buckets))
    place = 0
    for bucket in buckets:
        data += struct.pack("<I", place)
        place += len(bucket)
    data += bytes(end - first)
    listed = [name for name in sorted(table) if is_listed(name)]
    for number, name in enumerate(ordered):
        key = len(data)
        data += name.encode()
        parent = index[""] if name in listed else _NO_PARENT
        kind, where = _add_value(data, name, table, [index[each] for each in listed], is_listed)
        size = len(name.encode())
        pointer = struct.pack("<II", *where)
        _ITEM.pack_into(data, first + _ITEM.size * number, _hash(name), parent, key, size, kind, 0, pointer)
    return start, end


def _add_value(
    data: bytearray, name: str, table: Table, children: list[int], is_listed: Any
) -> tuple[bytes, tuple[int, int]]:
    if not name:
        data += bytes(-len(data) % 4)
        start = len(data)
        data += struct.pack(f"<{len(children)}I", *children)
        return b"L", (start, len(data))
    value = table[name]
    if isinstance(value, Variant):
        data += bytes(-len(data) % 8)
        start = len(data)
        data += encode_variant(value, "v")
        return b"v", (start, len(data))
    return b"H", _add_table(data, value, is_listed)
