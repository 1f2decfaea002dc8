"""The contents of chosen files of a base image. Only the layers that have one of them are read."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator

from layerforge.base_image import BaseImage
from layerforge.blobs import open_origins
from layerforge.progress import Reporter, format_size
from layerforge.sources.base.root import BaseRoot
from layerforge.sources.base.stream import read_layer
from layerforge.store import Store

LARGEST = 256 << 20
"""Bytes of the largest file that is read."""


def read_files(
    base: BaseImage, root: BaseRoot, paths: Collection[str], task: str, store: Store, reporter: Reporter
) -> Iterator[tuple[tuple[str, ...], Iterator[bytes]]]:
    """Each content with those of ``paths`` (files in ``root``, no links) that have it. ``task`` is for the reporter.

    Raises:
        RegistryError: a layer cannot be had.
        LayerError: a layer is damaged.
    """
    by_layer: dict[int, dict[str, list[str]]] = {}
    for path in paths:
        real = path
        while (entry := root.paths[real]).kind == "hardlink" and entry.target in root.paths:
            real = entry.target
        by_layer.setdefault(root.layers[path], {}).setdefault(real, []).append(path)
    size = sum(base.layers[number].descriptor.size for number in by_layer)
    reporter.start(task, size)
    blobs = [base.layers[number].descriptor for number in by_layer]
    with open_origins(store, blobs, reporter, threading.Event()) as open_origin:
        for number, wanted in sorted(by_layer.items()):
            layer = base.layers[number]
            for entry, content in read_layer(layer, store, open_origin, lambda count: reporter.advance(task, count)):
                names = wanted.get(entry.path) or wanted.get(root.place(entry.path))
                if names and entry.kind == "file" and entry.size <= LARGEST:
                    yield tuple(names), content
    reporter.finish(task, format_size(size))


def read_base_files(
    base: BaseImage, root: BaseRoot, paths: Collection[str], store: Store, reporter: Reporter
) -> dict[str, bytes]:
    """The contents of ``paths``.

    Raises:
        RegistryError, LayerError: as :func:`read_files`.
    """
    found: dict[str, bytes] = {}
    for names, content in read_files(base, root, paths, "take files from the base", store, reporter):
        found |= dict.fromkeys(names, b"".join(content))
    return found
