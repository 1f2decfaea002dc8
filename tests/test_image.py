from __future__ import annotations

import pytest

from layerforge.budget import MOST_LAYERS
from layerforge.errors import ImageError
from layerforge.image import NamedLayer, assemble_image, format_time
from layerforge.layers.tar import Layer
from layerforge.oci import (
    CONFIG,
    DIFF_ID_ANNOTATION,
    KEY_ANNOTATION,
    LAYER_GZIP,
    LINUX_AMD64,
    ContainerConfig,
    Descriptor,
    Digest,
    ImageConfig,
    Manifest,
    decode,
)


def layer(name: str) -> NamedLayer:
    descriptor = Descriptor(LAYER_GZIP, Digest.of(b"gz" + name.encode()), 7)
    return NamedLayer(name, Digest.of(b"key" + name.encode()), Layer(descriptor, Digest.of(b"tar" + name.encode())))


def test_manifest_and_config_agree() -> None:
    layers = (layer("base"), layer("code"))
    image = assemble_image(layers, ContainerConfig(cmd=("x",), labels={"a": "b"}), LINUX_AMD64, 0, {"k": "v"})
    manifest = decode(image.manifest_bytes, Manifest)
    config = decode(image.config_bytes, ImageConfig)
    assert image.manifest.digest == Digest.of(image.manifest_bytes)
    assert manifest.config == Descriptor(CONFIG, Digest.of(image.config_bytes), len(image.config_bytes))
    assert [d.digest for d in manifest.layers] == [n.layer.descriptor.digest for n in layers]
    assert config.rootfs.diff_ids == tuple(n.layer.diff_id for n in layers)
    assert [h.created_by for h in config.history] == ["layerforge base", "layerforge code"]
    assert manifest.annotations == {"k": "v"}
    assert b'"schemaVersion":2' in image.manifest_bytes
    for named, descriptor in zip(layers, manifest.layers, strict=True):
        assert descriptor.annotations == {KEY_ANNOTATION: named.key, DIFF_ID_ANNOTATION: named.layer.diff_id}


def test_more_layers_than_engines_take_are_refused() -> None:
    layers = tuple(layer(f"weights/{number}") for number in range(MOST_LAYERS))
    assert len(assemble_image(layers, ContainerConfig(), LINUX_AMD64, 0, {}).layers) == MOST_LAYERS
    with pytest.raises(ImageError, match=f"engines take {MOST_LAYERS} in all") as caught:
        assemble_image((*layers, layer("code")), ContainerConfig(), LINUX_AMD64, 0, {})
    assert "max_layers" in caught.value.hint


def test_times_are_rfc_3339() -> None:
    assert format_time(315_619_200) == "1980-01-02T00:00:00Z"
