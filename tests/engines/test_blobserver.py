from __future__ import annotations

import http.client
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from layerforge.engines.blobserver import BlobServer
from layerforge.oci import INDEX, LAYER_TAR, MANIFEST, Descriptor, Digest
from layerforge.segments import FileState, Segment, Segments
from layerforge.store import Store

DATA = bytes(range(256)) * 4096  # 1 MiB


@pytest.fixture
def server(store: Store) -> Iterator[BlobServer]:
    with BlobServer(store) as server:
        yield server


def ask(server: BlobServer, path: str, method: str = "GET", **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection(server.address, timeout=10)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def test_says_that_it_is_a_registry(server: BlobServer) -> None:
    response, body = ask(server, "/v2/")
    assert (response.status, body) == (200, b"{}")
    assert response.headers["Docker-Distribution-Api-Version"] == "registry/2.0"


@pytest.mark.parametrize("kind", [MANIFEST, INDEX])
def test_gives_manifests_by_digest_and_tag(server: BlobServer, store: Store, kind: str) -> None:
    data = msgspec.json.encode({"schemaVersion": 2, "mediaType": kind})
    manifest = store.put_bytes(data, kind)
    store.tag("v1", manifest)
    for reference in ("v1", manifest.digest):
        response, body = ask(server, f"/v2/any/name/manifests/{reference}")
        assert (response.status, body) == (200, data)
        assert response.headers["Content-Type"] == kind
        assert response.headers["Docker-Content-Digest"] == manifest.digest
        head, nothing = ask(server, f"/v2/any/name/manifests/{reference}", "HEAD")
        assert (head.status, nothing, head.headers["Content-Length"]) == (200, b"", str(len(data)))


def test_gives_blobs(server: BlobServer, store: Store) -> None:
    blob = store.put_bytes(DATA, LAYER_TAR)
    response, body = ask(server, f"/v2/a/blobs/{blob.digest}")
    assert (response.status, body == DATA) == (200, True)
    assert response.headers["Docker-Content-Digest"] == blob.digest
    assert response.headers["Accept-Ranges"] == "bytes"
    head, _ = ask(server, f"/v2/a/blobs/{blob.digest}", "HEAD")
    assert (head.status, head.headers["Content-Length"]) == (200, str(len(DATA)))


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=300000-700000", 300_000, 700_001),
        ("bytes=1048575-", len(DATA) - 1, len(DATA)),
        ("bytes=262144-", 262_144, len(DATA)),
        ("bytes=-5", len(DATA) - 5, len(DATA)),
        ("bytes=5-99999999", 5, len(DATA)),
    ],
)
def test_gives_ranges(server: BlobServer, store: Store, asked: str, start: int, end: int) -> None:
    blob = store.put_bytes(DATA, LAYER_TAR)
    response, body = ask(server, f"/v2/a/blobs/{blob.digest}", Range=asked)
    assert (response.status, body == DATA[start:end]) == (206, True)
    assert response.headers["Content-Range"] == f"bytes {start}-{end - 1}/{len(DATA)}"


def test_refuses_a_range_outside(server: BlobServer, store: Store) -> None:
    blob = store.put_bytes(b"abc", LAYER_TAR)
    response, _ = ask(server, f"/v2/a/blobs/{blob.digest}", Range="bytes=3-")
    assert (response.status, response.headers["Content-Range"]) == (416, "bytes */3")


def segmented(store: Store, folder: Path) -> tuple[Descriptor, Path]:
    weights = folder / "weights"
    weights.write_bytes(DATA)
    parts = (
        Segment(data=b"head"),
        Segment(path=str(weights), state=FileState.of(weights.stat())),
        Segment(data=b"end"),
    )
    digest = Digest.of(b"head" + DATA + b"end")
    store.put_segments(digest, Segments(parts))
    return Descriptor(LAYER_TAR, digest, len(DATA) + 7), weights


def test_streams_blobs_that_lie_in_other_files(server: BlobServer, store: Store, tmp_path: Path) -> None:
    blob, _ = segmented(store, tmp_path)
    response, body = ask(server, f"/v2/a/blobs/{blob.digest}")
    assert (response.status, body == b"head" + DATA + b"end") == (200, True)


def test_breaks_off_when_a_file_has_changed(server: BlobServer, store: Store, tmp_path: Path) -> None:
    blob, weights = segmented(store, tmp_path)
    weights.write_bytes(DATA[:-1] + b"!")
    with pytest.raises((http.client.IncompleteRead, http.client.RemoteDisconnected, ConnectionError)):
        ask(server, f"/v2/a/blobs/{blob.digest}")
    assert "changed" in server.failures[0].message


@pytest.mark.parametrize("size", [10, 1 << 18, (1 << 18) + 1, len(DATA)])
def test_breaks_off_before_the_end_of_a_damaged_blob(server: BlobServer, store: Store, size: int) -> None:
    blob = store.put_bytes(DATA[:size], LAYER_TAR)
    store.blob_path(blob.digest).write_bytes(b"!" + DATA[1:size])
    with pytest.raises((http.client.IncompleteRead, http.client.RemoteDisconnected, ConnectionError)):
        ask(server, f"/v2/a/blobs/{blob.digest}")
    assert "digest" in server.failures[0].message


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_is_read_only(server: BlobServer, method: str) -> None:
    response, _ = ask(server, "/v2/a/blobs/uploads/", method)
    assert response.status == 405


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/etc/passwd",
        "/v2/a/blobs/../../../index.json",
        "/v2/a/blobs/sha256:..%2f..%2f..%2findex.json",
        f"/v2/a/blobs/sha256:{'0' * 64}",
        f"/v2/a/manifests/sha256:{'0' * 64}",
        "/v2/a/manifests/unknown",
        "/v2/a/tags/list",
    ],
)
def test_has_nothing_else(server: BlobServer, path: str) -> None:
    response, _ = ask(server, path)
    assert response.status == 404


def test_is_not_for_other_hosts(server: BlobServer) -> None:
    response, _ = ask(server, "/v2/", Host="evil.example.org")
    assert response.status == 403


def test_is_closed_behind_its_block(store: Store) -> None:
    with BlobServer(store) as server:
        idle = http.client.HTTPConnection(server.address, timeout=10)
        idle.request("GET", "/v2/")
        assert idle.getresponse().read() == b"{}"
    with pytest.raises(OSError):
        ask(server, "/v2/")
    idle.close()
