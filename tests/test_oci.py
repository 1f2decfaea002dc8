from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerforge.errors import ImageError
from layerforge.oci import (
    CONFIG,
    INDEX,
    LAYER_GZIP,
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
    builtins,
    convert,
    decode,
    encode,
)

A = Digest.of(b"a")
DESCRIPTOR = Descriptor(LAYER_GZIP, A, 1)
EXAMPLES = [
    DESCRIPTOR,
    Descriptor(MANIFEST, A, 5, {"k": "v"}, Platform("linux", "arm64", "v8"), "application/x"),
    Manifest(2, MANIFEST, Descriptor(CONFIG, A, 2), (DESCRIPTOR, DESCRIPTOR), {"a": "b"}),
    Index(2, INDEX, (DESCRIPTOR,)),
    ImageConfig(
        "2024-01-01T00:00:00Z",
        "amd64",
        "linux",
        ContainerConfig(env=("A=b",), cmd=("x",), exposed_ports={"5000/tcp": {}}, labels={"l": "é"}),
        RootFS("layers", (A,)),
        (History("2024-01-01T00:00:00Z", "step"), History(empty_layer=True)),
    ),
]


@pytest.mark.parametrize("value", EXAMPLES, ids=lambda value: type(value).__name__)
def test_decoding_undoes_encoding(value: msgspec.Struct) -> None:
    data = encode(value)
    assert decode(data, type(value)) == value
    assert convert(builtins(value), type(value)) == value
    assert encode(decode(data, type(value))) == data


def test_the_encoding_is_canonical() -> None:
    data = encode(EXAMPLES[1])
    document = json.loads(data)
    assert data == json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    first, second = {"b": "1", "a": "2"}, {"a": "2", "b": "1"}
    assert encode(Descriptor(CONFIG, A, 1, first)) == encode(Descriptor(CONFIG, A, 1, second))


def test_required_fields_are_written_even_when_empty() -> None:
    """``schemaVersion`` and empty lists are what other tools look for."""
    assert json.loads(encode(Index(2, INDEX, ()))) == {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [],
        "annotations": {},
    }
    assert json.loads(encode(DESCRIPTOR)) == {"mediaType": LAYER_GZIP, "digest": A, "size": 1}
    assert json.loads(encode(ContainerConfig(working_dir="/src"))) == {"WorkingDir": "/src"}


def test_fields_of_newer_versions_are_passed_over() -> None:
    document = {**builtins(DESCRIPTOR), "futureField": [1, {"x": None}]}
    assert decode(json.dumps(document).encode(), Descriptor) == DESCRIPTOR


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b'{"mediaType":"m","digest":"sha256:00","size":1}',
        b'{"mediaType":"m","digest":1,"size":1}',
        b'{"mediaType":"m","size":1}',
        json.dumps({"mediaType": "m", "digest": A, "size": "1"}).encode(),
        json.dumps({"mediaType": "m", "digest": A, "size": 1.5}).encode(),
        json.dumps({"mediaType": "m", "digest": A, "size": 1, "annotations": {"a": 1}}).encode(),
        b'{"x":' + b"[" * 100_000,
    ],
)
def test_what_is_no_descriptor_is_an_error(data: bytes) -> None:
    with pytest.raises(ImageError, match="the thing is not valid"):
        decode(data, Descriptor, what="the thing")


@pytest.mark.parametrize(
    "text", ["", "sha256:", "sha256:" + "A" * 64, "sha256:" + "a" * 63, "sha512:" + "a" * 64, "\n"]
)
def test_a_digest_cannot_be_anything_else(text: str) -> None:
    with pytest.raises(ImageError, match="not a sha256 digest"):
        Digest(text)
    with pytest.raises(ImageError):
        Digest("sha256:" + "a" * 64 + "\n")


def test_a_digest_in_an_error_is_cut() -> None:
    with pytest.raises(ImageError) as caught:
        Digest("x" * 100_000)
    assert len(caught.value.message) < 200


@given(st.binary())
def test_digests(data: bytes) -> None:
    digest = Digest.of(data)
    assert Digest.from_hex(digest.hex) == digest == f"sha256:{digest.hex}"
    assert digest.hex.startswith(digest.short) and len(digest.short) == 12


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_are_an_error(data: bytes) -> None:
    for kind in (Manifest, Index, ImageConfig):
        try:
            decode(data, kind)
        except ImageError:
            pass
