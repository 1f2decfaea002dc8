from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from layerforge.errors import LayerforgeError
from layerforge.image import Image
from layerforge.oci import INDEX, Index, encode
from layerforge.sinks import ArchiveSink
from layerforge.store import Store
from layerforge.validate import validate_image
from tests.conftest import docker_client, require
from tests.made_images import make_image
from tests.sinks.test_sinks import unpack


@pytest.fixture
def image(store: Store, tmp_path: Path) -> Image:
    return make_image(store, tmp_path / "model")


@pytest.fixture
def archive(store: Store, image: Image, tmp_path: Path) -> Path:
    ArchiveSink(tmp_path / "image.tar").deliver(store, image.manifest, "team/model:v1")
    return tmp_path / "image.tar"


def test_the_archive_is_a_layout(archive: Path, image: Image, tmp_path: Path) -> None:
    layout = unpack(archive, tmp_path / "unpacked")
    assert layout.find("v1").digest == image.manifest.digest
    validate_image(layout, layout.find("v1"))


def test_its_members_are_plain_and_sorted(archive: Path, image: Image) -> None:
    with tarfile.open(archive) as tar:
        members = tar.getmembers()
    names = [member.name for member in members]
    blobs = sorted(f"blobs/sha256/{blob.digest.hex}" for blob in (image.manifest, image.config, *image.layers))
    assert names == ["oci-layout", "index.json", "manifest.json", "blobs", "blobs/sha256", *blobs]
    assert {(member.uid, member.gid, member.uname, member.gname) for member in members} == {(0, 0, "", "")}
    assert len({member.mtime for member in members}) == 1
    assert archive.stat().st_mode & 0o777 == 0o644


def test_a_file_that_was_there_is_replaced(archive: Path, store: Store, tmp_path: Path) -> None:
    before = archive.read_bytes()
    other = make_image(store, tmp_path / "model", text="other")
    ArchiveSink(archive).deliver(store, other.manifest, "team/model:v1")
    assert archive.read_bytes() != before
    validate_image(unpack(archive, tmp_path / "unpacked"), other.manifest)


@pytest.mark.parametrize("path", ["/dev/null", "."])
def test_what_is_no_file_is_not_replaced(store: Store, image: Image, path: str) -> None:
    with pytest.raises(LayerforgeError, match="is not a regular file"):
        ArchiveSink(Path(path)).deliver(store, image.manifest, "team/model:v1")


def test_an_index_has_no_docker_manifest(store: Store, image: Image, tmp_path: Path) -> None:
    index = store.put_bytes(encode(Index(2, INDEX, (image.manifest,))), INDEX)
    ArchiveSink(tmp_path / "image.tar").deliver(store, index, "model:v1")
    layout = unpack(tmp_path / "image.tar", tmp_path / "unpacked")
    assert not (layout.folder / "manifest.json").exists()
    validate_image(layout, layout.find("v1"))


def test_skopeo_reads_it_both_ways(archive: Path, image: Image) -> None:
    require(shutil.which("skopeo"), "skopeo is not installed")
    command = ["skopeo", "inspect", f"oci-archive:{archive}:v1"]
    assert (
        json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["Digest"] == image.manifest.digest
    )
    command = ["skopeo", "inspect", "--config", f"docker-archive:{archive}"]
    found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert found["config"]["WorkingDir"] == "/src"


@pytest.mark.engine
def test_docker_loads_it(archive: Path, image: Image, docker: str) -> None:
    client = str(docker_client())
    loaded = subprocess.run([client, "load", "--input", str(archive)], check=True, capture_output=True, text=True)
    assert "team/model:v1" in loaded.stdout
    command = [client, "inspect", "--format", "{{.Id}} {{.Config.WorkingDir}}", "team/model:v1"]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert found[1] == "/src" and found[0] in (image.config.digest, image.manifest.digest)
    subprocess.run([client, "rmi", "team/model:v1"], check=True, capture_output=True)
