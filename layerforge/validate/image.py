"""A whole image, or every image of an index, down to the last byte."""

from __future__ import annotations

from contextlib import closing
from typing import Protocol

from layerforge.errors import ImageError, LayerforgeError
from layerforge.oci import DIFF_ID_ANNOTATION, INDEX, Descriptor, ImageConfig, Index, Manifest, decode
from layerforge.validate.config import inspect_config
from layerforge.validate.findings import Findings
from layerforge.validate.layer import Readable, inspect_layer
from layerforge.validate.manifest import inspect_index, inspect_manifest

_LARGEST_DOCUMENT = 4 << 20


class Reader(Readable, Protocol):
    """An open blob."""

    def close(self) -> None:
        """Give back what it holds."""


class Blobs(Protocol):
    """Where an image's blobs are, such as a Store."""

    def open_blob(self, descriptor: Descriptor, /) -> Reader:
        """The blob's bytes."""


def validate_image(blobs: Blobs, descriptor: Descriptor) -> None:
    """Check the image or index ``descriptor``, its configuration and all its layers.

    Raises:
        ImageError: everything that is wrong, with one line for each problem.
    """
    findings = Findings(f"image {descriptor.digest.short}")
    _inspect(blobs, descriptor, findings)
    findings.check()


def _inspect(blobs: Blobs, descriptor: Descriptor, findings: Findings) -> None:
    is_index = descriptor.media_type == INDEX
    own = Findings(f"{'index' if is_index else 'manifest'} {descriptor.digest.short}")
    data = _read(blobs, descriptor, own)
    if data is not None:
        (inspect_index if is_index else inspect_manifest)(data, descriptor, own)
    findings.extend(own)
    if data is None or own.problems:
        return  # what it refers to cannot be trusted to be what it means
    if is_index:
        for child in decode(data, Index).manifests:
            _inspect(blobs, child, findings)
        return
    manifest = decode(data, Manifest)
    config = _inspect_config(blobs, descriptor, manifest, findings)
    diff_ids = config.rootfs.diff_ids if config else ()
    for number, layer in enumerate(manifest.layers):
        _inspect_layer(blobs, layer, str(diff_ids[number]) if number < len(diff_ids) else "", findings)


def _inspect_config(blobs: Blobs, descriptor: Descriptor, manifest: Manifest, findings: Findings) -> ImageConfig | None:
    own = Findings(f"config {manifest.config.digest.short}")
    data = _read(blobs, manifest.config, own)
    config = None
    if data is not None:
        inspect_config(data, manifest.config, len(manifest.layers), own)
        try:
            config = decode(data, ImageConfig)
        except ImageError as error:
            if not own.problems:
                own.add("", error.message)
    platform = descriptor.platform
    if config and platform and (platform.os, platform.architecture) != (config.os, config.architecture):
        own.add("", f"is for {config.os}/{config.architecture}, where the index says {platform}")
    findings.extend(own)
    return config


def _inspect_layer(blobs: Blobs, layer: Descriptor, diff_id: str, findings: Findings) -> None:
    own = Findings(f"layer {layer.digest.short}")
    noted = layer.annotations.get(DIFF_ID_ANNOTATION)
    if noted is not None and noted != diff_id:
        own.add("annotations", f"note the DiffID {noted}, where the configuration has {diff_id or 'none'}")
    try:
        with closing(blobs.open_blob(layer)) as reader:
            inspect_layer(reader, layer, diff_id, own)
    except LayerforgeError as error:
        own.add("", str(error))
    findings.extend(own)


def _read(blobs: Blobs, descriptor: Descriptor, findings: Findings) -> bytes | None:
    """A document as a whole; None, with a problem noted, when it cannot be read."""
    if descriptor.size > _LARGEST_DOCUMENT:
        findings.add("", f"{descriptor.size:,} bytes are too many for a document")
        return None
    buffer = memoryview(bytearray(64 << 10))
    data = bytearray()
    try:
        with closing(blobs.open_blob(descriptor)) as reader:
            while count := reader.readinto(buffer):
                data += buffer[:count]
    except LayerforgeError as error:
        findings.add("", str(error))
        return None
    return bytes(data)
