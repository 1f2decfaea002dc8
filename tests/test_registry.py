"""Pushing to and reading from a real docker-registry."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from layerforge.errors import InvalidReference, RegistryError, SourceError, StoreError, VerificationError
from layerforge.image import Image
from layerforge.oci import INDEX, LAYER_TAR, Descriptor, Digest, Index, Manifest, decode, encode
from layerforge.reference import Reference, parse_reference
from layerforge.registry import Registry, push_image
from layerforge.store import Store
from layerforge.validate import validate_image
from tests.conftest import require
from tests.made_images import base_layer, code_layer, make_image, put_image, weight_layer
from tests.registry_servers import Proxy, serve_registry

pytestmark = pytest.mark.registry


class Remote:
    """The blobs of a repository, for the validator."""

    def __init__(self, reference: Reference) -> None:
        self._registry = Registry(reference, push=False)

    def open_blob(self, descriptor: Descriptor) -> Any:
        if descriptor.media_type.endswith(("manifest.v1+json", "index.v1+json")):
            return io.BytesIO(self._registry.get_manifest(descriptor.digest)[1])
        return self._registry.read_blob(descriptor)


def tag_of(reference: Reference) -> Digest | None:
    """What the registry has under the tag."""
    with Registry(reference, push=False) as registry:
        found = registry.find_manifest(reference.tag)
    return found[0].digest if found else None


class News:
    """A Reporter that remembers."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.done = 0
        self.total: int | None = None

    def start(self, task: str, total: int | None = None) -> None:
        self.total = total

    def advance(self, task: str, amount: int) -> None:
        self.done += amount

    def finish(self, task: str, outcome: str) -> None:
        self.lines.append(f"{task}: {outcome}")

    def note(self, text: str) -> None:
        self.lines.append(text)

    def warn(self, text: str, hint: str = "") -> None:
        self.lines.append(f"warning: {text}")


@pytest.fixture
def image(store: Store, tmp_path: Path) -> Image:
    return make_image(store, tmp_path / "model")


@pytest.fixture
def reference(registry: str, request: pytest.FixtureRequest) -> Reference:
    """A tag in a repository of the test's own."""
    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name.lower()).strip("-")
    return parse_reference(f"{registry}/tests/{'-'.join(filter(None, name.split('-')))}:v1")


# -- what arrives ----------------------------------------------------------------------------------------------


def test_a_pushed_image_is_whole(store: Store, image: Image, reference: Reference) -> None:
    news = News()
    assert push_image(store, image.manifest, reference, reporter=news) == image.manifest
    validate_image(Remote(reference), image.manifest)
    assert news.done == news.total
    assert any(line.startswith("pushed weights") for line in news.lines)


def test_other_tools_take_it(store: Store, image: Image, reference: Reference, tmp_path: Path) -> None:
    require(shutil.which("skopeo"), "skopeo is not installed")
    push_image(store, image.manifest, reference)
    command = ["skopeo", "inspect", "--tls-verify=false", f"docker://{reference}"]
    found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert found["Digest"] == image.manifest.digest
    assert found["Layers"] == [str(layer.digest) for layer in image.layers]
    copy = [
        "skopeo",
        "copy",
        "--preserve-digests",
        "--src-tls-verify=false",
        f"docker://{reference}",
        f"oci:{tmp_path}/copy:v1",
    ]
    subprocess.run(copy, check=True, capture_output=True)
    for layer in (image.manifest, image.config, *image.layers):
        assert (tmp_path / "copy" / "blobs" / "sha256" / layer.digest.hex).stat().st_size == layer.size


def test_an_index_is_pushed_with_its_images(store: Store, image: Image, reference: Reference) -> None:
    second = put_image(store, {"base": base_layer(store), "code": code_layer(store, "other")})
    index = store.put_bytes(encode(Index(2, INDEX, (image.manifest, second.manifest))), INDEX)
    push_image(store, index, reference)
    with Registry(reference) as registry:
        assert registry.get_manifest("v1")[0] == index
    for manifest in (image.manifest, second.manifest):
        validate_image(Remote(reference), manifest)


def test_an_empty_blob(store: Store, reference: Reference) -> None:
    blob = store.put_bytes(b"", LAYER_TAR)
    with Registry(reference) as registry:
        assert registry.push_blob(blob, lambda: store.open_blob(blob))
        assert not registry.push_blob(blob, lambda: store.open_blob(blob))
        assert registry.read_blob(blob).readall() == b""


