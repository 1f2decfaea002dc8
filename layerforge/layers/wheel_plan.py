"""What installing a wheel writes: every path with where its content comes from. Reads directory and metadata only."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from layerforge.errors import VerificationError
from layerforge.layers.overlap import Identity
from layerforge.layers.wheel_archive import Member, WheelArchive
from layerforge.layers.wheel_tree import (
    INSTALLER,
    Prefix,
    RecordLine,
    check_wheel_version,
    format_digest,
    format_record,
    generate_scripts,
    parse_record,
    place_member,
    rewrite_shebang,
)

_UNSIGNED = ("RECORD", "RECORD.jws", "RECORD.p7s")  # what RECORD cannot have a hash of


class Entry(msgspec.Struct, frozen=True):
    """One file to be: either ``data`` at hand, or ``member`` of ``archive`` with what RECORD says of it."""

    mode: int
    label: str
    data: bytes | None = None
    archive: WheelArchive | None = None
    member: Member | None = None
    record: RecordLine | None = None

    @property
    def identity(self) -> Identity:
        """Size and CRC-32."""
        if self.member is not None:
            return self.member.size, self.member.crc32
        data = self.data or b""
        return len(data), zlib.crc32(data)


class WheelPlan(msgspec.Struct, frozen=True):
    """What a wheel installs, by path in the image, and what is odd about it without doing harm."""

    entries: dict[str, Entry]
    notices: tuple[str, ...]

    @property
    def paths(self) -> dict[str, Identity]:
        """The identity of each file."""
        return {path: entry.identity for path, entry in self.entries.items()}


def installation_key(filename: str) -> tuple[int, ...]:
    """Sorts wheels in the order in which pip installs packages that do not need each other: the alphabet from behind.

    Source: pip, ``resolution/resolvelib/resolver.py``, ``get_installation_order``.
    """
    name = re.sub(r"[-_.]+", "-", filename.partition("-")[0]).lower()
    return (*(-ord(letter) for letter in name), 1)  # a name comes after those that it is the beginning of


def list_wheel_paths(path: Path, filename: str, minor: str) -> dict[str, Identity]:
    """The paths that the wheel at ``path`` installs for Python ``minor``.

    Two wheels that have a path in common, with another identity, overlap.

    Raises:
        LayerError: the wheel is broken.
    """
    with WheelArchive(path, filename) as archive:
        return plan_wheel(archive, Prefix.of(minor)).paths


def plan_wheel(archive: WheelArchive, prefix: Prefix) -> WheelPlan:
    """What the wheel installs under ``prefix``.

    Raises:
        LayerError: it is broken, or holds what a wheel must not.
        VerificationError: a script that is rewritten is not the one in RECORD.
    """
    label, dist_info = archive.label, archive.dist_info
    check_wheel_version(_read_text(archive, f"{dist_info}/WHEEL"), label)
    record = parse_record(_read_text(archive, f"{dist_info}/RECORD"), label)
    own_record = f"{dist_info}/RECORD"
    entries: dict[str, Entry] = {}
    rows: dict[str, tuple[str, int | None]] = {}
    for member in archive.members:
        place = place_member(member.name, member.executable, dist_info, prefix, label)
        if place is None or member.name in (own_record, f"{dist_info}/INSTALLER"):
            continue
        line = record.get(member.name)
        if place.path in entries:
            raise archive.error(f"{member.name} and another file would both become /{place.path}")
        if place.is_script and archive.peek(member, 8) == b"#!python":
            data = archive.read(member)
            verify_content(data, line, member.name, label)
            entries[place.path] = _add_generated(rewrite_shebang(data), place.path, place.mode, label, rows)
            continue
        entries[place.path] = Entry(place.mode, label, archive=archive, member=member, record=line)
        rows[place.path] = (f"{line.algorithm}={line.digest}" if line and line.digest else "", member.size)
    if prefix.scripts and archive.find(f"{dist_info}/entry_points.txt"):
        text = _read_text(archive, f"{dist_info}/entry_points.txt")
        for path, script in generate_scripts(text, prefix, label).items():
            entries[path] = _add_generated(script, path, 0o755, label, rows)
    path = f"{prefix.site_packages}/{dist_info}/INSTALLER"
    entries[path] = _add_generated(INSTALLER, path, 0o644, label, rows)
    path = f"{prefix.site_packages}/{own_record}"
    entries[path] = Entry(0o644, label, data=format_record(rows, path, prefix))
    return WheelPlan(entries, _compare_record(archive, record))


def _compare_record(archive: WheelArchive, record: Mapping[str, RecordLine]) -> tuple[str, ...]:
    """What RECORD lacks, and what it has too much; pip takes no notice of either."""
    present = {member.name for member in archive.members}
    own = {f"{archive.dist_info}/{name}" for name in _UNSIGNED}
    unlisted = sorted(name for name in present - own if name not in record or not record[name].digest)
    missing = sorted(name for name in record.keys() - present - own if not name.endswith("/"))
    notices = []
    if unlisted:
        notices.append(f"RECORD has no hash of {_count(unlisted)}: only CRC and size were checked")
    if missing:
        notices.append(f"RECORD lists {_count(missing)} that the wheel does not have")
    return tuple(notices)


def _count(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} files ({names[0]}, …)"


def _add_generated(data: bytes, path: str, mode: int, label: str, rows: dict[str, tuple[str, int | None]]) -> Entry:
    rows[path] = (f"sha256={format_digest(hashlib.sha256(data).digest())}", len(data))
    return Entry(mode, label, data=data)


def _read_text(archive: WheelArchive, name: str) -> str:
    member = archive.find(name)
    if member is None:
        raise archive.error(f"has no {name}")
    try:
        return archive.read(member).decode("utf-8")
    except UnicodeDecodeError as error:
        raise archive.error(f"{name} is not UTF-8 text") from error


def verify_content(data: bytes, line: RecordLine | None, name: str, label: str) -> None:
    """Compare the content of a member with what RECORD says of it.

    Raises:
        VerificationError: it is another one.
    """
    if line is not None and line.digest:
        verify_digest(hashlib.new(line.algorithm, data).digest(), line, name, label)


def verify_digest(digest: bytes, line: RecordLine, name: str, label: str) -> None:
    """Compare the digest of a member with what RECORD says of it.

    Raises:
        VerificationError: it is another one.
    """
    found = format_digest(digest)
    if found != line.digest:
        raise VerificationError(
            f"{name} has {line.algorithm} {found}, but the wheel's RECORD says {line.digest}",
            where=label,
            hint="the wheel is broken as published: ask for another version of the package",
        )
