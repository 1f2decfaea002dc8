"""A layer's bytes: compressed form, digests, archive, paths. Source: OCI image specification 1.1, ``layer.md``."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator
from typing import Protocol

from layerforge.errors import SourceError
from layerforge.oci import LAYER_GZIP, LAYER_TAR, LAYER_ZSTD, Descriptor, Digest
from layerforge.validate.findings import Findings
from layerforge.validate.tarstream import Entry, TarError, TarStream

_CHUNK = 256 << 10
_ZSTD_WINDOW = 1 << 27  # what ``zstd --ultra`` makes at most without ``--long``
_ZSTD_PIECE = 16 << 10  # a frame gives back as much as comes out of a piece
_KINDS = "01234567"  # POSIX's: file, hard link, symbolic link, devices, folder, FIFO, contiguous file
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_GZIP_MAGIC = bytes((0x1F, 0x8B))


class Readable(Protocol):
    """A blob's bytes."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Fill ``buffer`` from its start; 0 at the end."""


def validate_layer(reader: Readable, descriptor: Descriptor, diff_id: Digest) -> None:
    """The bytes of one layer, read to the end.

    Raises:
        ImageError: everything that is wrong with them.
    """
    findings = Findings(f"layer {descriptor.digest.short}")
    inspect_layer(reader, descriptor, diff_id, findings)
    findings.check()


def inspect_layer(reader: Readable, descriptor: Descriptor, diff_id: str, findings: Findings) -> None:
    """Note what is wrong with a layer."""
    stored = _Stored(reader)
    uncompressed = hashlib.sha256()
    paths = _Paths(findings)
    tar = TarStream(paths.enter, findings.add)
    try:
        for data in _inflate(stored, descriptor.media_type):
            uncompressed.update(data)
            tar.feed(data)
        tar.finish()
        if uncompressed.hexdigest() != diff_id.removeprefix("sha256:"):
            findings.add("", f"its tar has digest sha256:{uncompressed.hexdigest()}, not the DiffID {diff_id}")
    except (TarError, zlib.error) as error:
        findings.add("", str(error))
    except SourceError as error:
        findings.add("", str(error))
        return
    try:
        for _ in stored:  # the digest is of all bytes, whatever was wrong among them
            pass
    except SourceError as error:
        findings.add("", str(error))
        return
    stored.compare(descriptor, findings)


class _Stored:
    """The stored bytes, in chunks, measured on the way."""

    def __init__(self, reader: Readable) -> None:
        self._reader = reader
        self._digest = hashlib.sha256()
        self._size = 0

    def __iter__(self) -> Iterator[bytes]:
        buffer = memoryview(bytearray(_CHUNK))
        while count := self._reader.readinto(buffer):
            data = bytes(buffer[:count])
            self._size += count
            self._digest.update(data)
            yield data

    def compare(self, descriptor: Descriptor, findings: Findings) -> None:
        if self._size != descriptor.size:
            findings.add("", f"{self._size:,} bytes, where its descriptor says {descriptor.size:,}")
        if self._digest.hexdigest() != descriptor.digest.hex:
            said = f"where its descriptor says {descriptor.digest}"
            findings.add("", f"has digest sha256:{self._digest.hexdigest()}, {said}")


def _inflate(stored: _Stored, media_type: str) -> Iterator[bytes]:
    if media_type == LAYER_TAR:
        yield from stored
        return
    if media_type == LAYER_ZSTD:
        yield from _inflate_zstd(stored)
        return
    if media_type != LAYER_GZIP:
        raise TarError(f"{media_type} is not a form of layer that can be checked")
    inflater = zlib.decompressobj(wbits=31)
    begun = False
    for data in stored:
        while data:
            if inflater.eof:
                if not data.startswith(_GZIP_MAGIC[: len(data)]):
                    raise TarError("data behind the end of the gzip stream")
                inflater = zlib.decompressobj(wbits=31)
            begun = True
            chunk = inflater.decompress(data, _CHUNK)
            data = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
            if chunk:
                yield chunk
        while not inflater.eof and (chunk := inflater.decompress(b"", _CHUNK)):
            yield chunk
    if not begun or not inflater.eof:
        raise TarError("the gzip stream is cut off")


def _inflate_zstd(stored: _Stored) -> Iterator[bytes]:
    import zstandard  # takes a while, and few layers need it

    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    frame = decompressor.decompressobj()
    begun = False
    try:
        for data in stored:
            for start in range(0, len(data), _ZSTD_PIECE):
                piece = data[start : start + _ZSTD_PIECE]
                while piece:
                    if frame.eof:
                        frame = decompressor.decompressobj()
                    begun = True
                    yield frame.decompress(piece)
                    piece = frame.unused_data
    except zstandard.ZstdError as error:
        raise TarError(f"the zstd stream is damaged: {error}") from error
    if not begun or not frame.eof:
        raise TarError("the zstd stream is cut off")


class _Paths:
    """What the entries of one layer may and may not be to each other."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._kinds: dict[str, str] = {}

    def enter(self, entry: Entry) -> None:
        """Take the next entry."""
        path = self._clean(entry)
        kind = "0" if entry.kind == "7" else entry.kind
        if entry.kind not in _KINDS:
            self._doubt(entry, f"has the type {entry.kind!r}, which POSIX does not know")
        if path in self._kinds:
            self._doubt(entry, "appears twice in the layer")
        if entry.mode > 0o7777:
            self._doubt(entry, f"has the mode {entry.mode:o}")
        parent = path.rpartition("/")[0]
        while parent:
            if self._kinds.get(parent, "5") != "5":
                self._doubt(entry, f"lies below {parent}, which is not a folder in this layer")
                break
            parent = parent.rpartition("/")[0]
        if kind == "1":
            self._check_hard_link(entry)
        if kind == "2" and not entry.target:
            self._doubt(entry, "is a symbolic link to nothing")
        self._check_whiteout(entry, path)
        self._kinds[path] = kind

    def _clean(self, entry: Entry) -> str:
        """The path without the customary ``./`` in front and ``/`` behind."""
        path = entry.path
        if path.startswith("/"):
            self._doubt(entry, "is an absolute path")
        if not path or "\0" in path:
            self._doubt(entry, "is not a path")
        if entry.kind != "5" and path.endswith("/"):
            self._doubt(entry, "ends in a slash though it is not a folder")
        parts = path.removeprefix("./").strip("/").split("/")
        if path not in (".", "./") and any(part in ("", ".", "..") for part in parts):
            self._doubt(entry, "has an empty, '.' or '..' component")
        return "/".join(part for part in parts if part not in ("", "."))

    def _check_hard_link(self, entry: Entry) -> None:
        target = entry.target.removeprefix("./")
        kind = self._kinds.get(target)
        if kind is None:
            self._doubt(entry, f"is a hard link to {entry.target!r}, which this layer does not have before it")
        elif kind == "5":
            self._doubt(entry, f"is a hard link to the folder {entry.target!r}")

    def _check_whiteout(self, entry: Entry, path: str) -> None:
        name = path.rpartition("/")[2]
        if not name.startswith(_WHITEOUT):
            return
        if name == _WHITEOUT or (name.startswith(_WHITEOUT * 2) and name != _OPAQUE):
            self._doubt(entry, "is a whiteout of nothing")
        if entry.kind != "0" or entry.size:
            self._doubt(entry, "is a whiteout but not an empty file")

    def _doubt(self, entry: Entry, problem: str) -> None:
        self._findings.add(repr(entry.path), problem)
