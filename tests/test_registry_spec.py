"""The requests that the distribution specification (1.1) requires of who pulls and pushes, one test for each section.

What goes over the wire is seen by a proxy before a real registry; names are those of the sections of ``spec.md``.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest

from layerforge.oci import DOCKER_INDEX, DOCKER_MANIFEST, INDEX, LAYER_TAR, MANIFEST, Descriptor, Digest, encode
from layerforge.reference import Reference
from layerforge.registry import Registry
from layerforge.store import Store
from tests.registry_servers import Proxy, Request
from tests.registry_standin import Manners, StandIn

pytestmark = pytest.mark.registry

DATA = b"content" * 1000


class Wire:
    """A client of a real registry, and what it sends."""

    def __init__(self, proxy: Proxy, client: Registry, store: Store) -> None:
        self.client = client
        self.store = store
        self.name = client.reference.repository
        self._proxy = proxy

    def sent(self, method: str, part: str) -> Request:
        found = [request for request in self._proxy.requests if request.is_(method, part)]
        assert found, self._proxy.methods()
        return found[-1]

    def push(self, data: bytes = DATA) -> Descriptor:
        blob = self.store.put_bytes(data, LAYER_TAR)
        self.client.push_blob(blob, lambda: self.store.open_blob(blob))
        return blob

    def push_manifest(self, tag: str) -> Descriptor:
        config = self.push(b"{}")
        document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [self.push()]}
        data = encode(document)
        manifest = Descriptor(MANIFEST, Digest.of(data), len(data))
        self.client.push_manifest(tag, manifest, data)
        return manifest


@pytest.fixture
def wire(registry: str, store: Store, request: pytest.FixtureRequest) -> Iterator[Wire]:
    name = "spec/" + request.node.name.removeprefix("test_").replace("_", "-")
    with Proxy(registry) as proxy, Registry(Reference(proxy.address, name, "v1")) as client:
        yield Wire(proxy, client, store)


# -- pull ------------------------------------------------------------------------------------------------------


def test_pulling_manifests(wire: Wire) -> None:
    manifest = wire.push_manifest("v1")
    assert wire.client.get_manifest("v1")[0] == manifest
    by_tag = wire.sent("GET", f"/v2/{wire.name}/manifests/v1")
    for media_type in (MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_INDEX):
        assert media_type in by_tag.headers["Accept"]
    assert wire.client.get_manifest(manifest.digest)[0] == manifest
    wire.sent("GET", f"/v2/{wire.name}/manifests/{manifest.digest}")
    assert wire.client.find_manifest("absent") is None


def test_pulling_blobs(wire: Wire) -> None:
    blob = wire.push()
    with wire.client.read_blob(blob) as reader:
        assert reader.readall() == DATA
    wire.sent("GET", f"/v2/{wire.name}/blobs/{blob.digest}")


def test_checking_if_content_exists_in_the_registry(wire: Wire) -> None:
    blob = wire.push()
    assert wire.client.has_blob(blob.digest)
    wire.sent("HEAD", f"/v2/{wire.name}/blobs/{blob.digest}")
    assert not wire.client.has_blob(Digest.of(b"absent"))


# -- push ------------------------------------------------------------------------------------------------------


def test_post_then_put(wire: Wire) -> None:
    blob = wire.push()
    wire.sent("POST", f"/v2/{wire.name}/blobs/uploads/")
    put = wire.sent("PUT", "/blobs/uploads/")
    assert parse_qs(urlsplit(put.path).query)["digest"] == [blob.digest]
    assert put.headers["Content-Length"] == str(len(DATA))
    assert put.headers["Content-Type"] == "application/octet-stream"


def test_pushing_a_blob_in_chunks(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COG_PUSH_MULTIPART_THRESHOLD", "1000")
    monkeypatch.setenv("COG_PUSH_DEFAULT_CHUNK_SIZE", "3000")
    with Registry(wire.client.reference) as wire.client:
        blob = wire.push()
    chunks = [request for request in wire._proxy.requests if request.is_("PATCH")]
    ranges = [(chunk.headers["Content-Range"], chunk.headers["Content-Length"]) for chunk in chunks]
    assert ranges == [("0-2999", "3000"), ("3000-5999", "3000"), ("6000-6999", "1000")]
    put = wire.sent("PUT", "/blobs/uploads/")
    assert put.headers["Content-Length"] == "0"
    assert parse_qs(urlsplit(put.path).query)["digest"] == [blob.digest]


def test_pushing_a_blob_in_chunks_of_the_least_length(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A minimum that the registry announces with OCI-Chunk-Min-Length holds for all chunks but the last."""
    monkeypatch.setenv("COG_PUSH_MULTIPART_THRESHOLD", "1000")
    monkeypatch.setenv("COG_PUSH_DEFAULT_CHUNK_SIZE", "1000")
    blob = store.put_bytes(DATA, LAYER_TAR)
    with StandIn(Manners(announced=(3000, 1 << 30))) as standin, Registry(Reference(standin.address, "a")) as client:
        client.push_blob(blob, lambda: store.open_blob(blob))
        assert standin.bodies("PATCH") == [3000, 3000, 1000]


def test_resuming_an_upload(store: Store) -> None:
    """After a break the session is asked how much it has (the status of an upload, ``GET <location>``)."""
    blob = store.put_bytes(DATA * 300, LAYER_TAR)
    broken: list[int] = []
    with StandIn() as standin, Registry(Reference(standin.address, "a")) as client:
        standin.trick = lambda method, _, done: (
            method == "PUT" and done >= 1_000_000 and not broken and not broken.append(done)
        )
        client.push_blob(blob, lambda: store.open_blob(blob))
        assert standin.count("GET", "/blobs/uploads/") == 1
        assert standin.bodies("PATCH") == [blob.size - broken[0]]


def test_mounting_a_blob_from_another_repository(wire: Wire) -> None:
    blob = wire.push()
    with Registry(Reference(wire.client.reference.registry, "spec/mounted")) as other:
        assert not other.push_blob(blob, lambda: wire.store.open_blob(blob), mount_from=(wire.name,))
        assert other.has_blob(blob.digest)
    query = parse_qs(urlsplit(wire.sent("POST", "/v2/spec/mounted/blobs/uploads/?").path).query)
    assert query == {"mount": [blob.digest], "from": [wire.name]}


def test_cancelling_an_upload(wire: Wire) -> None:
    """A mount that was not done leaves a session behind."""
    assert not wire.client.mount_blob(Digest.of(b"absent"), wire.name)
    wire.sent("DELETE", f"/v2/{wire.name}/blobs/uploads/")


def test_pushing_manifests(wire: Wire) -> None:
    manifest = wire.push_manifest("v1")
    put = wire.sent("PUT", f"/v2/{wire.name}/manifests/v1")
    assert put.headers["Content-Type"] == MANIFEST
    assert wire.client.get_manifest("v1")[0].digest == manifest.digest


def test_deleting_manifests(wire: Wire) -> None:
    manifest = wire.push_manifest("v1")
    with Registry(wire.client.reference, delete=True) as client:
        client.delete_manifest(manifest.digest)
    wire.sent("DELETE", f"/v2/{wire.name}/manifests/{manifest.digest}")
    assert wire.client.find_manifest("v1") is None
