"""Reads the tar inside a package as it arrives: entry after entry, nothing unpacked, nothing trusted.

Format: deb(5), which allows v7, POSIX ustar and GNU tar's long names, and calls any other type of entry an error. So
do we: extended headers of POSIX pax and sparse files do not occur in a package that dpkg installs. A reader of our own
because ``tarfile`` takes ten times as long for each entry and believes more than it should.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterable, Iterator

import msgspec

from layerforge.errors import LayerError

_HEADER = struct.Struct("100s8s8s8s12s12s8s1s100s8s32s32s8s8s155s12x")
_RECORD = 512
_NAME_LIMIT = 4095
"""Bytes of a path, and of one of its components: more than Linux can open (PATH_MAX, NAME_MAX in <linux/limits.h>)."""
_COMPONENT_LIMIT = 255
_ID_LIMIT = 1 << 31
_KINDS = (b"\0", b"0", b"1", b"2", b"5", b"7")
"""Files, hard links, symbolic links, folders; 7 is a contiguous file, which is a file."""


class DebEntry(msgspec.Struct, frozen=True):
    """One member of ``data.tar``. ``path`` is relative to the root, ``kind`` is ``file dir symlink hardlink``.

    ``target`` is a symbolic link's text, or the path of the file that a hard link repeats. ``size`` is in bytes.
    """

    path: str
    kind: str
    mode: int
    uid: int
    gid: int
    size: int = 0
    target: str = ""


def read_entries(chunks: Iterable[bytes], *, where: str) -> Iterator[tuple[DebEntry, Iterator[bytes]]]:
    """The entries of a tar that arrives in ``chunks``, each with its content, to be read before the next entry.

    All chunks are consumed, so that damage at the end is found. The entry for the root itself is left out.

    Raises:
        LayerError: truncated, damaged, or with an entry that no package may hold: an absolute path, ``..``, a device, a
            fifo, a link that leaves the root, a name that is not UTF-8.
    """
    stream = _Stream(chunks, where)
    names: dict[bytes, bytes] = {}
    while True:
        header = stream.read(_RECORD)
        if not header[0]:
            break
        fields = _HEADER.unpack(header)
        size = _number(fields[4], where)
        _check_sum(header, fields[6], where)
        if fields[7] in (b"L", b"K"):
            names[fields[7]] = _read_long_name(stream, size, where)
            continue
        entry = _convert(fields, size, names, where)
        names = {}
        if entry is None:
            continue
        if entry.kind != "file":
            yield entry, iter(())
            continue
        content = stream.content(size, entry.path)
        yield entry, content
        for _ in content:
            pass
        stream.read(-size % _RECORD)
    if names:
        raise LayerError("has a damaged archive: a long name without its entry", where=where)
    stream.finish()


class _Stream:
    """The chunks, to be read in other portions."""

    def __init__(self, chunks: Iterable[bytes], where: str) -> None:
        self._chunks = iter(chunks)
        self._chunk = b""
        self._position = 0
        self._where = where

    def read(self, size: int) -> bytes:
        """Exactly ``size`` bytes."""
        end = self._position + size
        if end <= len(self._chunk):
            data = self._chunk[self._position : end]
            self._position = end
            return data
        return b"".join(self.content(size, ""))

    def content(self, size: int, path: str) -> Iterator[bytes]:
        """``size`` bytes as they come; ``path`` is for the message should they end early."""
        while size:
            if self._position == len(self._chunk):
                self._position = 0
                self._chunk = next(self._chunks, b"")
                if not self._chunk:
                    raise LayerError(f"is cut off inside {path!r}" if path else "is cut off", where=self._where)
            data = self._chunk[self._position : self._position + size]
            self._position += len(data)
            size -= len(data)
            yield data

    def finish(self) -> None:
        """Make sure that nothing but zeros is left."""
        rest = self._chunk[self._position :]
        while rest or (rest := next(self._chunks, b"")):
            if rest.strip(b"\0"):
                raise LayerError("has a damaged archive: data behind its end", where=self._where)
            rest = b""


def _read_long_name(stream: _Stream, size: int, where: str) -> bytes:
    if size > _NAME_LIMIT + 1:
        raise LayerError(f"has a name of {size:,} bytes", where=where)
    name = stream.read(size)
    stream.read(-size % _RECORD)
    return name.rstrip(b"\0")


def _number(field: bytes, where: str) -> int:
    """An octal number, or GNU tar's binary one."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    try:
        return _octal(field)
    except ValueError as error:
        raise LayerError("has a damaged archive: a malformed number", where=where) from error


