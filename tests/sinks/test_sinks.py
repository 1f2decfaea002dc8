"""Every sink delivers the same image; what one destination needs on top of that is in its own file."""

from __future__ import annotations

import json
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from layerforge.errors import InvalidReference, LayerforgeError, SourceError, StoreError, VerificationError
from layerforge.image import Image
from layerforge.oci import MANIFEST, Descriptor, Digest
from layerforge.sinks import ArchiveSink, LayoutSink, LocalSink, RegistrySink, Sink, parse_output
from layerforge.store import Store
from layerforge.verify import VerifiedReader
from tests.made_images import make_image

SinkMaker = Callable[[Path], Sink]


class Layout:
    """The blobs of a layout folder, for the validator."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.index = json.loads((folder / "index.json").read_bytes())

    def open_blob(self, descriptor: Descriptor) -> VerifiedReader:
        file = (self.folder / "blobs" / "sha256" / descriptor.digest.hex).open("rb", buffering=0)
        return VerifiedReader(file, descriptor.digest, descriptor.size)

    def find(self, tag: str) -> Descriptor:
        """The one manifest with this tag."""
        key = "org.opencontainers.image.ref.name"
        [entry] = [entry for entry in self.index["manifests"] if entry["annotations"][key] == tag]
        return Descriptor(entry["mediaType"], Digest(entry["digest"]), entry["size"])


def unpack(archive: Path, folder: Path) -> Layout:
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return Layout(folder)


@pytest.fixture
def image(store: Store, tmp_path: Path) -> Image:
    return make_image(store, tmp_path / "model")


FILES: dict[str, SinkMaker] = {"dir": lambda path: LayoutSink(path), "tar": lambda path: ArchiveSink(path)}


@pytest.fixture(params=FILES)
def make_sink(request: pytest.FixtureRequest) -> SinkMaker:
    return FILES[request.param]


def everything_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# -- what files and folders have in common -----------------------------------------------------------------------


def test_delivering_twice_is_the_same_as_once(make_sink: SinkMaker, store: Store, image: Image, tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    sink = make_sink(out / "image")
    sink.check("model:v1")
    assert not out.exists(), "checking changes nothing"
    assert sink.deliver(store, image.manifest, "model:v1") == image.manifest
    once = everything_below(out)
    assert sink.deliver(store, image.manifest, "model:v1") == image.manifest
    assert everything_below(out) == once
    assert {path.name for path in out.iterdir()} == {"image"}, "no temporary file stays"


def test_the_bytes_do_not_depend_on_where(
    make_sink: SinkMaker, store: Store, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_sink(tmp_path / "a" / "image").deliver(store, image.manifest, "model:v1")
    monkeypatch.chdir(tmp_path / "a")
    make_sink(Path("other")).deliver(store, image.manifest, "model:v1")
    first, second = tmp_path / "a" / "image", tmp_path / "a" / "other"
    if first.is_dir():
        assert everything_below(first) == everything_below(second)
    else:
        assert first.read_bytes() == second.read_bytes()


def break_blob(store: Store, image: Image, tmp_path: Path) -> None:
    path = store.blob_path(image.layers[1].digest)
    path.write_bytes(bytes(len(path.read_bytes())))


def change_weights(store: Store, image: Image, tmp_path: Path) -> None:
    (tmp_path / "model" / "model.safetensors").write_bytes(b"changed")


def lose_blob(store: Store, image: Image, tmp_path: Path) -> None:
    store.blob_path(image.layers[1].digest).unlink()


@pytest.mark.parametrize(
    ("damage", "error"), [(break_blob, VerificationError), (change_weights, SourceError), (lose_blob, StoreError)]
)
@pytest.mark.parametrize("present", [False, True])
def test_nothing_is_half_written(
    make_sink: SinkMaker,
    store: Store,
    tmp_path: Path,
    damage: Callable[[Store, Image, Path], None],
    error: type[Exception],
    present: bool,
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    if present:
        other = make_image(store, tmp_path / "other", text="other", weights=b"o")
        make_sink(out / "image").deliver(store, other.manifest, "other:v1")
    before = everything_below(out)
    image = make_image(store, tmp_path / "model")
    damage(store, image, tmp_path)
    with pytest.raises(error):
        make_sink(out / "image").deliver(store, image.manifest, "model:v1")
    assert everything_below(out) == before
    assert [path.name for path in out.iterdir()] == (["image"] if present else [])


@pytest.mark.parametrize("name", ["Model", "a b", "model:", "model@sha256:" + "0" * 64])
def test_names_that_cannot_be(make_sink: SinkMaker, store: Store, image: Image, tmp_path: Path, name: str) -> None:
    for sink in (make_sink(tmp_path / "out"), LocalSink(), RegistrySink()):
        with pytest.raises(InvalidReference):
            sink.check(name)
        with pytest.raises(InvalidReference):
            sink.deliver(store, image.manifest, name)
    assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_written(make_sink: SinkMaker, store: Store, image: Image, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LayerforgeError, match="is not a folder") as caught:
        make_sink(tmp_path / "file" / "out").deliver(store, image.manifest, "model:v1")
    assert str(tmp_path / "file") in caught.value.where


@pytest.mark.sandbox
def test_a_full_disk(
    make_sink: SinkMaker,
    store: Store,
    tmp_path: Path,
    require: Callable[[object, str], None],
) -> None:
    image = make_image(store, tmp_path / "model", weights=b"w" * (3 << 20))
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(folder)], capture_output=True)
    require(mounted.returncode == 0, "no small disk can be mounted here")
    try:
        with pytest.raises(LayerforgeError, match="no space left on the disk"):
            make_sink(folder / "out").deliver(store, image.manifest, "model:v1")
        assert not list(folder.iterdir())
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


# -- the local store, registries, and --output -------------------------------------------------------------------


def test_the_local_store(store: Store, image: Image) -> None:
    LocalSink().check("model:v1")
    assert LocalSink().deliver(store, image.manifest, "model:v1") == image.manifest
    tagged = store.resolve_tag("index.docker.io/library/model:v1")
    assert tagged is not None and tagged.digest == image.manifest.digest


@pytest.mark.registry
def test_a_registry(store: Store, image: Image, registry: str) -> None:
    sink = RegistrySink()
    sink.check(f"{registry}/sinks/model:v1")
    assert sink.deliver(store, image.manifest, f"{registry}/sinks/model:v1") == image.manifest


def test_a_name_that_says_no_registry() -> None:
    with pytest.raises(InvalidReference, match="no registry to push to") as caught:
        RegistrySink().check("model:v1")
    assert caught.value.hint == "name the registry and your part of it: -t registry.example.com/team/model:v1"
    RegistrySink().check("team/model:v1")  # somebody's own at Docker Hub


def test_parse_output(tmp_path: Path) -> None:
    assert isinstance(parse_output(f"dir:{tmp_path}/a:b"), LayoutSink)
    assert isinstance(parse_output("tar:image.tar"), ArchiveSink)
    for text in ("", "dir", "dir:", "tar:", "zip:x", "image.tar", "DIR:x"):
        with pytest.raises(LayerforgeError) as caught:
            parse_output(text)
        assert "dir:PATH" in caught.value.hint and "tar:PATH" in caught.value.hint


def test_an_image_that_the_store_does_not_have(make_sink: SinkMaker, store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="does not have this blob"):
        make_sink(tmp_path / "out").deliver(store, Descriptor(MANIFEST, Digest.of(b"?"), 1), "model:v1")
