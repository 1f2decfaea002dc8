"""The ``[[packages]]`` of the lock file: Python packages in the standard's own tables. Pure.

A wheel of an index or of the project is one of ``wheels``. What is built has the source in its place (``sdist``,
``archive``, ``vcs`` or ``directory``), so that any installer can build it; the wheel that it gave here is named, with
its digest, under ``[tool.layerforge]``.
Source: https://packaging.python.org/en/latest/specifications/pylock-toml/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from layerforge.errors import LockError
from layerforge.lock import Lock, LockedSource, LockedWheel
from layerforge.locktoml import format_array, format_string, format_table
from layerforge.oci import Digest

AGAIN = "undo the edit, or resolve everything anew: `layerforge lock --upgrade`"
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
_KEYS = {"sdist": "sdist", "archive": "archive", "git": "vcs", "folder": "directory"}
"""Kinds of sources, and the standard's keys for them."""

Users = list[tuple[str, LockedWheel]]
"""Platforms, each with the wheel that it has of one package."""


class Contradiction(Exception):
    """Two parts of the file do not fit each other."""


class PackageEntry(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, rename="kebab"):
    """A package in a platform's section. ``version``, ``size`` and ``sha256`` are there when the wheel is built."""

    name: str
    wheel: str
    bin: str
    version: str = ""
    size: int = 0
    sha256: str = ""
    built_with: tuple[str, ...] = ()


# -- encoding --------------------------------------------------------------------------------------------------


def encode_packages(lock: Lock) -> list[str]:
    """The lines of the Python packages of all platforms.

    Raises:
        LockError: two platforms have different files of one name, which the format cannot tell apart.
    """
    if not any(platform.packages for platform in lock.platforms):
        return ["packages = []"]
    lines: list[str] = []
    for (name, version, *_), users in sorted(_group(lock).items()):
        lines += ["", "[[packages]]", f"name = {format_string(name)}"]
        source = next((wheel.source for _, wheel in users if wheel.source), None)
        if source is None or source.kind != "folder":  # the standard wants no version that the folder may change
            lines.append(f"version = {format_string(version)}")
        if len(users) < len(lock.platforms):
            marker = " or ".join(describe_environment(platform) for platform, _ in users)
            lines.append(f"marker = {format_string(marker)}")
        if source is not None:
            lines.append(f"{_KEYS[source.kind]} = {format_table(_encode_source(source))}")
        if wheels := _encode_wheels(users):
            lines.append(format_array("wheels", wheels))
    return lines


def describe_package(wheel: LockedWheel) -> str:
    """The entry of ``wheel`` in its platform's section."""
    fields: dict[str, Any] = {"name": wheel.name, "wheel": wheel.filename, "bin": wheel.bin}
    if wheel.source is not None:
        fields |= {"version": wheel.version, "size": wheel.size, "sha256": wheel.digest.hex}
        if wheel.source.requires:
            fields["built-with"] = wheel.source.requires
    return format_table(fields)


def describe_environment(platform: str) -> str:
    """``platform`` (``linux/amd64``) as an environment marker."""
    system, _, rest = platform.partition("/")
    architecture = rest.partition("/")[0]
    machine = _MACHINES.get(architecture, architecture)
    return f"sys_platform == '{system}' and platform_machine == '{machine}'"


def _group(lock: Lock) -> dict[tuple[str, ...], Users]:
    """The wheels by name, version and, as far as the standard allows no wheels beside it, source."""
    groups: dict[tuple[str, ...], Users] = {}
    for platform in lock.platforms:
        for wheel in platform.packages:
            source = wheel.source
            apart = "" if source is None or source.kind == "sdist" else format_table(_encode_source(source))
            groups.setdefault((wheel.name, wheel.version, apart), []).append((platform.platform, wheel))
    return groups


def _encode_wheels(users: Users) -> list[str]:
    offered = [wheel for _, wheel in users if wheel.source is None]
    wheels = {wheel.filename: _encode_wheel(wheel) for wheel in offered}
    for wheel in offered:
        if wheels[wheel.filename] != _encode_wheel(wheel):
            raise LockError(f"{wheel.filename} is not the same file for every platform", hint=AGAIN)
    return [wheels[filename] for filename in sorted(wheels)]


