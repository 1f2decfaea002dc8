"""A layer's archive out of the form it is stored in, as a stream."""

from __future__ import annotations

import hashlib
import io
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

import zstandard
from isal import igzip

from layerforge.errors import LayerError, VerificationError
from layerforge.oci import (
    DOCKER_LAYER_GZIP,
    DOCKER_LAYER_TAR,
    DOCKER_LAYER_ZSTD,
    LAYER_GZIP,
    LAYER_TAR,
    LAYER_ZSTD,
    Descriptor,
    Digest,
)

DAMAGE = (EOFError, igzip.BadGzipFile, zlib.error, zstandard.ZstdError)
"""What reading from :func:`inflate_layer` raises for a damaged stream."""

_WINDOW = 1 << 27
"""The largest window of a zstd layer, in bytes: what ``zstd --ultra`` makes at most without ``--long``."""


class Tap(io.RawIOBase):
    """Passes reads on and shows what goes by to ``see``."""

    def __init__(self, source: Any, see: Callable[[memoryview], object]) -> None:
        super().__init__()
        self._source = source
        self._see = see

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Read into ``buffer``; 0 at the end."""
        view = memoryview(buffer)
        count = int(self._source.readinto(view))
        self._see(view[:count])
        return count


class DiffIdReader(Tap):
    """An inflated layer, which must have ``diff_id`` when :meth:`finish` is called."""

    def __init__(self, source: Any, diff_id: Digest, where: str) -> None:
        self._hash = hashlib.sha256()
        super().__init__(source, self._hash.update)
        self._diff_id = diff_id
        self._where = where

    def finish(self) -> None:
        """Read what is left, and compare.

        Raises:
            VerificationError: the content has another digest.
        """
        while self.read(1 << 20):
            pass
        found = self._hash.hexdigest()
        if found != self._diff_id.hex:
            message = f"the unpacked content has digest sha256:{found}, the configuration says {self._diff_id}"
            raise VerificationError(message, where=self._where)


@contextmanager
def inflate_layer(blob: BinaryIO, descriptor: Descriptor) -> Iterator[Any]:
    """The archive in ``blob``.

    Raises:
        LayerError: the media type is unknown.
    """
    kind = descriptor.media_type
    if kind in (LAYER_GZIP, DOCKER_LAYER_GZIP):
        with igzip.IGzipFile(fileobj=blob, mode="rb") as stream:  # type: ignore[no-untyped-call]
            yield stream
    elif kind in (LAYER_TAR, DOCKER_LAYER_TAR):
        yield blob
    elif kind in (LAYER_ZSTD, DOCKER_LAYER_ZSTD):
        decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
        yield cast(BinaryIO, decompressor.stream_reader(blob, read_across_frames=True, closefd=False))
    else:
        raise LayerError(f"cannot unpack a layer of type {kind!r}", where=str(descriptor.digest))
