"""An image as a value: finished layers and what the container needs to know, encoded once. Pure.

Source: OCI image specification 1.1, ``manifest.md`` and ``config.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone

import msgspec

from layerforge.base_image import BaseImage
from layerforge.budget import MOST_LAYERS
from layerforge.errors import ImageError
from layerforge.layers.tar import Layer
from layerforge.oci import (
    CONFIG,
    DIFF_ID_ANNOTATION,
    INDEX,
    KEY_ANNOTATION,
    MANIFEST,
    ContainerConfig,
    Descriptor,
    Digest,
    History,
    ImageConfig,
    Index,
    Manifest,
    Platform,
    RootFS,
    encode,
)


class NamedLayer(msgspec.Struct, frozen=True):
    """A Layer with the name and key of the Step that it came from."""

    name: str
    key: Digest
    layer: Layer


class Image(msgspec.Struct, frozen=True):
    """One platform's image. The bytes are what the descriptors describe."""

    manifest: Descriptor
    manifest_bytes: bytes
    config: Descriptor
    config_bytes: bytes
    layers: tuple[Descriptor, ...]


def format_time(seconds: int) -> str:
    """``seconds`` since 1970 as RFC 3339, in UTC."""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def assemble_image(
    layers: tuple[NamedLayer, ...],
    container: ContainerConfig,
    platform: Platform,
    created: int,
    annotations: dict[str, str],
    base: BaseImage | None = None,
) -> Image:
    """Put ``layers`` (bottom first) together, upon those of ``base``. ``created`` is in seconds since 1970.

    Raises:
        ImageError: there are more layers than engines take.
    """
    time = format_time(created)
    below = base.layers if base is not None else ()
    if len(below) + len(layers) > MOST_LAYERS:
        message = f"{len(below)} layers of the base and {len(layers)} of the model: engines take {MOST_LAYERS} in all"
        raise ImageError(message, hint="choose a base with fewer layers, or set `layerforge: {max_layers: …}` lower")
    history = tuple(History(created=time, created_by=f"layerforge {named.name}") for named in layers)
    config = ImageConfig(
        created=time,
        architecture=platform.architecture,
        os=platform.os,
        config=container,
        rootfs=RootFS("layers", tuple(layer.diff_id for layer in (*below, *(named.layer for named in layers)))),
        history=history if base is None else base.history + history,
        variant=msgspec.UNSET if base is None else base.variant,
        os_version=msgspec.UNSET if base is None else base.os_version,
        os_features=msgspec.UNSET if base is None else base.os_features,
    )
    config_bytes = encode(config)
    config_descriptor = Descriptor(CONFIG, Digest.of(config_bytes), len(config_bytes))
    descriptors = tuple(layer.descriptor for layer in below) + tuple(annotate_layer(named) for named in layers)
    manifest_bytes = encode(Manifest(2, MANIFEST, config_descriptor, descriptors, annotations))
    manifest = Descriptor(MANIFEST, Digest.of(manifest_bytes), len(manifest_bytes), platform=platform)
    return Image(manifest, manifest_bytes, config_descriptor, config_bytes, descriptors)


def assemble_index(images: Sequence[Image]) -> tuple[Descriptor, bytes]:
    """One index over the ``images`` of several platforms, in their order (``image-index.md``)."""
    data = encode(Index(2, INDEX, tuple(image.manifest for image in images)))
    return Descriptor(INDEX, Digest.of(data), len(data)), data


def annotate_layer(named: NamedLayer) -> Descriptor:
    """The layer's Descriptor, which keeps what its writer noted, with key and DiffID."""
    identity = {KEY_ANNOTATION: str(named.key), DIFF_ID_ANNOTATION: str(named.layer.diff_id)}
    annotations = {**named.layer.descriptor.annotations, **identity}
    return msgspec.structs.replace(named.layer.descriptor, annotations=annotations)


def identify_layer(descriptor: Descriptor) -> tuple[Digest, Layer] | None:
    """Key and Layer that :func:`annotate_layer` made ``descriptor`` of; None when nothing of that kind is on it."""
    plain = dict(descriptor.annotations)
    try:
        key, diff_id = Digest(plain.pop(KEY_ANNOTATION)), Digest(plain.pop(DIFF_ID_ANNOTATION))
    except (KeyError, ImageError):
        return None
    return key, Layer(msgspec.structs.replace(descriptor, annotations=plain), diff_id)
