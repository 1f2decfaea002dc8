"""Reads a wheel's zip file: strictly, and with its deflate streams untouched.

``zipfile`` reads the central directory; the local headers are compared with it here, because two readers that
believe different ones see different files in one archive.
Source: PKWARE APPNOTE.TXT 6.3.10, sections 4.3 to 4.5.
"""

from __future__ import annotations

import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import msgspec
from isal import igzip_lib, isal_zlib

from layerforge.errors import LayerError

CHUNK = 1 << 18
"""Bytes of a member that are read at a time."""

WHOLE = 4 << 20
"""The largest member, in bytes, that is ever held in memory as a whole, metadata apart."""

_MOST_MEMBERS = 500_000
_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_ENCRYPTED, _DESCRIPTOR, _PATCHED, _UTF8 = 0x1, 0x8, 0x20, 0x800
_NO_NAMES = {"", ".", ".."}
_FREE = 1 << 30  # archives that unpack to less are never called bombs
_RATIO = 200  # ... and above it, compressed better than this is not software


def _normalise(name: str) -> str:
    """The package that a wheel or its metadata folder is called after."""
    return re.sub(r"[-_.]+", "-", name.partition("-")[0]).lower()


class Member(msgspec.Struct, frozen=True):
    """One file in the archive. ``size`` and ``packed`` (as stored) are in bytes, ``offset`` is its local header's."""

    name: str
    offset: int
    size: int
    packed: int
    crc32: int
    deflated: bool
    executable: bool
    utf8: bool


