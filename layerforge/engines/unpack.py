"""Layers as folders: what the sandbox stacks.

Each layer is unpacked once, into a folder of the store named by its DiffID, so that images share what they have in
common.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from isal import igzip

from layerforge.engines.extract import extract
from layerforge.engines.tree import remove_tree
from layerforge.errors import EngineError, VerificationError
from layerforge.oci import DOCKER_LAYER_GZIP, LAYER_GZIP, LAYER_TAR, LAYER_ZSTD, Descriptor, Digest
from layerforge.progress import Reporter, format_size
from layerforge.store import Store, translate_os_errors

_CHUNK = 1 << 20


class _Tap(io.RawIOBase):
    """Passes reads on and shows what goes by to ``see``."""

    def __init__(self, source: Any, see: Callable[[memoryview], object]) -> None:
        super().__init__()
        self._source = source
        self._see = see

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer)
        count = int(self._source.readinto(view))
        self._see(view[:count])
        return count


def layer_folder(store: Store, diff_id: Digest) -> Path:
    """Where the layer with this DiffID lies unpacked, or will lie."""
    return store.root / "roots" / diff_id.hex


def unpack_layer(store: Store, descriptor: Descriptor, diff_id: Digest, reporter: Reporter) -> Path:
    """The folder with the layer's files, made now if it must be. Atomic; two at once make it once.

    Raises:
        EngineError: the archive is malformed or tries to leave its folder.
        VerificationError: the bytes are not those that ``descriptor`` and ``diff_id`` name.
        StoreError: the layer is not in the store, or the disk is full.
    """
    folder = layer_folder(store, diff_id)
    if folder.exists():
        return folder
    with store.key_lock(Digest.of(b"unpack " + diff_id.encode())):
        if folder.exists():
            return folder
        with translate_os_errors(folder):
            folder.parent.mkdir(exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix="unpack-", dir=store.scratch))
        try:
            task = f"unpack {diff_id.short}"
            reporter.start(task, descriptor.size)
            with translate_os_errors(folder), store.open_blob(descriptor) as blob:
                tap = _Tap(blob, lambda data: reporter.advance(task, len(data)))
                _unpack(cast(BinaryIO, tap), descriptor, diff_id, temporary)
                temporary.rename(folder)
            reporter.finish(task, format_size(descriptor.size))
        finally:
            if temporary.exists():
                remove_tree(temporary)
    return folder


def _unpack(blob: BinaryIO, descriptor: Descriptor, diff_id: Digest, folder: Path) -> None:
    where = f"layer {descriptor.digest}"
    found = hashlib.sha256()
    try:
        with _inflate(blob, descriptor) as stream:
            tap = _Tap(stream, found.update)
            with tarfile.open(fileobj=cast(BinaryIO, tap), mode="r|", bufsize=_CHUNK) as archive:
                extract(archive, folder, where=where)
            for rest in (tap, blob):  # an archive may end before its stream, and a stream before its blob
                while rest.read(_CHUNK):
                    pass
    except (tarfile.TarError, EOFError, igzip.BadGzipFile, UnicodeError) as error:
        raise EngineError(f"not a valid archive: {error}", where=where) from error
    if found.hexdigest() != diff_id.hex:
        message = f"the unpacked content has digest sha256:{found.hexdigest()}, the configuration says {diff_id}"
        raise VerificationError(message, where=where)


@contextmanager
def _inflate(blob: BinaryIO, descriptor: Descriptor) -> Iterator[Any]:
    kind = descriptor.media_type
    if kind in (LAYER_GZIP, DOCKER_LAYER_GZIP):
        with igzip.IGzipFile(fileobj=blob, mode="rb") as stream:  # type: ignore[no-untyped-call]
            yield stream
    elif kind == LAYER_TAR:
        yield blob
    elif kind == LAYER_ZSTD:
        try:
            zstandard = importlib.import_module("zstandard")
        except ModuleNotFoundError as error:
            raise EngineError(
                "a zstd layer needs the Python package zstandard", hint="pip install zstandard"
            ) from error
        yield zstandard.ZstdDecompressor().stream_reader(blob, read_across_frames=True)
    else:
        raise EngineError(f"cannot unpack a layer of type {kind!r}", where=str(descriptor.digest))