@pytest.mark.parametrize("size", [1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_blobs_of_awkward_sizes(store: Store, reference: Reference, size: int) -> None:
    blob = store.put_bytes(os.urandom(size), LAYER_TAR)
    with Registry(reference) as registry:
        registry.push_blob(blob, lambda: store.open_blob(blob))
        assert registry.read_blob(blob).readall() == store.read_blob(blob)


# -- how much is asked and sent --------------------------------------------------------------------------------


def test_requests(store: Store, registry: str, reference: Reference, tmp_path: Path) -> None:
    with Proxy(registry) as proxy:
        there = Reference(proxy.address, reference.repository, "v1")
        image = make_image(store, tmp_path / "model")
        push_image(Store(store.root), image.manifest, there)
        assert sorted(proxy.methods()) == ["GET"] + ["HEAD"] * 4 + ["POST"] * 4 + ["PUT"] * 5
        assert proxy.requests[-1].is_("PUT", "/manifests/v1"), "the manifest comes last"
        sizes = sum(layer.size for layer in image.layers) + image.config.size + image.manifest.size
        assert proxy.received == sizes

        proxy.requests.clear()
        news = News()
        push_image(store, image.manifest, there, reporter=news)
        assert proxy.methods() == ["GET"]
        assert news.lines == [f"push {there}: up to date"]

        proxy.requests.clear()
        changed = make_image(store, tmp_path / "model", text="changed")
        push_image(Store(store.root), changed.manifest, there)
        assert sorted(proxy.methods()) == ["GET"] + ["HEAD"] * 2 + ["POST"] * 2 + ["PUT"] * 3
        assert tag_of(reference) == changed.manifest.digest

        proxy.requests.clear()
        made = make_image(store, tmp_path / "model", text="made here and now")
        push_image(store, made.manifest, there)
        assert sorted(proxy.methods()) == ["GET"] + ["POST"] * 2 + ["PUT"] * 3, "small and new: not asked for"
        assert tag_of(reference) == made.manifest.digest


def test_another_tag_sends_nothing_but_the_manifest(store: Store, image: Image, reference: Reference) -> None:
    push_image(store, image.manifest, reference)
    with Proxy(reference.registry) as proxy:
        there = Reference(proxy.address, reference.repository, "v2")
        push_image(store, image.manifest, there)
        assert sorted(proxy.methods()) == ["GET"] + ["HEAD"] * 4 + ["PUT"]


def test_a_layer_that_is_twice_in_an_image_is_sent_once(store: Store, reference: Reference) -> None:
    layer = code_layer(store, "twice")
    image = put_image(store, {"a": layer, "b": layer})
    with Proxy(reference.registry) as proxy:
        push_image(store, image.manifest, Reference(proxy.address, reference.repository, "v1"))
        assert proxy.methods().count("POST") == 2
    validate_image(Remote(reference), image.manifest)


def test_mounting(store: Store, image: Image, reference: Reference) -> None:
    push_image(store, image.manifest, reference)
    with Proxy(reference.registry) as proxy:
        other = Reference(proxy.address, reference.repository + "-other", "v1")
        push_image(store, image.manifest, other, mount_from=(reference.repository,))
        assert proxy.received == image.manifest.size
        missing = Descriptor(LAYER_TAR, Digest.of(b"?"), 1)
        with Registry(other) as registry:
            assert not registry.mount_blob(missing.digest, reference.repository)
    validate_image(Remote(Reference(reference.registry, other.repository, "v1")), image.manifest)


# -- reading ---------------------------------------------------------------------------------------------------


def test_reading(store: Store, image: Image, reference: Reference) -> None:
    push_image(store, image.manifest, reference)
    with Registry(reference, push=False) as registry:
        found, data = registry.get_manifest("v1")
        assert (found.digest, found.size, data) == (image.manifest.digest, image.manifest.size, image.manifest_bytes)
        assert registry.get_manifest(image.manifest.digest)[1] == data
        manifest = decode(data, Manifest)
        assert registry.read_blob(manifest.config).readall() == image.config_bytes
        assert registry.has_blob(manifest.config.digest)
        assert not registry.has_blob(Digest.of(b"?"))


def test_what_is_not_there(reference: Reference) -> None:
    with Registry(reference, push=False) as registry:
        assert registry.find_manifest("v1") is None
        with pytest.raises(RegistryError) as caught:
            registry.get_manifest("v1")
        assert (caught.value.status, caught.value.code) == (404, "MANIFEST_UNKNOWN")
        assert caught.value.where == f"GET http://{reference.registry}/v2/{reference.repository}/manifests/v1"
        with pytest.raises(RegistryError) as caught:
            registry.read_blob(Descriptor(LAYER_TAR, Digest.of(b"?"), 1))
        assert caught.value.status == 404


# -- what must not be pushed -----------------------------------------------------------------------------------


def test_a_damaged_blob_is_never_committed(store: Store, image: Image, reference: Reference) -> None:
    path = store.blob_path(image.layers[0].digest)
    path.write_bytes(b"\0" * image.layers[0].size)
    with Proxy(reference.registry) as proxy:
        there = Reference(proxy.address, reference.repository, "v1")
        with pytest.raises(VerificationError, match="content has digest") as caught:
            push_image(store, image.manifest, there)
        assert "build the image again" in caught.value.hint
        assert not [request for request in proxy.requests if request.is_("PUT", "/manifests/")]
        assert [request for request in proxy.requests if request.is_("DELETE", "/uploads/")], "the session is given up"
    assert tag_of(reference) is None
    with Registry(reference) as registry:
        assert not registry.has_blob(image.layers[0].digest)


def test_a_weight_file_that_changed_after_the_build(
    store: Store, image: Image, reference: Reference, tmp_path: Path
) -> None:
    (tmp_path / "model" / "model.safetensors").write_bytes(b"weights" * 49_999 + b"changed")
    with pytest.raises(SourceError, match="has changed since the image was built") as caught:
        push_image(store, image.manifest, reference)
    assert caught.value.where == str(tmp_path / "model" / "model.safetensors")
    assert tag_of(reference) is None


def test_a_weight_file_that_changes_while_it_is_sent(store: Store, reference: Reference, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(os.urandom(6 << 20))
    image = put_image(store, {"weights": weight_layer(store, path)})
    touched = False

    class Touching(News):
        def advance(self, task: str, amount: int) -> None:
            nonlocal touched
            if amount == 1 << 20 and not touched:
                touched = True
                with path.open("r+b") as file:
                    file.write(b"x")

    with pytest.raises(SourceError, match="changed while it was being read"):
        push_image(store, image.manifest, reference, reporter=Touching())
    assert touched and tag_of(reference) is None
    with Registry(reference) as registry:
        assert not registry.has_blob(image.layers[0].digest)


def test_a_blob_that_the_store_lost(store: Store, image: Image, reference: Reference) -> None:
    store.blob_path(image.layers[0].digest).unlink()
    with pytest.raises(StoreError, match="does not have this blob"):
        push_image(store, image.manifest, reference)
    assert tag_of(reference) is None


def test_a_digest_that_is_not_the_images(store: Store, image: Image, reference: Reference) -> None:
    other = Reference(reference.registry, reference.repository, "", Digest.of(b"?"))
    with pytest.raises(InvalidReference, match=image.manifest.digest):
        push_image(store, image.manifest, other)


# -- many at once, and kills -----------------------------------------------------------------------------------


def test_two_pushes_to_one_tag(store: Store, reference: Reference, tmp_path: Path) -> None:
    images = [make_image(store, tmp_path / name, text=name, weights=os.urandom(3 << 20)) for name in ("one", "two")]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda image: push_image(store, image.manifest, reference), images))
    winner = tag_of(reference)
    assert winner in {image.manifest.digest for image in images}
    for image in images:
        validate_image(Remote(reference), image.manifest)


PUSH = r"""
    import re, sys
    from pathlib import Path
    from layerforge.oci import MANIFEST, Descriptor, Digest
    from layerforge.reference import parse_reference
    from layerforge.registry import push_image
    from layerforge.store import Store
    manifest = Descriptor(MANIFEST, Digest(sys.argv[3]), int(sys.argv[4]))
    push_image(Store(Path(sys.argv[1])), manifest, parse_reference(sys.argv[2]))
    # Not getrusage: its peak begins with what the parent had when it forked.
    print(int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) // 1024)
"""


def start_push(store: Store, image: Image, reference: Reference) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", textwrap.dedent(PUSH), str(store.root), str(reference)]
    command += [image.manifest.digest, str(image.manifest.size)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_a_push_that_is_killed_is_finished_by_the_next(store: Store, reference: Reference, tmp_path: Path) -> None:
    image = make_image(store, tmp_path / "model", weights=os.urandom(4 << 20))
    for moment in (0.25, 0.5, 0.9):
        with Proxy(reference.registry) as proxy:
            proxy.stall_after = int(moment * (4 << 20))
            process = start_push(store, image, Reference(proxy.address, reference.repository, "v1"))
            while proxy.received < proxy.stall_after and process.poll() is None:
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
            process.communicate()
        assert tag_of(reference) is None
    push_image(store, image.manifest, reference)
    validate_image(Remote(reference), image.manifest)


@pytest.mark.parametrize("size", [256 << 20, pytest.param(1 << 30, marks=pytest.mark.slow)])
def test_memory_does_not_grow_with_the_weights(store: Store, tmp_path: Path, size: int) -> None:
    path = tmp_path / "huge.safetensors"
    with path.open("wb") as file:
        file.truncate(size)  # sparse: costs no disk here
    image = put_image(store, {"weights": weight_layer(store, path)})
    with serve_registry(tmp_path / "registry") as address:
        process = start_push(store, image, parse_reference(f"{address}/huge:v1"))
        output, errors = process.communicate(timeout=120)
    shutil.rmtree(tmp_path / "registry")  # there it does
    assert process.returncode == 0, errors.decode()
    assert int(output) < 150, f"{int(output)} MiB resident"
