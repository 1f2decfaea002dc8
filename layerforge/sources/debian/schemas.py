"""GLib's settings schemas, compiled: ``gschemas.compiled``, without which a program that has settings ends at once.

Format: ``glib-compile-schemas.c`` and ``strinfo.c`` of GLib; gschema.dtd. As with that program, a file that makes no
sense is passed over as a whole, and an override of a key that does not exist is too.
"""

from __future__ import annotations

import re
import struct
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from layerforge.sources.debian.gvdb import Table, encode_gvdb
from layerforge.sources.debian.rootstate import Entries, file_entry
from layerforge.sources.debian.variant import Variant, parse_variant

FOLDER = "usr/share/glib-2.0/schemas/"

_LIMITS = {
    "y": (0, 255),
    "n": (-(1 << 15), (1 << 15) - 1),
    "q": (0, (1 << 16) - 1),
    "i": (-(1 << 31), (1 << 31) - 1),
    "u": (0, (1 << 32) - 1),
    "x": (-(1 << 63), (1 << 63) - 1),
    "t": (0, (1 << 64) - 1),
    "d": (float("-inf"), float("inf")),
}


class _Key(msgspec.Struct):
    """One key: what :func:`_serialise` writes down of it."""

    kind: str
    text: str = ""
    default: Any = None
    localized: str = ""
    context: str = ""
    marker: str = ""
    names: bytes = b""
    limits: tuple[Any, Any] | None = None
    desktops: dict[str, Variant] = msgspec.field(default_factory=dict)


class _Schema(msgspec.Struct):
    attributes: dict[str, str]
    domain: str
    keys: dict[str, _Key] = msgspec.field(default_factory=dict)
    children: dict[str, str] = msgspec.field(default_factory=dict)


def schema_state(files: Mapping[str, bytes]) -> Entries:
    """The compiled schemas for the XML files and overrides of :data:`FOLDER` among ``files``; nothing without any."""
    schemas: dict[str, _Schema] = {}
    enums: dict[tuple[str, str], bytes] = {}
    names = [path for path in files if path.startswith(FOLDER) and path.endswith((".gschema.xml", ".enums.xml"))]
    if not names:
        return {}
    for path in sorted(names, key=lambda path: (not path.endswith(".enums.xml"), path)):
        try:
            found = _read_file(ElementTree.fromstring(files[path]), schemas, enums)
        except (ElementTree.ParseError, KeyError, ValueError):
            continue
        schemas, enums = found
    for path in sorted(path for path in files if path.startswith(FOLDER) and path.endswith(".gschema.override")):
        _override(files[path].decode("utf-8", "replace"), schemas)
    table: Table = {name: _table(schema) for name, schema in schemas.items()}
    return {f"{FOLDER}gschemas.compiled": file_entry(encode_gvdb(table))}


def _read_file(
    root: ElementTree.Element, known: dict[str, _Schema], known_enums: dict[tuple[str, str], bytes]
) -> tuple[dict[str, _Schema], dict[tuple[str, str], bytes]]:
    schemas, enums = dict(known), dict(known_enums)
    for element in root:
        if element.tag in ("enum", "flags"):
            values = [(each.attrib["nick"], int(each.attrib["value"], 0)) for each in element.iter("value")]
            kept = [(nick, value) for nick, value in values if value or element.tag == "enum"]
            enums[element.tag, element.attrib["id"]] = b"".join(_encode_name(nick, value) for nick, value in kept)
        elif element.tag == "schema":
            domain = element.get("gettext-domain") or root.get("gettext-domain") or ""
            schema = _Schema(dict(element.attrib), domain)
            parent = element.get("extends")
            if parent is not None and "list-of" not in schema.attributes and "list-of" in schemas[parent].attributes:
                schema.attributes["list-of"] = schemas[parent].attributes["list-of"]
            schemas[element.attrib["id"]] = schema
            for child in element:
                if child.tag == "key":
                    schema.keys[child.attrib["name"]] = _read_key(child, enums)
                elif child.tag == "child":
                    schema.children[child.attrib["name"] + "/"] = child.attrib["schema"]
                elif child.tag == "override":
                    name = child.attrib["name"]
                    schema.keys[name] = _read_default(child, _inherited(schemas, parent, name))
    return schemas, enums


