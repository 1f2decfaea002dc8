from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from layerforge.errors import LayerforgeError
from layerforge.image import Image
from layerforge.oci import INDEX, Index, encode
from layerforge.sinks import LayoutSink
from layerforge.store import Store
from layerforge.validate import validate_image
from tests.conftest import require
from tests.made_images import base_layer, code_layer, make_image, put_image, write_layer
from tests.sinks.test_sinks import Layout, everything_below


@pytest.fixture
def image(store: Store, tmp_path: Path) -> Image:
    return make_image(store, tmp_path / "model")


def test_a_new_layout(store: Store, image: Image, tmp_path: Path) -> None:
    LayoutSink(tmp_path / "out").deliver(store, image.manifest, "r.example.com/team/model:v1")
    layout = Layout(tmp_path / "out")
    validate_image(layout, layout.find("v1"))
    assert json.loads((tmp_path / "out" / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    [entry] = layout.index["manifests"]
    assert entry["annotations"] == {
        "org.opencontainers.image.ref.name": "v1",
        "io.containerd.image.name": "r.example.com/team/model:v1",
    }
    assert entry["platform"] == {"os": "linux", "architecture": "amd64"}
    blobs = {path.name for path in (tmp_path / "out" / "blobs" / "sha256").iterdir()}
    assert blobs == {blob.digest.hex for blob in (image.manifest, image.config, *image.layers)}
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o755


def test_blobs_of_the_store_are_linked_and_weights_copied(store: Store, image: Image, tmp_path: Path) -> None:
    LayoutSink(tmp_path / "out").deliver(store, image.manifest, "model:v1")
    blobs = tmp_path / "out" / "blobs" / "sha256"
    assert (blobs / image.layers[0].digest.hex).samefile(store.blob_path(image.layers[0].digest))
    weights = blobs / image.layers[2].digest.hex
    assert weights.stat().st_size == image.layers[2].size and weights.stat().st_nlink == 1


def test_another_file_system(store: Store, image: Image) -> None:
    require(os.access("/dev/shm", os.W_OK), "no second file system to write to")
    folder = Path("/dev/shm") / f"layerforge-test-{os.getpid()}"
    try:
        LayoutSink(folder).deliver(store, image.manifest, "model:v1")
        validate_image(Layout(folder), image.manifest)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("what", ["empty folder", "link to an empty folder", "link to nothing"])
def test_places_that_count_as_new(store: Store, image: Image, tmp_path: Path, what: str) -> None:
    target, out = tmp_path / "target", tmp_path / "out"
    if what == "empty folder":
        out.mkdir(mode=0o700)
    else:
        out.symlink_to(target)
        target.mkdir() if what == "link to an empty folder" else None
    LayoutSink(out).deliver(store, image.manifest, "model:v1")
    validate_image(Layout(out), image.manifest)
    assert out.is_symlink() == (what != "empty folder")
    if what == "empty folder":
        assert out.stat().st_mode & 0o777 == 0o700


def test_tags_are_added_and_replaced(store: Store, image: Image, tmp_path: Path) -> None:
    sink = LayoutSink(tmp_path / "out")
    other = make_image(store, tmp_path / "model", text="other")
    sink.deliver(store, image.manifest, "model:v1")
    sink.deliver(store, other.manifest, "model:v2")
    layout = Layout(tmp_path / "out")
    assert (layout.find("v1").digest, layout.find("v2").digest) == (image.manifest.digest, other.manifest.digest)
    sink.deliver(store, other.manifest, "model:v1")
    layout = Layout(tmp_path / "out")
    assert layout.find("v1").digest == other.manifest.digest and len(layout.index["manifests"]) == 2
    validate_image(layout, image.manifest)


def test_what_other_tools_wrote_stays(store: Store, image: Image, tmp_path: Path) -> None:
    out = tmp_path / "out"
    LayoutSink(out).deliver(store, image.manifest, "model:v1")
    index = json.loads((out / "index.json").read_bytes())
    foreign = {"mediaType": "application/x", "digest": "sha512:" + "0" * 128, "size": 3, "newField": [1]}
    index["manifests"].append(foreign)
    index["annotations"] = {"a": "b"}
    del index["mediaType"]  # optional, and absent in what older tools write
    (out / "index.json").write_text(json.dumps(index))
    (out / "extra").write_text("kept")
    LayoutSink(out).deliver(store, image.manifest, "model:v2")
    again = json.loads((out / "index.json").read_bytes())
    assert foreign in again["manifests"] and again["annotations"] == {"a": "b"} and "mediaType" not in again
    assert (out / "extra").read_text() == "kept"


def test_a_blob_that_was_cut_is_written_again(store: Store, image: Image, tmp_path: Path) -> None:
    sink = LayoutSink(tmp_path / "out")
    sink.deliver(store, image.manifest, "model:v1")
    weights = tmp_path / "out" / "blobs" / "sha256" / image.layers[2].digest.hex
    weights.write_bytes(b"short")
    sink.deliver(store, image.manifest, "model:v1")
    validate_image(Layout(tmp_path / "out"), image.manifest)


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"notes.txt": "x"}, "holds something else than an image layout"),
        ({"index.json": "{}"}, "holds something else"),
        ({"oci-layout": '{"imageLayoutVersion":"1.0.0"}'}, "holds something else"),
        ({"oci-layout": "{", "index.json": "{}"}, "its image layout cannot be read"),
        ({"oci-layout": "[]", "index.json": "{}"}, "of version None"),
        ({"oci-layout": '{"imageLayoutVersion":"2.0.0"}', "index.json": '{"manifests":[]}'}, "of version 2.0.0"),
        ({"oci-layout": '{"imageLayoutVersion":"1.0.0"}', "index.json": '{"manifests":{}}'}, "not an image index"),
    ],
)
def test_a_folder_of_something_else_is_left_alone(
    store: Store, image: Image, tmp_path: Path, files: dict[str, str], problem: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name, text in files.items():
        (out / name).write_text(text)
    before = everything_below(out)
    for attempt in (
        lambda: LayoutSink(out).check("model:v1"),
        lambda: LayoutSink(out).deliver(store, image.manifest, "model:v1"),
    ):
        with pytest.raises(LayerforgeError, match=problem) as caught:
            attempt()
        assert caught.value.where == str(out) and "does not exist yet" in caught.value.hint
    assert everything_below(out) == before


def test_a_file_is_left_alone(store: Store, image: Image, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("x")
    with pytest.raises(LayerforgeError, match="is not a folder"):
        LayoutSink(tmp_path / "out").deliver(store, image.manifest, "model:v1")
    assert (tmp_path / "out").read_text() == "x"


def test_an_index_of_several_images(store: Store, image: Image, tmp_path: Path) -> None:
    second = put_image(store, {"base": base_layer(store), "code": code_layer(store, "other")})
    index = store.put_bytes(encode(Index(2, INDEX, (image.manifest, second.manifest))), INDEX)
    LayoutSink(tmp_path / "out").deliver(store, index, "model:v1")
    layout = Layout(tmp_path / "out")
    assert layout.find("v1").digest == index.digest
    for manifest in (image.manifest, second.manifest):
        validate_image(layout, manifest)


def test_several_at_once(store: Store, tmp_path: Path) -> None:
    images = [make_image(store, tmp_path / f"{n}", text=f"{n}", weights=b"%d" % n * 400_000) for n in range(4)]

    def deliver(number: int) -> None:
        LayoutSink(tmp_path / "out").deliver(store, images[number].manifest, f"model:v{number}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(deliver, range(4)))
    layout = Layout(tmp_path / "out")
    for number, image in enumerate(images):
        assert layout.find(f"v{number}").digest == image.manifest.digest
        validate_image(layout, image.manifest)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"blobs", "index.json", "oci-layout"}


def test_other_tools_read_it(store: Store, image: Image, tmp_path: Path) -> None:
    require(shutil.which("skopeo") and shutil.which("umoci"), "skopeo and umoci are not installed")
    out = tmp_path / "out"
    LayoutSink(out).deliver(store, image.manifest, "r.example.com/team/model:v1")
    found = json.loads(subprocess.run(["skopeo", "inspect", f"oci:{out}:v1"], check=True, capture_output=True).stdout)
    assert found["Digest"] == image.manifest.digest
    command = ["umoci", "unpack", "--rootless", "--image", f"{out}:v1", str(tmp_path / "bundle")]
    subprocess.run(command, check=True, capture_output=True)
    root = tmp_path / "bundle" / "rootfs"
    assert (root / "src" / "hello.txt").read_text() == "hello"
    assert (root / "usr" / "bin" / "tool").samefile(root / "usr" / "bin" / "other")
    weights = (tmp_path / "model" / "model.safetensors").read_bytes()
    assert (root / "src" / "model.safetensors").read_bytes() == weights


def test_umoci_restores_capabilities(store: Store, tmp_path: Path) -> None:
    require(shutil.which("umoci") and os.geteuid() == 0, "umoci is not installed, or this is not root")
    value = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)
    attributes = {"security.capability": value}
    layer = write_layer(store, lambda tar: tar.file("usr/bin/ping", b"ELF", mode=0o755, xattrs=attributes))
    out = tmp_path / "out"
    LayoutSink(out).deliver(store, put_image(store, {"base": layer}).manifest, "r.example.com/team/model:v1")
    subprocess.run(["umoci", "unpack", "--image", f"{out}:v1", str(tmp_path / "bundle")], check=True)
    assert os.getxattr(tmp_path / "bundle/rootfs/usr/bin/ping", "security.capability") == value


def test_a_layout_that_umoci_made_is_added_to(store: Store, image: Image, tmp_path: Path) -> None:
    require(shutil.which("umoci"), "umoci is not installed")
    out = tmp_path / "out"
    subprocess.run(["umoci", "init", "--layout", str(out)], check=True)
    subprocess.run(["umoci", "new", "--image", f"{out}:old"], check=True)
    LayoutSink(out).deliver(store, image.manifest, "model:v1")
    listed = subprocess.run(["umoci", "ls", "--layout", str(out)], check=True, capture_output=True, text=True).stdout
    assert listed.split() == ["old", "v1"]
