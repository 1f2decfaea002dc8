"""The compressions of deb(5), each as a stream with a bound on memory and a known end."""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Iterator
from typing import Protocol

import zstandard

from layerforge.errors import LayerError

CHUNK = 1 << 20
"""Bytes of data inflated at a time."""

DAMAGE = (lzma.LZMAError, zlib.error, zstandard.ZstdError, EOFError)
"""What the decompressors raise for damaged data."""

_XZ_MEMORY = 128 << 20
"""Bytes that decompressing may take: ``xz -9`` needs 65 MiB. dpkg's default needs 9."""
_ZSTD_PIECE = 512
_ZSTD_WINDOW = 1 << 27
"""The largest window that zstd itself accepts by default."""


class Inflater(Protocol):
    """What all decompressors have in common."""

    def inflate(self, data: bytes) -> Iterator[bytes]:
        """The chunks that ``data`` completes."""

    def is_complete(self) -> bool:
        """Whether the stream's end has been seen."""


class _Xz:
    def __init__(self) -> None:
        self._decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)

    def inflate(self, data: bytes) -> Iterator[bytes]:
        if self._decompressor.eof:
            raise LayerError("data behind the end of the xz stream")
        yield self._decompressor.decompress(data, CHUNK)
        while not self._decompressor.needs_input and not self._decompressor.eof:
            yield self._decompressor.decompress(b"", CHUNK)
        if self._decompressor.unused_data:
            raise LayerError("data behind the end of the xz stream")

    def is_complete(self) -> bool:
        return self._decompressor.eof


class _Gzip:
    def __init__(self) -> None:
        self._decompressor = zlib.decompressobj(wbits=31)

    def inflate(self, data: bytes) -> Iterator[bytes]:
        if self._decompressor.eof:
            raise LayerError("data behind the end of the gzip stream")
        chunk = self._decompressor.decompress(data, CHUNK)
        while len(chunk) == CHUNK:  # a full one may leave bytes behind even when all input has been taken
            yield chunk
            chunk = self._decompressor.decompress(self._decompressor.unconsumed_tail, CHUNK)
        yield chunk
        if self._decompressor.unused_data:
            raise LayerError("data behind the end of the gzip stream")

    def is_complete(self) -> bool:
        return self._decompressor.eof


class _Zstd:
    """The frame is fed in pieces so small that even the worst gives 16 MiB: what comes of one cannot be limited."""

    def __init__(self) -> None:
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj()

    def inflate(self, data: bytes) -> Iterator[bytes]:
        pieces: list[bytes] = []
        size = 0
        for start in range(0, len(data), _ZSTD_PIECE):
            if self._decompressor.eof:
                raise LayerError("data behind the end of the zstd stream")
            pieces.append(self._decompressor.decompress(data[start : start + _ZSTD_PIECE]))
            size += len(pieces[-1])
            if size >= CHUNK:
                yield b"".join(pieces)
                pieces, size = [], 0
        yield b"".join(pieces)
        if self._decompressor.unused_data:
            raise LayerError("data behind the end of the zstd stream")

    def is_complete(self) -> bool:
        return self._decompressor.eof


class _Stored:
    def inflate(self, data: bytes) -> Iterator[bytes]:
        yield data

    def is_complete(self) -> bool:
        return True


INFLATERS: dict[str, type[Inflater]] = {".xz": _Xz, ".gz": _Gzip, ".zst": _Zstd, "": _Stored}
"""By the suffix of the member's name. ``.bz2`` and ``.lzma`` have not been written since Debian 8."""