def _encode_wheel(wheel: LockedWheel) -> str:
    place = {"path": wheel.path} if wheel.path else {"url": wheel.url}
    return format_table({"name": wheel.filename, **place, "size": wheel.size, "hashes": {"sha256": wheel.digest.hex}})


def _encode_source(source: LockedSource) -> dict[str, Any]:
    place = {"path": source.path} if source.path else {"url": source.url}
    below = {"subdirectory": source.subdirectory} if source.subdirectory else {}
    if source.kind == "folder":
        return {**place, "editable": source.editable, **below}
    if source.kind == "git":
        asked = {"requested-revision": source.reference} if source.reference else {}
        return {"type": "git", **place, **asked, "commit-id": source.commit, **below}
    hashes = {"sha256": source.digest.hex if source.digest else ""}
    return {**place, "size": source.size, "hashes": hashes, **below}


# -- decoding --------------------------------------------------------------------------------------------------


class Packages(msgspec.Struct, frozen=True):
    """What the ``[[packages]]`` of a file offer.

    ``wheels`` are found by package and file name, ``sources`` by package and version (empty for a folder); each source
    with the marker of its entry.
    """

    wheels: dict[tuple[str, str], LockedWheel]
    sources: dict[tuple[str, str], list[tuple[str, LockedSource]]]


def read_packages(entries: Iterable[Mapping[str, Any]]) -> Packages:
    """The packages in the parsed tables ``entries``.

    Raises:
        Contradiction: a file is listed twice.
        KeyError, TypeError, ValueError: something is missing or of the wrong kind.
        ImageError: a digest is none.
    """
    found = Packages({}, {})
    for entry in entries:
        name, version = entry["name"], entry.get("version", "")
        for wheel in entry.get("wheels", ()):
            key = (name, wheel["name"])
            if key in found.wheels:
                raise Contradiction(f"{wheel['name']!r} is listed twice")
            digest = Digest.from_hex(wheel["hashes"]["sha256"])
            path = wheel.get("path", "")
            url = "" if path else wheel["url"]
            found.wheels[key] = LockedWheel(name, version, wheel["name"], url, wheel["size"], digest, "", path)
        for kind, word in _KEYS.items():
            if word in entry:
                source = _decode_source(kind, entry[word])
                found.sources.setdefault((name, version), []).append((entry.get("marker", ""), source))
    return found


def decode_package(entry: PackageEntry, platform: str, packages: Packages) -> LockedWheel:
    """The wheel that ``entry`` of the section ``platform`` means.

    Raises:
        Contradiction: ``packages`` do not have it.
    """
    if not entry.sha256:
        wheel = packages.wheels.get((entry.name, entry.wheel))
        if wheel is None:
            raise Contradiction(f"{platform} needs {entry.wheel!r}, which no [[packages]] entry has")
        return msgspec.structs.replace(wheel, bin=entry.bin)
    environment = describe_environment(platform)
    for version in (entry.version, ""):
        for marker, source in packages.sources.get((entry.name, version), ()):
            if not marker or environment in marker:
                digest = Digest.from_hex(entry.sha256)
                fields = (entry.name, entry.version, entry.wheel, "", entry.size, digest, entry.bin)
                return LockedWheel(*fields, source=msgspec.structs.replace(source, requires=entry.built_with))
    raise Contradiction(f"{platform} has built {entry.wheel!r}, and no [[packages]] entry says from what")


def _decode_source(kind: str, table: Mapping[str, Any]) -> LockedSource:
    return LockedSource(
        kind,
        url="" if "path" in table else table["url"],
        path=table.get("path", ""),
        size=table["size"] if kind in ("sdist", "archive") else 0,
        digest=Digest.from_hex(table["hashes"]["sha256"]) if kind in ("sdist", "archive") else None,
        reference=table.get("requested-revision", ""),
        commit=table["commit-id"] if kind == "git" else "",
        subdirectory=table.get("subdirectory", ""),
        editable=table.get("editable", False),
    )
