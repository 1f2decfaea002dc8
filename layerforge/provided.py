"""What layers provide to those above them, read once from the store or a registry and kept by the layer's digest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from layerforge.abi.foundation import CACHE, TOPIC, Foundation, Provides, summarize_provides
from layerforge.abi.survey import Surveyor
from layerforge.errors import ImageError
from layerforge.layers.tar import Layer
from layerforge.oci import decode, encode
from layerforge.progress import Reporter, format_size
from layerforge.registry.pull import Origins
from layerforge.sources.base.stream import read_layer
from layerforge.store import Store


def open_foundation(
    layers: Sequence[Layer], environment: Iterable[str], store: Store, reporter: Reporter
) -> Foundation:
    """The root that ``layers`` make, bottom first, for a container with ``environment`` (``NAME=value`` items).

    Raises:
        RegistryError: a layer cannot be had.
        VerificationError: its bytes are not the ones that the image names.
        LayerError: it is damaged.
    """
    with Origins(store, reporter=reporter) as origins:
        return Foundation([_find(layer, store, origins, reporter) for layer in layers], environment)


def _find(layer: Layer, store: Store, origins: Origins, reporter: Reporter) -> Provides:
    digest = layer.descriptor.digest
    note = store.find_note(TOPIC, digest)
    if note is not None:
        try:
            return decode(note, Provides)
        except ImageError:  # torn by a power cut: as good as absent
            pass
    task = f"read layer {digest.short}"
    reporter.start(task, layer.descriptor.size)
    surveyor = Surveyor(store.scratch, keep=frozenset({CACHE}))
    for entry, content in read_layer(layer, store, origins.open_blob, lambda size: reporter.advance(task, size)):
        if entry.kind == "dir":
            surveyor.add_folder(entry.path)
        elif entry.kind == "symlink":
            surveyor.add_symlink(entry.path, entry.target)
        elif entry.kind == "hardlink":
            surveyor.add_hardlink(entry.path, entry.target)
        elif entry.kind == "file":
            surveyor.begin_file(entry.path, entry.size)
            for chunk in content:
                surveyor.feed(chunk)
            surveyor.end_file()
    provides = summarize_provides(surveyor.seen)
    store.keep_note(TOPIC, digest, encode(provides))
    reporter.finish(task, format_size(layer.descriptor.size))
    return provides
