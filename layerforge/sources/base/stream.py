"""The entries of one layer of a base image, as they arrive from the store or the registry."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from typing import BinaryIO, cast

from layerforge.blobs import is_elsewhere
from layerforge.errors import LayerError
from layerforge.inflate import DAMAGE, DiffIdReader, Tap, inflate_layer
from layerforge.layers.tar import Layer
from layerforge.oci import Descriptor
from layerforge.sources.debian.rootstate import Listed
from layerforge.store import Store
from layerforge.verify import VerifiedReader

CHUNK = 1 << 20

Open = Callable[[Descriptor], VerifiedReader]
"""Opens a blob that the store does not have."""

_KINDS = {
    tarfile.DIRTYPE: "dir",
    tarfile.SYMTYPE: "symlink",
    tarfile.LNKTYPE: "hardlink",
    tarfile.CHRTYPE: "device",
    tarfile.BLKTYPE: "device",
    tarfile.FIFOTYPE: "fifo",
}


def read_layer(
    layer: Layer, store: Store, open_origin: Open, advance: Callable[[int], object]
) -> Iterator[tuple[Listed, Iterator[bytes]]]:
    """Every entry with its content, which is to be read before the next entry is asked for, or not at all.

    ``advance`` hears of the stored bytes that came. At the end the layer has been verified as a whole: what was read
    before is only good then.

    Raises:
        LayerError: it is damaged, or has a path outside the root.
        VerificationError: its bytes are not the ones of its digest or of its DiffID.
        RegistryError: it cannot be had.
    """
    descriptor = layer.descriptor
    where = f"layer {descriptor.digest} of the base"
    open_blob = open_origin if is_elsewhere(store, descriptor) else store.open_blob
    try:
        with open_blob(descriptor) as blob:
            tap = cast(BinaryIO, Tap(blob, lambda data: advance(len(data))))
            with inflate_layer(tap, descriptor) as stream:
                archive_bytes = DiffIdReader(stream, layer.diff_id, where)
                with tarfile.open(fileobj=cast(BinaryIO, archive_bytes), mode="r|", bufsize=CHUNK) as archive:
                    for member in archive:
                        yield _convert(member, where), _content(archive, member, where)
                        archive.members = []  # type: ignore[attr-defined]  # tarfile would remember them all
                archive_bytes.finish()
                while tap.read(CHUNK):
                    pass
    except (tarfile.TarError, UnicodeError, *DAMAGE) as error:
        raise LayerError(f"is not a valid archive: {error}", where=where) from error


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo, where: str) -> Iterator[bytes]:
    source = archive.extractfile(member) if member.isreg() else None
    left = member.size
    while source is not None and left:
        try:
            data = source.read(min(left, CHUNK))
        except (tarfile.TarError, *DAMAGE) as error:
            raise LayerError(f"is not a valid archive: {error}", where=where) from error
        if not data:
            raise LayerError(f"is cut off inside {member.name!r}", where=where)
        left -= len(data)
        yield data


def _convert(member: tarfile.TarInfo, where: str) -> Listed:
    kind = "file" if member.isreg() else _KINDS.get(member.type, "other")
    target = _check(member.linkname, where) if kind == "hardlink" else member.linkname if kind == "symlink" else ""
    size = member.size if kind == "file" else 0
    return Listed(_check(member.name, where), kind, member.mode & 0o7777, member.uid, member.gid, size, target)


def _check(name: str, where: str) -> str:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise LayerError(f"the path {name!r} leaves the root", where=where)
    return "/".join(parts)
