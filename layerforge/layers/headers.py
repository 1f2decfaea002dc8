"""Tar headers: POSIX.1-2001 (pax), extended headers only where ustar has no room. Nothing else here writes one.

The bytes come from the arguments alone, so they are the same under every Python.
"""

from __future__ import annotations

import struct
import tarfile
from collections.abc import Mapping

EPOCH = 315_619_200
"""The time of every entry: 1980-01-02, the first day that a zip file can hold in every time zone."""

_ZEROS = bytes(512)


def padding(size: int) -> bytes:
    """The zero bytes that fill a file of ``size`` bytes up to tar's 512-byte records."""
    return _ZEROS[: -size % 512]


TRAILER = bytes(1024)
"""The two empty records that end an archive."""


_USTAR = struct.Struct("100s8s8s8s12s12s8s1s100s8s32s32s8s8s155s12x")
_MAGIC = b"ustar\x0000"
_NUMBERS = (("size", 8**11), ("mtime", 8**11), ("uid", 8**7), ("gid", 8**7))


def encode_header(
    path: str,
    *,
    kind: bytes = tarfile.REGTYPE,
    size: int = 0,
    mode: int = 0o644,
    uid: int = 0,
    gid: int = 0,
    mtime: int = EPOCH,
    target: str = "",
    xattrs: Mapping[str, bytes] = {},
) -> bytes:
    """The tar header of one entry, pax records included. ``path`` is relative, POSIX, without a leading ``./``.

    ``xattrs`` are extended attributes by name (``security.capability``), as star, GNU tar and engines record them.

    Written here rather than by ``tarfile`` so that the bytes are the same under every Python; it is also eight times
    as fast. Source: POSIX.1-2017, pax, "ustar Interchange Format" and "pax Extended Header".
    """
    name = (path + "/" if kind == tarfile.DIRTYPE else path).encode("utf-8", "surrogateescape")
    link = target.encode("utf-8", "surrogateescape")
    plain = path.isascii() and target.isascii() and not xattrs and mtime < 8**11
    if plain and size < 8**11 and len(link) <= 100 and uid < 8**7 and gid < 8**7:
        prefix, fits = b"", len(name) <= 100
        if not fits:  # the name is cut at a slash, which is not stored
            cut = name.find(b"/", len(name) - 101, -1)
            fits = 0 < cut <= 155
            if fits:
                prefix, name = name[:cut], name[cut + 1 :]
        if fits:
            return _encode_ustar(name, kind, size, mode, uid, gid, mtime, link, prefix)
    return _encode_pax(name, kind, {"size": size, "mtime": mtime, "uid": uid, "gid": gid}, mode, link, xattrs)


def _encode_ustar(
    name: bytes, kind: bytes, size: int, mode: int, uid: int, gid: int, mtime: int, link: bytes, prefix: bytes = b""
) -> bytes:
    fields = (b"%07o" % (mode & 0o7777), b"%07o" % uid, b"%07o" % gid, b"%011o" % size, b"%011o" % mtime)
    block = _USTAR.pack(name, *fields, b" " * 8, kind, link, _MAGIC, b"", b"", b"0000000", b"0000000", prefix)
    return b"%b%06o\0 %b" % (block[:148], sum(block), block[156:])


def _encode_pax(
    name: bytes, kind: bytes, numbers: dict[str, int], mode: int, link: bytes, xattrs: Mapping[str, bytes]
) -> bytes:
    records: dict[str, bytes] = {}
    for key, value, room in (("path", name, 100), ("linkpath", link, 100)):
        if len(value) > room or not value.isascii():
            records[key] = value
    for key, limit in _NUMBERS:
        if numbers[key] >= limit:
            records[key] = b"%d" % numbers[key]
            numbers[key] = 0
    extended = b"" if all(map(_is_utf8, records.values())) else _encode_record("hdrcharset", b"BINARY")
    records |= {f"SCHILY.xattr.{key}": value for key, value in xattrs.items()}
    extended += b"".join(_encode_record(key, records[key]) for key in sorted(records))
    blocks = _encode_ustar(b"././@PaxHeader", tarfile.XHDTYPE, len(extended), 0o644, 0, 0, 0, b"")
    plain = _encode_ustar(
        name[:100], kind, numbers["size"], mode, numbers["uid"], numbers["gid"], numbers["mtime"], link[:100]
    )
    return b"".join((blocks, extended, padding(len(extended)), plain))


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _encode_record(key: str, value: bytes) -> bytes:
    """``<length> <key>=<value>\\n``, where the length counts its own digits."""
    body = b" %b=%b\n" % (key.encode(), value)
    length = len(body) + len(str(len(body)))
    length = len(body) + len(str(length))
    return b"%d%b" % (length, body)
