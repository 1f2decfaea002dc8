"""Reads a ``.deb`` as a stream: control files whole, data entries one after another, nothing unpacked to disk.

Format: deb(5), an ``ar`` archive of ``debian-binary``, ``control.tar.*`` and ``data.tar.*``. A package is another
party's file even when its hash is right, so whatever could reach outside the root is refused here.
"""

from __future__ import annotations

import io
import lzma
import tarfile
import zlib
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import msgspec
import zstandard

from layerforge.errors import LayerError

CHUNK = 1 << 20
"""Bytes of data inflated at a time."""
_CONTROL_LIMIT = 64 << 20
_MAGIC = b"!<arch>\n"


class ControlFile(msgspec.Struct, frozen=True):
    """One member of ``control.tar``."""

    mode: int
    content: bytes


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


class Inflater(Protocol):
    """What all decompressors have in common."""

    def inflate(self, data: bytes) -> Iterator[bytes]:
        """The chunks that ``data`` completes."""

    def is_complete(self) -> bool:
        """Whether the stream's end has been seen."""


class _Xz:
    def __init__(self) -> None:
        self._decompressor = lzma.LZMADecompressor()

    def inflate(self, data: bytes) -> Iterator[bytes]:
        if self._decompressor.eof:
            raise LayerError("data behind the end of the xz stream")
        yield self._decompressor.decompress(data, CHUNK)
        while not self._decompressor.needs_input and not self._decompressor.eof:
            yield self._decompressor.decompress(b"", CHUNK)

    def is_complete(self) -> bool:
        return self._decompressor.eof


class _Gzip:
    def __init__(self) -> None:
        self._decompressor = zlib.decompressobj(wbits=31)

    def inflate(self, data: bytes) -> Iterator[bytes]:
        yield self._decompressor.decompress(data, CHUNK)
        while self._decompressor.unconsumed_tail:
            yield self._decompressor.decompress(self._decompressor.unconsumed_tail, CHUNK)

    def is_complete(self) -> bool:
        return self._decompressor.eof


class _Zstd:
    def __init__(self) -> None:
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()

    def inflate(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), 1 << 14):
            yield self._decompressor.decompress(data[start : start + (1 << 14)])

    def is_complete(self) -> bool:
        return self._decompressor.eof


class _Stored:
    def inflate(self, data: bytes) -> Iterator[bytes]:
        yield data

    def is_complete(self) -> bool:
        return True


_INFLATERS: dict[str, type[Inflater]] = {".xz": _Xz, ".gz": _Gzip, ".zst": _Zstd, "": _Stored}
_DAMAGE = (lzma.LZMAError, zlib.error, zstandard.ZstdError, EOFError, tarfile.TarError)


class DebFile:
    """One open package. Read ``control`` first, then :meth:`data_chunks` once; close it when done.

    Raises:
        LayerError: not a package, truncated, or with members that deb(5) does not know.
    """

    def __init__(self, path: Path, *, where: str = "") -> None:
        self.where = where or path.name
        self._file: BinaryIO = path.open("rb")
        try:
            if self._file.read(len(_MAGIC)) != _MAGIC:
                raise LayerError("is not a Debian package", where=self.where)
            name, size = self._next_member()
            if name != "debian-binary" or not self._read_exactly(size).startswith(b"2."):
                raise LayerError("is not a Debian package of format 2", where=self.where)
            self._skip_padding(size)
            name, size = self._next_member()
            self.control = self._read_control(name, size)
            self._skip_padding(size)
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> DebFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def data_chunks(self) -> Generator[bytes, None, None]:
        """The bytes of ``data.tar`` in chunks of at most about :data:`CHUNK`.

        Raises:
            LayerError: damaged or truncated.
        """
        name, size = self._next_member()
        if not name.startswith("data.tar"):
            raise LayerError(f"has a member {name!r} where data.tar is expected", where=self.where)
        yield from self._inflate(name, size)
        self._skip_padding(size)
        if self._file.read(1):
            raise LayerError("has more members than deb(5) knows", where=self.where)

    # -- ar --------------------------------------------------------------------------------------------------

    def _next_member(self) -> tuple[str, int]:
        """Name and size of the next member; those whose name begins with ``_`` are passed over, as deb(5) says."""
        while True:
            header = self._read_exactly(60)
            name = header[:16].decode("ascii", "replace").rstrip().rstrip("/")
            try:
                size = int(header[48:58])
            except ValueError as error:
                raise LayerError("has a damaged member header", where=self.where) from error
            if header[58:] != b"`\n" or size < 0:
                raise LayerError("has a damaged member header", where=self.where)
            if not name.startswith("_"):
                return name, size
            self._file.seek(size + size % 2, io.SEEK_CUR)

    def _read_exactly(self, size: int) -> bytes:
        data = self._file.read(size)
        if len(data) != size:
            raise LayerError("is cut off", where=self.where)
        return data

    def _skip_padding(self, size: int) -> None:
        if size % 2:
            self._file.read(1)

    def _inflate(self, name: str, size: int) -> Iterator[bytes]:
        suffix = name.rpartition(".tar")[2]
        if suffix not in _INFLATERS:
            raise LayerError(f"member {name!r} is compressed in an unknown way", where=self.where)
        inflater = _INFLATERS[suffix]()
        left = size
        try:
            while left:
                data = self._read_exactly(min(left, 1 << 18))
                left -= len(data)
                for chunk in inflater.inflate(data):
                    if chunk:
                        yield chunk
        except _DAMAGE as error:
            raise LayerError(f"{name} is damaged: {error}", where=self.where) from error
        if not inflater.is_complete():
            raise LayerError(f"{name} is cut off", where=self.where)

    def _read_control(self, name: str, size: int) -> dict[str, ControlFile]:
        if not name.startswith("control.tar"):
            raise LayerError(f"has a member {name!r} where control.tar is expected", where=self.where)
        files: dict[str, ControlFile] = {}
        total = 0
        for entry, stream in read_entries(self._inflate(name, size), where=self.where):
            if entry.kind == "dir":
                continue
            total += entry.size
            if entry.kind != "file" or "/" in entry.path or total > _CONTROL_LIMIT:
                raise LayerError(f"control.tar has an unexpected member {entry.path!r}", where=self.where)
            files[entry.path] = ControlFile(entry.mode, b"".join(stream))
        if "control" not in files:
            raise LayerError("control.tar has no control file", where=self.where)
        return files


