"""Small images made up for tests: real layers by the real writer, one of them read from a file as weights are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from layerforge.image import Image, NamedLayer, assemble_image
from layerforge.layers.compression import GZIP, Compression
from layerforge.layers.tar import Layer, TarWriter
from layerforge.layers.weights import WeightFile, lay_out_weights
from layerforge.oci import (
    CONFIG,
    LAYER_TAR,
    LINUX_AMD64,
    MANIFEST,
    ContainerConfig,
    Descriptor,
    Digest,
)
from layerforge.segments import FileState, Segment, Segments
from layerforge.store import Store

CREATED = 1_700_000_000
CONTAINER = ContainerConfig(
    env=("PATH=/usr/bin:/bin", "LANG=C.UTF-8"),
    cmd=("cat", "/src/hello.txt"),
    working_dir="/src",
    exposed_ports={"5000/tcp": {}},
    labels={"run.cog.version": "test"},
)


def write_layer(store: Store, fill: Callable[[TarWriter], None], *, compression: Compression = GZIP) -> Layer:
    """A layer in the store with whatever ``fill`` writes."""
    with store.write_blob() as blob:
        tar = TarWriter(blob, compression=compression)
        fill(tar)
        layer = tar.finish()
        blob.commit(layer.descriptor.digest)
    return layer


def base_layer(store: Store, marker: str = "") -> Layer:
    """Files of every kind."""

    def fill(tar: TarWriter) -> None:
        tar.directory("etc")
        tar.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n")
        tar.file("etc/marker", marker.encode())
        tar.file("usr/bin/tool", b"#!/bin/sh\n" * 1000, mode=0o755)
        tar.symlink("bin", "usr/bin")
        tar.hardlink("usr/bin/other", "usr/bin/tool", mode=0o755)
        tar.file("usr/share/" + "long-name-" * 20 + "é", b"x")

    return write_layer(store, fill)


def code_layer(store: Store, text: str = "hello") -> Layer:
    """One file under /src."""
    return write_layer(store, lambda tar: tar.file("src/hello.txt", text.encode()))


def weight_layer(store: Store, path: Path) -> Layer:
    """The layer of the weight file ``path``, whose bytes stay where they are."""
    size = path.stat().st_size
    header, trailer = lay_out_weights([WeightFile(f"src/{path.name}", path.name, size, 0o644)])
    hasher = hashlib.sha256(header)
    with path.open("rb") as file:
        while data := file.read(1 << 20):
            hasher.update(data)
    hasher.update(trailer)
    digest = Digest.from_hex(hasher.hexdigest())
    file_part = Segment(path=str(path), state=FileState.of(path.stat()))
    segments = Segments((Segment(header), file_part, Segment(trailer)))
    store.put_segments(digest, segments)
    return Layer(Descriptor(LAYER_TAR, digest, segments.size), digest)


def put_image(store: Store, layers: dict[str, Layer], container: ContainerConfig = CONTAINER) -> Image:
    """The image of ``layers`` (by step name, bottom first), with manifest and config in the store."""
    named = tuple(NamedLayer(name, Digest.of(name.encode()), layer) for name, layer in layers.items())
    image = assemble_image(named, container, LINUX_AMD64, CREATED, {"org.opencontainers.image.title": "made up"})
    store.put_bytes(image.config_bytes, CONFIG)
    store.put_bytes(image.manifest_bytes, MANIFEST)
    return image


def make_image(store: Store, folder: Path, *, text: str = "hello", weights: bytes = b"weights" * 50_000) -> Image:
    """An image of three layers; the top one lies in ``folder/model.safetensors``."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.safetensors"
    if not path.exists() or path.read_bytes() != weights:
        path.write_bytes(weights)
    layers = {"base": base_layer(store), "code": code_layer(store, text), "weights": weight_layer(store, path)}
    return put_image(store, layers)