def _inherited(schemas: dict[str, _Schema], parent: str | None, name: str) -> _Key:
    while parent is not None and name not in schemas[parent].keys:
        parent = schemas[parent].attributes.get("extends")
    if parent is None:
        raise ValueError(f"there is no key {name} to override")
    key = schemas[parent].keys[name]
    return _Key(key.kind, marker=key.marker, names=key.names, limits=key.limits)


def _read_key(element: ElementTree.Element, enums: dict[tuple[str, str], bytes]) -> _Key:
    if "enum" in element.attrib:
        key = _Key("s", marker="e", names=enums["enum", element.attrib["enum"]])
    elif "flags" in element.attrib:
        key = _Key("as", marker="f", names=enums["flags", element.attrib["flags"]])
    else:
        key = _Key(element.attrib["type"])
    for child in element:
        if child.tag == "default":
            _read_default(child, key)
        elif child.tag == "range":
            low, high = _LIMITS[key.kind]
            if "min" in child.attrib:
                low = parse_variant(child.attrib["min"], key.kind)
            if "max" in child.attrib:
                high = parse_variant(child.attrib["max"], key.kind)
            key.limits = (low, high)
        elif child.tag == "choices":
            key.marker = "c"
            key.names += b"".join(_encode_name(each.attrib["value"], 0) for each in child.iter("choice"))
        elif child.tag == "aliases":
            for each in child.iter("alias"):
                target = key.names.index(_encode_name(each.attrib["target"], 0)[4:]) - 4
                key.names += _encode_name(each.attrib["value"], target // 4, first=0xFE)
    if key.default is None and not key.kind.startswith("m"):
        raise ValueError("a key without a default")
    return key


def _read_default(element: ElementTree.Element, key: _Key) -> _Key:
    key.text = element.text or ""
    key.default = parse_variant(key.text, key.kind)
    key.localized = (element.get("l10n") or "")[:1]
    key.context = element.get("context") or ""
    return key


def _encode_name(name: str, value: int, first: int = 0xFF) -> bytes:
    """A value and its name in whole words, at least two for the name (``strinfo.c``)."""
    text = name.encode()
    words = max(2, (len(text) + 6) >> 2)
    padded = (bytes((first,)) + text).ljust(4 * words - 1, b"\0") + b"\xff"
    return struct.pack("<I", value & 0xFFFFFFFF) + padded


def _override(text: str, schemas: dict[str, _Schema]) -> None:
    for group, name, value in _read_groups(text):
        schema, _, desktop = group.partition(":")
        key = schemas[schema].keys.get(name) if schema in schemas else None
        if key is None or (desktop and key.localized):
            continue
        try:
            parsed = parse_variant(value, key.kind)
        except ValueError:
            continue
        if desktop:
            key.desktops[desktop] = Variant(key.kind, parsed)
        else:
            key.default, key.text = parsed, value


def _read_groups(text: str) -> Iterator[tuple[str, str, str]]:
    group = ""
    for line in text.splitlines():
        if match := re.fullmatch(r"\s*\[(.*)\]\s*", line):
            group = match[1]
        elif not line.lstrip().startswith("#") and "=" in line:
            name, _, value = line.partition("=")
            yield group, name.strip(), value.strip()


def _table(schema: _Schema) -> Table:
    table: Table = {name: Variant(*_serialise(key)) for name, key in schema.keys.items()}
    table |= {name: Variant("s", child) for name, child in schema.children.items()}
    table |= {f".{name}": Variant("s", schema.attributes[name]) for name in _NOTED if name in schema.attributes}
    if any(key.localized for key in schema.keys.values()):
        table[".gettext-domain"] = Variant("s", schema.domain)
    return table


_NOTED = ("path", "extends", "list-of")


def _serialise(key: _Key) -> tuple[str, tuple[Any, ...]]:
    kinds, values = [key.kind], [key.default]
    if key.localized:
        context = f"{key.context}\4" if key.context else ""
        kinds.append("(y(ys))")
        values.append((ord("l"), (ord(key.localized), context + key.text.strip(" \t\n\v\f\r"))))
    if key.names:
        kinds.append("(yau)")
        values.append((ord(key.marker), [word for (word,) in struct.iter_unpack("<I", key.names)]))
    if key.limits is not None:
        kinds.append(f"(y({key.kind}{key.kind}))")
        values.append((ord("r"), key.limits))
    if key.desktops:
        kinds.append("(ya{sv})")
        values.append((ord("d"), key.desktops))
    return f"({''.join(kinds)})", tuple(values)