class _ChunkReader:
    """A file of chunks, as tarfile's stream mode wants it."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")

    def read(self, size: int) -> bytes:
        if not self._rest:
            self._rest = memoryview(next(self._chunks, b""))
        data, self._rest = self._rest[:size], self._rest[size:]
        return bytes(data)


def read_entries(chunks: Iterable[bytes], *, where: str) -> Iterator[tuple[DebEntry, Iterator[bytes]]]:
    """The entries of a tar that arrives in chunks, each with its content, to be read before the next entry.

    All chunks are consumed, so that damage at the end is found. The entry for the root itself is left out.

    Raises:
        LayerError: truncated, or an entry that no package may hold: an absolute path, ``..``, a device, a fifo.
    """
    source = iter(chunks)
    try:
        with tarfile.open(fileobj=_ChunkReader(source), mode="r|", bufsize=1 << 18) as tar:  # type: ignore[call-overload]
            for member in tar:
                entry = _convert(member, where)
                if entry.path:
                    yield entry, _content(tar, member, where)
                tar.members = []  # tarfile would remember them all
    except tarfile.TarError as error:
        raise LayerError(f"has a damaged archive: {error}", where=where) from error
    for _ in source:
        pass


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo, where: str) -> Iterator[bytes]:
    if not member.isreg():
        return
    file = tar.extractfile(member)
    left = member.size
    while file is not None and left:
        try:
            data = file.read(min(left, CHUNK))
        except tarfile.TarError as error:
            raise LayerError(f"is cut off inside {member.name!r}", where=where) from error
        if not data:
            raise LayerError(f"is cut off inside {member.name!r}", where=where)
        left -= len(data)
        yield data


def _convert(member: tarfile.TarInfo, where: str) -> DebEntry:
    path = _check(member.name, where)
    common: dict[str, Any] = {"mode": member.mode & 0o7777, "uid": member.uid, "gid": member.gid}
    if member.isdir():
        return DebEntry(path, "dir", **common)
    if not path:
        raise LayerError("replaces the root by something that is not a directory", where=where)
    if member.issym():
        if not member.linkname or (not member.linkname.startswith("/") and _climbs(member.linkname) > path.count("/")):
            raise LayerError(f"the link {path!r} to {member.linkname!r} leaves the root", where=where)
        return DebEntry(path, "symlink", target=member.linkname, **common)
    if member.islnk():
        return DebEntry(path, "hardlink", target=_check(member.linkname, where), **common)
    if member.isreg() and not member.issparse():
        return DebEntry(path, "file", size=member.size, **common)
    raise LayerError(f"{path!r} is a device, fifo or other special file", where=where)


def _check(name: str, where: str) -> str:
    path = name.removeprefix("./").rstrip("/")
    if path == ".":
        path = ""
    if name.startswith("/") or (path and any(part in ("", ".", "..") for part in path.split("/"))):
        raise LayerError(f"the path {name!r} leaves the root or is malformed", where=where)
    return path


def _climbs(target: str) -> int:
    """How many folders above its own a relative link leads at most."""
    height = highest = 0
    for part in target.split("/"):
        height += 1 if part == ".." else -1 if part not in ("", ".") else 0
        highest = max(highest, height)
    return highest
