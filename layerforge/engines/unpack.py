"""Layers as folders: what the sandbox stacks.

Each layer is unpacked once, into a folder of the store named by its DiffID, so that images share what they have in
common.
"""

from __future__ import annotations

import tarfile
import tempfile
from pathlib import Path
from typing import BinaryIO, cast

from layerforge.blobs import require_blobs
from layerforge.engines.extract import extract
from layerforge.engines.tree import remove_tree
from layerforge.errors import EngineError, LayerError
from layerforge.inflate import DAMAGE, DiffIdReader, Tap, inflate_layer
from layerforge.oci import Descriptor, Digest
from layerforge.progress import Reporter, format_size
from layerforge.store import Store, translate_os_errors

_CHUNK = 1 << 20


def layer_folder(store: Store, diff_id: Digest) -> Path:
    """Where the layer with this DiffID lies unpacked, or will lie."""
    return store.root / "roots" / diff_id.hex


def unpack_layer(store: Store, descriptor: Descriptor, diff_id: Digest, reporter: Reporter) -> Path:
    """The folder with the layer's files, made now if it must be. Atomic; two at once make it once.

    Raises:
        EngineError: the archive is malformed or tries to leave its folder.
        VerificationError: the bytes are not those that ``descriptor`` and ``diff_id`` name.
        StoreError: neither the store nor a registry that it knows of has the layer, or the disk is full.
    """
    folder = layer_folder(store, diff_id)
    if folder.exists():
        return folder
    with store.key_lock(Digest.of(b"unpack " + diff_id.encode())):
        if folder.exists():
            return folder
        require_blobs(store, (descriptor,), reporter)
        with translate_os_errors(folder):
            folder.parent.mkdir(exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix="unpack-", dir=store.scratch))
        try:
            task = f"unpack {diff_id.short}"
            reporter.start(task, descriptor.size)
            with translate_os_errors(folder), store.open_blob(descriptor) as blob:
                tap = Tap(blob, lambda data: reporter.advance(task, len(data)))
                _unpack(cast(BinaryIO, tap), descriptor, diff_id, temporary)
                temporary.rename(folder)
            reporter.finish(task, format_size(descriptor.size))
        finally:
            if temporary.exists():
                remove_tree(temporary)
    return folder


def _unpack(blob: BinaryIO, descriptor: Descriptor, diff_id: Digest, folder: Path) -> None:
    where = f"layer {descriptor.digest}"
    try:
        with inflate_layer(blob, descriptor) as stream:
            archive_bytes = DiffIdReader(stream, diff_id, where)
            with tarfile.open(fileobj=cast(BinaryIO, archive_bytes), mode="r|", bufsize=_CHUNK) as archive:
                extract(archive, folder, where=where)
            archive_bytes.finish()  # an archive may end before its stream
            while blob.read(_CHUNK):  # and a stream before its blob
                pass
    except (tarfile.TarError, UnicodeError, LayerError, *DAMAGE) as error:
        raise EngineError(f"not a valid archive: {error}", where=where) from error
