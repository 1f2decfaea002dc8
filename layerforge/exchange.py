"""An image with other layers at its bottom: descriptors are moved, everything else stays as it is. Pure.

What comes out is byte for byte what a build from the same project with the newer packages gives, so that the next
build, on whatever machine, finds the tag as it wants it.
"""

from __future__ import annotations

import msgspec

from layerforge.base_image import BASE_DIGEST, BASE_NAME, BaseImage, annotate, merge_container, merge_environment
from layerforge.errors import ImageError
from layerforge.foundation import LABEL, FoundationRecord, label_of, read_foundation
from layerforge.image import Image, NamedLayer, annotate_layer, identify_layer
from layerforge.layers.tar import Layer
from layerforge.oci import (
    CONFIG,
    MANIFEST,
    ContainerConfig,
    Descriptor,
    Digest,
    History,
    ImageConfig,
    Manifest,
    Platform,
    RootFS,
    decode,
    encode,
)

_OURS = "layerforge "


class Original(msgspec.Struct, frozen=True):
    """An image as it is in the registry, understood. ``record`` tells of its lowest layers."""

    descriptor: Descriptor
    manifest: Manifest
    config: ImageConfig
    record: FoundationRecord

    @property
    def platform(self) -> Platform:
        """What it runs on."""
        return Platform(self.config.os, self.config.architecture)

    @property
    def bottom(self) -> tuple[Layer, ...]:
        """The layers that are to be replaced."""
        return tuple(map(Layer, self.manifest.layers, self.config.rootfs.diff_ids))[: self.record.layers]

    @property
    def upper(self) -> tuple[Descriptor, ...]:
        """The layers that stay."""
        return self.manifest.layers[self.record.layers :]

    @property
    def upper_history(self) -> tuple[History, ...]:
        """Their entries in the history: one each, the last."""
        return self.config.history[len(self.config.history) - len(self.upper) :]

    @property
    def upper_names(self) -> tuple[str, ...]:
        """What the steps that made them were called."""
        return tuple(entry.created_by.removeprefix(_OURS) for entry in self.upper_history)

    def find(self, key: Digest) -> Layer | None:
        """The layer at the bottom that was made for ``key``."""
        for layer in self.bottom:
            named = identify_layer(layer.descriptor)
            if named is not None and named[0] == key and named[1].diff_id == layer.diff_id:
                return named[1]
        return None


def read_original(descriptor: Descriptor, data: bytes, config_data: bytes, where: str) -> Original:
    """The image with the manifest ``data`` and configuration ``config_data``.

    Raises:
        ImageError: it is not one that Layerforge made, or is damaged.
    """
    manifest = decode(data, Manifest, what=f"{where}: the manifest")
    config = decode(config_data, ImageConfig, what=f"{where}: the configuration")
    record = read_foundation(config.config, where)
    upper = len(manifest.layers) - record.layers
    entries = config.history[len(config.history) - upper :] if 0 < upper <= len(config.history) else ()
    fits = len(manifest.layers) == len(config.rootfs.diff_ids) and record.layers > 0 and len(entries) == upper
    if not fits or not all(entry.created_by.startswith(_OURS) and not entry.empty_layer for entry in entries):
        hint = "another tool has changed it since: build it again"
        raise ImageError("its layers are not those that it was built with", where=where, hint=hint)
    return Original(descriptor, manifest, config, record)


def exchange(
    original: Original, record: FoundationRecord, layers: tuple[NamedLayer, ...], base: BaseImage | None
) -> Image:
    """``original`` upon ``base`` and ``layers`` (bottom first), of which ``record`` tells what they are made of."""
    below = base.layers if base is not None else ()
    config = original.config
    record = msgspec.structs.replace(record, layers=len(below) + len(layers))
    ours = tuple(History(created=config.created, created_by=f"{_OURS}{named.name}") for named in layers)
    bottom = tuple(layer.diff_id for layer in (*below, *(named.layer for named in layers)))
    new_config = msgspec.structs.replace(
        config,
        config=_merge(original, record, base),
        rootfs=RootFS("layers", bottom + config.rootfs.diff_ids[original.record.layers :]),
        history=(base.history if base is not None else ()) + ours + original.upper_history,
        variant=msgspec.UNSET if base is None else base.variant,
        os_version=msgspec.UNSET if base is None else base.os_version,
        os_features=msgspec.UNSET if base is None else base.os_features,
    )
    config_bytes = encode(new_config)
    config_descriptor = Descriptor(CONFIG, Digest.of(config_bytes), len(config_bytes))
    descriptors = tuple(layer.descriptor for layer in below) + tuple(annotate_layer(named) for named in layers)
    annotations = {k: v for k, v in original.manifest.annotations.items() if k not in (BASE_NAME, BASE_DIGEST)}
    annotations |= annotate(base) if base is not None else {}
    manifest = Manifest(2, MANIFEST, config_descriptor, descriptors + original.upper, annotations)
    manifest_bytes = encode(manifest)
    descriptor = Descriptor(MANIFEST, Digest.of(manifest_bytes), len(manifest_bytes), platform=original.platform)
    return Image(descriptor, manifest_bytes, config_descriptor, config_bytes, manifest.layers)


def inherit(
    container: ContainerConfig, record: FoundationRecord, own: dict[str, str], base: BaseImage | None
) -> ContainerConfig:
    """``container``, whose own variables are ``own``, upon ``base``, with ``record`` as a label that tells of it."""
    below = base.env if base is not None else {}
    variables = merge_environment(below, own)
    record = msgspec.structs.replace(
        record,
        variables=tuple(name for name in variables if name not in own),
        labels=tuple(name for name in base.container.labels if name not in container.labels) if base else (),
        ports=tuple(port for port in base.container.exposed_ports if port not in container.exposed_ports)
        if base
        else (),
    )
    container = msgspec.structs.replace(
        container,
        env=tuple(f"{name}={value}" for name, value in variables.items()),
        labels={**container.labels, LABEL: label_of(record)},
    )
    return merge_container(base.container, container) if base is not None else container


def _merge(original: Original, record: FoundationRecord, base: BaseImage | None) -> ContainerConfig:
    """How the container runs: what the old base gave is replaced by what the new one gives."""
    container, before = original.config.config, original.record
    variables = dict(item.partition("=")[::2] for item in container.env)
    own = {name: value for name, value in variables.items() if name not in before.variables}
    if "R8_PYTHON_VERSION" in own:
        own["R8_PYTHON_VERSION"] = record.python.version
    stripped = msgspec.structs.replace(
        container,
        labels={name: value for name, value in container.labels.items() if name not in (*before.labels, LABEL)},
        exposed_ports={port: value for port, value in container.exposed_ports.items() if port not in before.ports},
    )
    return inherit(stripped, record, own, base)
