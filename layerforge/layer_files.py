"""The files of layers that differ, side by side. Only those layers are read, once each, from wherever they are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import msgspec

from layerforge.inspection import Change, ImageSummary
from layerforge.layers.tar import Layer
from layerforge.oci import Descriptor, Digest
from layerforge.progress import Reporter, format_size
from layerforge.registry.pull import Origins
from layerforge.sources.base.stream import read_layer
from layerforge.store import Store


class File(msgspec.Struct, frozen=True):
    """One path of a layer. ``content`` is the sha256 of a file's bytes, or a link's target."""

    kind: str
    mode: int
    size: int
    content: str

    def __str__(self) -> str:
        what = format_size(self.size) if self.kind == "file" else self.kind
        return f"{what} {self.mode:o}"


def open_layer(image: ImageSummary, digest: str) -> Layer | None:
    """The layer of ``image`` with this digest; None for an empty one."""
    found = next((layer for layer in image.layers if layer.digest == digest), None)
    if found is None:
        return None
    return Layer(Descriptor(found.media_type, Digest(found.digest), found.size), Digest(found.diff_id))


def list_files(layer: Layer | None, store: Store, reporter: Reporter) -> dict[str, File]:
    """What is in ``layer`` by path.

    Raises:
        LayerError: it is damaged.
        RegistryError: it cannot be had.
    """
    if layer is None:
        return {}
    task = f"read layer {layer.descriptor.digest.short}"
    reporter.start(task, layer.descriptor.size)
    found: dict[str, File] = {}
    with Origins(store, reporter=reporter) as origins:
        for entry, content in read_layer(layer, store, origins.open_blob, lambda size: reporter.advance(task, size)):
            digest = hashlib.sha256()
            for piece in content:
                digest.update(piece)
            mark = digest.hexdigest() if entry.kind == "file" else entry.target
            found[entry.path] = File(entry.kind, entry.mode, entry.size, mark)
    reporter.finish(task, format_size(layer.descriptor.size))
    return found


def compare_files(old: dict[str, File], new: dict[str, File]) -> Iterator[Change]:
    """What differs, sorted by path."""
    for path in sorted(old.keys() | new.keys()):
        before, after = old.get(path), new.get(path)
        if before != after:
            same_size = before is not None and after is not None and str(before) == str(after)
            mark = " (other content)" if same_size else ""
            yield Change("file", path, str(before or ""), f"{after}{mark}" if after else "")
