"""Reads generated binary files into values, so that two that say the same in another order are found equal."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any


def decode_mime_cache(data: bytes) -> Any:
    """``mime.cache``, less its list of types, whose offsets ``update-mime-database`` leaves 0."""

    def numbers(place: int, count: int) -> tuple[int, ...]:
        return struct.unpack_from(f">{count}I", data, place)

    def text(place: int) -> str:
        return data[place : data.index(b"\0", place)].decode() if place else ""

    def rows(place: int, width: int) -> list[tuple[int, ...]]:
        (count,) = numbers(place, 1)
        return [numbers(place + 4 + 4 * width * row, width) for row in range(count)]

    def parents(place: int) -> list[str]:
        return [text(each) for (each,) in rows(place, 1)]

    def suffixes(place: int, count: int) -> list[Any]:
        found = []
        for row in range(count):
            first, second, third = numbers(place + 12 * row, 3)
            found.append((chr(first), suffixes(third, second)) if first else (text(second), third))
        return sorted(found, key=repr)

    def matches(place: int, count: int) -> list[Any]:
        found = []
        for row in range(count):
            start, length, word, size, value, mask, children, below = numbers(place + 32 * row, 8)
            masked = data[mask : mask + size] if mask else b""
            found.append((start, length, word, data[value : value + size], masked, matches(below, children)))
        return found

    version, (alias, parent, literal, suffix, full, magic, space, icon, generic, _) = data[:4], numbers(4, 10)
    count, extent, first = numbers(magic, 3)
    return {
        "version": version,
        "aliases": [(text(a), text(b)) for a, b in rows(alias, 2)],
        "parents": [(text(a), parents(b)) for a, b in rows(parent, 2)],
        "literals": [(text(a), text(b), c) for a, b, c in rows(literal, 3)],
        "suffixes": suffixes(numbers(suffix, 2)[1], numbers(suffix, 1)[0]),
        "globs": [(text(a), text(b), c) for a, b, c in rows(full, 3)],
        "extent": extent,
        "magic": [(a, text(b), matches(d, c)) for a, b, c, d in (numbers(first + 16 * row, 4) for row in range(count))],
        "namespaces": [(text(a), text(b), text(c)) for a, b, c in rows(space, 3)],
        "icons": [(text(a), text(b)) for a, b in rows(icon, 2)],
        "generic icons": [(text(a), text(b)) for a, b in rows(generic, 2)],
    }


def decode_keystore(data: bytes) -> Any:
    """The certificates of a Java key store by alias, without their times."""
    magic, version, count = struct.unpack_from(">III", data)
    place, found = 12, {}
    for _ in range(count):
        tag, size = struct.unpack_from(">IH", data, place)
        alias = data[place + 6 : place + 6 + size].decode()
        place += 6 + size + 8
        (size,) = struct.unpack_from(">H", data, place)
        kind = data[place + 2 : place + 2 + size]
        place += 2 + size
        (size,) = struct.unpack_from(">I", data, place)
        found[alias] = (tag, kind, data[place + 4 : place + 4 + size])
        place += 4 + size
    return magic, version, found, len(data) - place


def decode_gvdb(data: bytes) -> Any:
    """The tables of a GVDB file: the bytes of each value, and the names that an item lists."""

    def read(start: int) -> dict[str, Any]:
        bloom, buckets = struct.unpack_from("<II", data, start)
        first = start + 8 + 4 * (bloom & 0x07FFFFFF) + 4 * buckets
        (end,) = ends[start]
        rows = [struct.unpack_from("<IIIHcBII", data, place) for place in range(first, end, 24)]
        names: list[str] = []

        def name(number: int) -> str:
            _, parent, key, size, *_ = rows[number]
            own = data[key : key + size].decode()
            return own if parent == 0xFFFFFFFF else name(parent) + own

        names = [name(number) for number in range(len(rows))]
        found: dict[str, Any] = {}
        for number, (_, _, _, _, kind, _, where, until) in enumerate(rows):
            if kind == b"H":
                ends[where] = (until,)
                found[names[number]] = read(where)
            elif kind == b"L":
                listed = struct.unpack_from(f"<{(until - where) // 4}I", data, where)
                found[names[number]] = [names[each] for each in listed]
            else:
                found[names[number]] = data[where:until]
        return found

    start, end = struct.unpack_from("<II", data, 16)
    ends: dict[int, tuple[int]] = {start: (end,)}
    return data[:16], read(start)


DECODERS: dict[str, Callable[[bytes], Any]] = {
    "gvdb": decode_gvdb,
    "keystore": decode_keystore,
    "mime-cache": decode_mime_cache,
}
"""Decoders by the name that a rule gives."""