class WheelArchive:
    """A wheel open for reading. ``members`` are its files, in the archive's order; directories are left out.

    ``dist_info`` is the name of its metadata folder; ``label`` names the wheel in messages.

    Not safe for use from several threads, apart from :meth:`read`.

    Raises:
        LayerError: the zip file is damaged, encrypted, compressed otherwise than with deflate, holds links or names
            that are no plain relative paths, contradicts itself, unpacks to an absurd size, or has not one dist-info,
            its own.
    """

    def __init__(self, path: Path, label: str) -> None:
        self.label = label
        self._file = path.open("rb", buffering=0)
        self._handle = self._file.fileno()
        try:
            self.members = self._read_directory()
            self.dist_info = self._find_dist_info()
        except BaseException:
            self._file.close()
            raise
        self._by_name = {member.name: member for member in self.members}

    def __enter__(self) -> WheelArchive:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._file.close()

    def find(self, name: str) -> Member | None:
        """The member called ``name``, or None."""
        return self._by_name.get(name)

    def read(self, member: Member, limit: int = 64 << 20) -> bytes:
        """The whole content of ``member``, checked against its size and CRC.

        Raises:
            LayerError: it is damaged, or larger than ``limit`` bytes.
        """
        if member.size > limit:
            raise self.error(f"{member.name} has {member.size:,} bytes, more than is sensible for its kind")
        data = self._pread(self._find_data(member), member.packed, member)
        if member.deflated:
            inflater = isal_zlib.decompressobj(wbits=-15)
            try:
                data = inflater.decompress(data, member.size + 1)
            except igzip_lib.IsalError as error:  # type: ignore[misc]
                raise self.error(f"{member.name} is damaged: {error}") from error
            if not inflater.eof or inflater.unused_data or inflater.unconsumed_tail:
                raise self.error(f"{member.name} is damaged: its deflate stream does not end where it should")
        if len(data) != member.size or zlib.crc32(data) != member.crc32:
            raise self.error(f"{member.name} is damaged: size or CRC is not what the archive's directory says")
        return data

    def peek(self, member: Member, count: int) -> bytes:
        """The first bytes of ``member``, at most ``count``; nothing is checked."""
        data = self._pread(self._find_data(member), min(member.packed, 1 << 12), member)
        if not member.deflated:
            return data[:count]
        try:
            return zlib.decompressobj(-15).decompress(data, count)
        except zlib.error as error:
            raise self.error(f"{member.name} is damaged: {error}") from error

    def stream(self, member: Member) -> Iterator[bytes]:
        """The bytes of ``member`` as they are stored, in chunks."""
        offset, left = self._find_data(member), member.packed
        while left:
            data = self._pread(offset, min(CHUNK, left), member)
            yield data
            offset += len(data)
            left -= len(data)

    def stream_stored(self, member: Member) -> Iterator[bytes]:
        """The content of a member that is not compressed, in chunks; its CRC is checked at the end."""
        checksum = 0
        for data in self.stream(member):
            checksum = zlib.crc32(data, checksum)
            yield data
        if checksum != member.crc32:
            raise self.error(f"{member.name} is damaged: CRC is not what the archive's directory says")

    def error(self, message: str) -> LayerError:
        """A LayerError about this wheel."""
        hint = "the wheel is broken as published: ask for another version of the package"
        return LayerError(message, where=self.label, hint=hint)

    # -- inside ----------------------------------------------------------------------------------------------

    def _read_directory(self) -> tuple[Member, ...]:
        try:
            archive = zipfile.ZipFile(self._file)
        except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, EOFError, OverflowError) as error:
            raise self.error(f"not a readable zip file: {error}") from error
        entries = archive.infolist()
        if len(entries) > _MOST_MEMBERS:
            raise self.error(f"{len(entries):,} files; at most {_MOST_MEMBERS:,} are accepted")
        last: dict[str, zipfile.ZipInfo] = {}
        for entry in entries:
            self._check_entry(entry)
            before = last.pop(entry.filename, entry)
            if (before.file_size, before.CRC) != (entry.file_size, entry.CRC):
                raise self.error(f"{entry.filename} is in the archive twice, with different contents")
            last[entry.filename] = entry
        self._check_extents(entries, archive.start_dir)
        return tuple(
            Member(
                name=entry.filename,
                offset=entry.header_offset,
                size=entry.file_size,
                packed=entry.compress_size,
                crc32=entry.CRC,
                deflated=entry.compress_type == zipfile.ZIP_DEFLATED,
                executable=bool(entry.external_attr >> 16 & 0o111),
                utf8=bool(entry.flag_bits & _UTF8),
            )
            for entry in last.values()
            if not entry.is_dir()
        )

    def _find_dist_info(self) -> str:
        folders = {member.name.split("/", 1)[0] for member in self.members if "/" in member.name}
        found = sorted(folder for folder in folders if folder.endswith(".dist-info"))
        if len(found) != 1:
            raise self.error(f"has {len(found)} .dist-info folders where a wheel has one")
        if self.label.endswith(".whl") and _normalise(found[0]) != _normalise(self.label):
            raise self.error(f"has the metadata of another package: {found[0]}")
        return found[0]

    def _check_entry(self, entry: zipfile.ZipInfo) -> None:
        name = entry.orig_filename
        parts = name.rstrip("/").split("/") if entry.is_dir() else name.split("/")
        if name != entry.filename or "\0" in name or "\\" in name or not _NO_NAMES.isdisjoint(parts):
            raise self.error(f"{name!r} is not a name that a file in a wheel may have")
        if len(name.encode()) > 255 and any(len(part.encode()) > 255 for part in parts):
            raise self.error(f"{name[:60]!r}… is longer than a file name may be")
        if entry.flag_bits & (_ENCRYPTED | _PATCHED):
            raise self.error(f"{name} is encrypted or a patch")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise self.error(f"{name} is compressed with method {entry.compress_type}; wheels use deflate")
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise self.error(f"{name} is a link or a device; a wheel holds files only")
        if entry.compress_type == zipfile.ZIP_STORED and entry.file_size != entry.compress_size:
            raise self.error(f"{name} is stored, but has two sizes")

    def _check_extents(self, entries: list[zipfile.ZipInfo], end: int) -> None:
        total, before = 0, 0
        for entry in sorted(entries, key=lambda entry: entry.header_offset):
            if entry.header_offset < 0:
                raise self.error("its directory points outside of it: a part is missing")
            if entry.header_offset < before:
                raise self.error(f"{entry.filename} shares bytes with another file of the archive")
            before = entry.header_offset + _LOCAL.size + entry.compress_size
            total += entry.file_size
        if before > end:
            raise self.error("its files reach beyond its end: it was cut off")
        if total > _FREE and total > _RATIO * os.fstat(self._handle).st_size:
            raise self.error(f"unpacks to {total:,} bytes, more than {_RATIO} times its size")

    def _find_data(self, member: Member) -> int:
        """Where the content of ``member`` begins, once its local header has been found to agree."""
        name = member.name.encode("utf-8" if member.utf8 else "cp437")
        header = self._pread(member.offset, _LOCAL.size + len(name), member)
        magic, _, flags, method, _, _, crc32, packed, size, name_size, extra = _LOCAL.unpack_from(header)
        agrees = (
            magic == b"PK\x03\x04"
            and header[_LOCAL.size :] == name
            and name_size == len(name)
            and method == (zipfile.ZIP_DEFLATED if member.deflated else zipfile.ZIP_STORED)
            and not flags & _ENCRYPTED
        )
        if agrees and not flags & _DESCRIPTOR:
            agrees = crc32 == member.crc32 and all(
                told in (told_again, 0xFFFFFFFF)  # the latter: see the zip64 record, which only repeats it
                for told, told_again in ((packed, member.packed), (size, member.size))
            )
        if not agrees:
            raise self.error(f"{member.name}: its own header contradicts the archive's directory")
        return member.offset + _LOCAL.size + len(name) + int(extra)

    def _pread(self, offset: int, count: int, member: Member) -> bytes:
        data = os.pread(self._handle, count, offset)
        if len(data) != count:
            raise self.error(f"{member.name} is cut off")
        return data
