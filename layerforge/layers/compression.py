"""How a layer's bytes are stored: gzip, zstd or as they are. What each gives is part of the key of every layer.

A layer is cut into blocks, each of which becomes a gzip member (RFC 1952) or a zstd frame (RFC 8878) of its own, so
that all processors can compress at once and the bytes depend on nothing but the input and what ``identity`` names.
"""

from __future__ import annotations

import functools
import struct
import threading
from collections.abc import Callable

import deflate
import msgspec

from layerforge.errors import LayerError
from layerforge.oci import LAYER_GZIP, LAYER_TAR, LAYER_ZSTD

GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"  # no name, no time, unknown OS

_DEFLATE_LEVEL = 1  # libdeflate's. A higher one saves 5 % of the size for twice the time
_ZSTD_VERSION, _ZSTD_LEVEL = "1.5.7", 3


class Compression(msgspec.Struct, frozen=True):
    """One of :data:`COMPRESSIONS`. ``identity`` names compressor, version and level; ``media_type`` is the layer's."""

    name: str
    identity: str
    media_type: str


GZIP = Compression("gzip", f"deflate-0.9.0/{_DEFLATE_LEVEL}", LAYER_GZIP)
"""What every engine and registry takes."""

ZSTD = Compression("zstd", f"zstd-{_ZSTD_VERSION}/{_ZSTD_LEVEL}", LAYER_ZSTD)
"""Smaller, and faster to unpack; engines from 2023 on take it (Docker 23, containerd 1.5, Podman 4)."""

NONE = Compression("none", "none", LAYER_TAR)
"""The tar itself."""

COMPRESSIONS = {each.name: each for each in (GZIP, ZSTD, NONE)}
"""By the names that cog.yaml uses."""


def block_compressor(compression: Compression) -> Callable[[bytes], bytes]:
    """What makes a gzip member or a zstd frame of a block; it may be called from several threads.

    Raises:
        LayerError: this machine's libzstd is another one than the pinned, and might give other bytes.
    """
    if compression == GZIP:
        return compress_member
    if compression == ZSTD:
        return _zstd_compressor()
    return bytes


def compress_member(data: bytes) -> bytes:
    """``data`` as one gzip member."""
    body = deflate.deflate_compress(data, _DEFLATE_LEVEL)
    return b"".join((GZIP_HEADER, body, end_member(deflate.crc32(data), len(data))))


def end_member(crc32: int, size: int) -> bytes:
    """The last eight bytes of a gzip member whose content has this checksum and ``size`` in bytes."""
    return struct.pack("<II", crc32, size & 0xFFFFFFFF)


@functools.cache
def _zstd_compressor() -> Callable[[bytes], bytes]:
    import zstandard  # takes a while, and few ask for it

    found = ".".join(map(str, zstandard.ZSTD_VERSION))
    if found != _ZSTD_VERSION:
        hint = "install the version of zstandard that Layerforge's own requirements name, or use gzip"
        raise LayerError(f"zstd layers are made with libzstd {_ZSTD_VERSION}, and here is {found}", hint=hint)
    local = threading.local()  # a compressor serves one thread at a time

    def compress(data: bytes) -> bytes:
        compressor = getattr(local, "compressor", None)
        if compressor is None:
            compressor = local.compressor = zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True)
        frame: bytes = compressor.compress(data)
        return frame

    return compress