@functools.lru_cache(maxsize=1024)  # modes and owners are few
def _octal(field: bytes) -> int:
    text = field.strip(b"\0 ")
    if not text:
        return 0
    if not text.isdigit():
        raise ValueError(text)
    return int(text, 8)


def _check_sum(header: bytes, field: bytes, where: str) -> None:
    if sum(header) - sum(field) + 8 * 32 != _number(field, where):
        raise LayerError("has a damaged archive: a header with another checksum", where=where)


def _convert(fields: tuple[bytes, ...], size: int, names: dict[bytes, bytes], where: str) -> DebEntry | None:
    """The entry of a header; None for the root itself."""
    kind, magic = fields[7], fields[9]
    name = fields[0].partition(b"\0")[0]
    prefix = fields[14].partition(b"\0")[0]
    if prefix and magic == b"ustar\x0000":
        name = prefix + b"/" + name
    text = _decode(names.get(b"L", name), where)
    link = names.get(b"K", fields[8].partition(b"\0")[0])
    target = _decode(link, where) if link else ""
    if kind in (b"3", b"4", b"6"):
        raise LayerError(f"{text!r} is a device, fifo or other special file", where=where)
    if kind not in _KINDS:
        raise LayerError(f"{text!r} is an entry of type {kind!r}, which deb(5) does not know", where=where)
    path = _check_path(text, where)
    mode, uid, gid = _number(fields[1], where) & 0o7777, _number(fields[2], where), _number(fields[3], where)
    if max(uid, gid) >= _ID_LIMIT:
        raise LayerError(f"{path!r} belongs to the user or group {max(uid, gid)}", where=where)
    regular = kind in (b"0", b"\0", b"7")
    if size and (not regular or text.endswith("/")):
        raise LayerError(f"{path!r} is no file and has content", where=where)
    if kind == b"5" or (regular and text.endswith("/")):
        return DebEntry(path, "dir", mode, uid, gid) if path else None
    if not path:
        raise LayerError("an entry replaces the root itself", where=where)
    if regular:
        return DebEntry(path, "file", mode, uid, gid, size)
    if kind == b"2":
        if not target or (not target.startswith("/") and _climbs(target) > path.count("/")):
            raise LayerError(f"the link {path!r} to {target!r} leaves the root", where=where)
        return DebEntry(path, "symlink", mode, uid, gid, 0, target)
    linked = _check_path(target, where)
    if not linked or linked == path:
        raise LayerError(f"{path!r} is a hard link to {target!r}", where=where)
    return DebEntry(path, "hardlink", mode, uid, gid, 0, linked)


def _decode(name: bytes, where: str) -> str:
    try:
        text = name.decode()
    except UnicodeDecodeError as error:
        raise LayerError(f"the name {name!r} is not UTF-8", where=where) from error
    if "\n" in text or "\0" in text:
        raise LayerError(f"the name {text!r} has a line break or a NUL", where=where)
    return text


def _check_path(name: str, where: str) -> str:
    """``name`` relative to the root; empty for the root itself."""
    path = name.removeprefix("./").rstrip("/")
    if path == ".":
        return ""
    parts = path.split("/")
    if name.startswith("/") or (path and ("" in parts or "." in parts or ".." in parts)) or not name:
        raise LayerError(f"the path {name!r} leaves the root or is malformed", where=where)
    if len(path) > _COMPONENT_LIMIT // 4:  # a character has at most four bytes
        size = len(path.encode())
        if size > _NAME_LIMIT or max(len(part.encode()) for part in parts) > _COMPONENT_LIMIT:
            raise LayerError(f"the path {path[:80]!r}… has {size:,} bytes, too long for Linux", where=where)
    return path


def _climbs(target: str) -> int:
    """How many folders above its own a relative link leads at most."""
    height = highest = 0
    for part in target.split("/"):
        height += 1 if part == ".." else -1 if part not in ("", ".") else 0
        highest = max(highest, height)
    return highest
