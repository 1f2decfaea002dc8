"""Moving descriptors: what changes, what does not, and what is refused."""

from __future__ import annotations

import msgspec
import pytest

from layerforge.base_image import BASE_DIGEST, BaseImage
from layerforge.errors import ImageError
from layerforge.exchange import exchange, inherit, read_original
from layerforge.foundation import LABEL, FoundationRecord, label_of, list_changes, read_foundation
from layerforge.image import Image, NamedLayer, assemble_image
from layerforge.layers.tar import Layer
from layerforge.lock import LockedBase, LockedPython
from layerforge.oci import (
    LAYER_GZIP,
    LINUX_AMD64,
    MANIFEST,
    ContainerConfig,
    Descriptor,
    Digest,
    History,
    decode,
    encode,
)

OWN = {"R8_PYTHON_VERSION": "3.13.5", "MINE": "x"}


def named(name: str, content: str, **annotations: str) -> NamedLayer:
    digest = Digest.of(content.encode())
    layer = Layer(Descriptor(LAYER_GZIP, digest, len(content), annotations), Digest.of(b"diff " + content.encode()))
    return NamedLayer(name, Digest.of(b"key " + content.encode()), layer)


def record(version: str = "3.13.5", **parts: object) -> FoundationRecord:
    python = LockedPython("3.13", version, "debian")
    return FoundationRecord(2, "trixie", "3.13", python, **parts)  # type: ignore[arg-type]


UPPER = (named("packages/numpy", "numpy", **{"run.layerforge.abi": "AAAA"}), named("code", "code"))


def image(
    bottom: tuple[NamedLayer, ...], own: dict[str, str], about: FoundationRecord, base: BaseImage | None
) -> Image:
    below = len(base.layers) if base else 0
    about = msgspec.structs.replace(about, layers=below + len(bottom))
    container = inherit(ContainerConfig(labels={"run.cog.version": "1"}, cmd=("python",)), about, own, base)
    annotations = {BASE_DIGEST: str(base.manifest.digest), "org.opencontainers.image.base.name": "b"} if base else {}
    return assemble_image((*bottom, *UPPER), container, LINUX_AMD64, 0, annotations, base)


def base_image(content: str, *env: str, **labels: str) -> BaseImage:
    layer = named("", content).layer
    manifest = Descriptor(MANIFEST, Digest.of(content.encode()), 5)
    container = ContainerConfig(env=env, labels=labels, user="app", exposed_ports={f"{len(content)}/tcp": {}})
    history = (History(created_by="ADD"), History(created_by="ENV", empty_layer=True))
    return BaseImage("b", manifest, manifest, (layer,), history, container)


def reread(made: Image) -> object:
    return read_original(made.manifest, made.manifest_bytes, made.config_bytes, "x")


OLD = (named("base", "old base"), named("root", "old root"))
NEW = (named("base", "new base"), named("root", "new root"))


def test_the_result_is_the_image_that_a_build_gives() -> None:
    original = reread(image(OLD, OWN, record(packages={"libc6": "1"}), None))
    about = record("3.13.6", packages={"libc6": "2"})
    changed = exchange(original, about, NEW, None)  # type: ignore[arg-type]
    built = image(NEW, {**OWN, "R8_PYTHON_VERSION": "3.13.6"}, about, None)
    assert changed.manifest_bytes == built.manifest_bytes
    assert changed.config_bytes == built.config_bytes


def test_upon_another_image_what_was_inherited_is_replaced() -> None:
    before = base_image("old one", "PATH=/opt/a/bin", "CUDA=1", "GONE=1", old="1", both="1")
    after = base_image("new", "PATH=/opt/b/bin", "CUDA=2", "ADDED=1", new="1", both="2")
    locked = [LockedBase("b", each.manifest.digest, 5, MANIFEST) for each in (before, after)]
    original = reread(image(OLD[1:], OWN, record(image=locked[0]), before))
    changed = exchange(original, record(image=locked[1]), NEW[1:], after)  # type: ignore[arg-type]
    built = image(NEW[1:], OWN, record(image=locked[1]), after)
    assert changed.config_bytes == built.config_bytes
    document = msgspec.json.decode(changed.config_bytes)["config"]
    assert "GONE=1" not in document["Env"] and "CUDA=2" in document["Env"] and "MINE=x" in document["Env"]
    assert "old" not in document["Labels"] and document["Labels"]["both"] == "2"


def test_upper_descriptors_are_moved_as_they_are() -> None:
    made = image(OLD, OWN, record(), None)
    changed = exchange(reread(made), record(), NEW, None)  # type: ignore[arg-type]
    assert changed.layers[2:] == made.layers[2:]
    layers = msgspec.json.decode(changed.manifest_bytes)["layers"]
    assert layers[2:] == msgspec.json.decode(made.manifest_bytes)["layers"][2:]


def test_a_layer_at_the_bottom_is_found_by_its_key() -> None:
    original = reread(image(OLD, OWN, record(), None))
    assert original.find(OLD[0].key) == OLD[0].layer  # type: ignore[attr-defined]
    assert original.find(UPPER[0].key) is None  # type: ignore[attr-defined]


def test_an_image_that_says_nothing_is_refused() -> None:
    with pytest.raises(ImageError, match="says nothing of what its base") as caught:
        read_foundation(ContainerConfig(), "x")
    assert "build it again" in caught.value.hint
    later = msgspec.structs.replace(record(), revision=9)
    with pytest.raises(ImageError, match="revision 9"):
        read_foundation(ContainerConfig(labels={LABEL: label_of(later)}), "x")
    assert read_foundation(ContainerConfig(labels={LABEL: label_of(record())}), "x") == record()


def test_an_image_that_was_changed_since_is_refused() -> None:
    made = image(OLD, OWN, record(), None)
    config = msgspec.json.decode(made.config_bytes)
    config["history"].append({"created_by": "RUN apt-get upgrade"})
    manifest = msgspec.json.decode(made.manifest_bytes)
    manifest["layers"].append(manifest["layers"][0])
    config["rootfs"]["diff_ids"].append(config["rootfs"]["diff_ids"][0])
    with pytest.raises(ImageError, match="not those that it was built with"):
        read_original(made.manifest, encode(manifest), encode(config), "x")
    config["rootfs"]["diff_ids"].pop()
    with pytest.raises(ImageError, match="not those"):
        read_original(made.manifest, encode(manifest), encode(config), "x")


def test_changes_are_told() -> None:
    old, new = (
        record(packages={"a": "1", "b": "1", "c": "1"}),
        record("3.13.6", packages={"a": "2", "b": "1", "d": "1"}),
    )
    assert list(list_changes(old, new)) == ["a 1 → 2", "c 1 → (removed)", "d (new) → 1", "Python 3.13.5 → 3.13.6"]
    assert decode(label_of(old).encode(), FoundationRecord) == old
