"""The validator, fed with whole images and with images that are each broken in one way."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from layerforge.errors import ImageError, VerificationError
from layerforge.image import Image
from layerforge.layers.compression import NONE
from layerforge.layers.headers import TRAILER, encode_header, padding
from layerforge.layers.tar import Layer, TarWriter
from layerforge.oci import (
    CONFIG,
    INDEX,
    LAYER_GZIP,
    LAYER_TAR,
    LAYER_ZSTD,
    MANIFEST,
    Descriptor,
    Digest,
    Index,
    Platform,
    encode,
)
from layerforge.store import Store
from layerforge.validate import validate_config, validate_image, validate_index, validate_layer, validate_manifest
from tests.made_images import base_layer, make_image, put_image

Change = Callable[[dict[str, Any]], object]
OTHER = "sha256:" + "0" * 64


def describe(data: bytes, media_type: str) -> Descriptor:
    return Descriptor(media_type, Digest.of(data), len(data))


def problems_of(call: Callable[[], object]) -> str:
    with pytest.raises(ImageError) as caught:
        call()
    return caught.value.message


@pytest.fixture
def image(store: Store, tmp_path: Path) -> Image:
    return make_image(store, tmp_path / "model")


def test_a_whole_image_is_valid(store: Store, image: Image) -> None:
    validate_image(store, image.manifest)
    assert validate_manifest(image.manifest_bytes, image.manifest).layers == image.layers
    assert validate_config(image.config_bytes, image.config, layers=3).os == "linux"


def test_an_index_is_checked_with_all_its_images(store: Store, image: Image) -> None:
    index = encode(Index(2, INDEX, (image.manifest,)))
    descriptor = store.put_bytes(index, INDEX)
    validate_image(store, descriptor)
    assert validate_index(index, descriptor).manifests == (image.manifest,)
    store.blob_path(image.layers[1].digest).unlink()
    assert image.layers[1].digest in problems_of(lambda: validate_image(store, descriptor))


# -- documents -------------------------------------------------------------------------------------------------


def set_field(*path: Any, value: Any) -> Change:
    """A change that puts ``value`` at ``path``; ``...`` as the value removes it."""

    def change(document: Any) -> None:
        for step in path[:-1]:
            document = document[step]
        if value is ...:
            del document[path[-1]]
        else:
            document[path[-1]] = value

    return change


MANIFEST_FAULTS: dict[str, tuple[Change, str]] = {
    "schema version": (set_field("schemaVersion", value=1), "schemaVersion: is 1, not 2"),
    "schema version missing": (set_field("schemaVersion", value=...), "schemaVersion: is missing"),
    "schema version true": (set_field("schemaVersion", value=True), "schemaVersion: is a true or false"),
    "media type": (set_field("mediaType", value=INDEX), f"mediaType: is {INDEX}"),
    "media type missing": (set_field("mediaType", value=...), "mediaType: is missing"),
    "also an index": (set_field("manifests", value=[]), "manifests: in a manifest"),
    "no config": (set_field("config", value=...), "config: is missing"),
    "config type": (set_field("config", "mediaType", value=LAYER_TAR), "config.mediaType: is"),
    "config a list": (set_field("config", value=[]), "config: is a list"),
    "no layers": (set_field("layers", value=...), "layers: is missing"),
    "empty layers": (set_field("layers", value=[]), "layers: is empty"),
    "layer a string": (set_field("layers", 0, value="x"), "layers[0]: is not an object"),
    "layer type": (set_field("layers", 1, "mediaType", value=CONFIG), "layers[1].mediaType: is"),
    "no media type at all": (set_field("layers", 1, "mediaType", value="tar"), "'tar' is not a media type"),
    "digest in capitals": (set_field("layers", 0, "digest", value="sha256:" + "A" * 64), "is not a sha256 digest"),
    "digest of another kind": (set_field("layers", 0, "digest", value="md5:" + "a" * 32), "is not a sha256 digest"),
    "digest missing": (set_field("layers", 0, "digest", value=...), "layers[0].digest: is missing"),
    "negative size": (set_field("layers", 2, "size", value=-1), "layers[2].size: is -1"),
    "huge size": (set_field("layers", 2, "size", value=1 << 63), "layers[2].size: is"),
    "size a string": (set_field("layers", 2, "size", value="1"), "layers[2].size: is a string, not a number"),
    "size a fraction": (set_field("layers", 2, "size", value=1.5), "layers[2].size: is a float"),
    "annotation a number": (set_field("annotations", "a.b", value=1), "annotations['a.b']: is not a string"),
    "annotations a list": (set_field("annotations", value=["a"]), "annotations: is a list"),
    "empty annotation key": (set_field("annotations", "", value="x"), "an empty key"),
    "reserved annotation": (set_field("annotations", "org.opencontainers.image.mine", value=""), "prefix is reserved"),
    "annotated time": (set_field("annotations", "org.opencontainers.image.created", value="now"), "RFC 3339"),
    "base digest": (set_field("annotations", "org.opencontainers.image.base.digest", value="x"), "sha256 digest"),
    "urls": (set_field("layers", 0, "urls", value=["no scheme"]), "is not a URI"),
    "urls a string": (set_field("layers", 0, "urls", value="https://example.org"), "layers[0].urls: is a string"),
    "platform without os": (set_field("layers", 0, "platform", value={"architecture": "a"}), "platform.os: is missing"),
    "data not base64": (set_field("config", "data", value="%"), "config.data: is not base64"),
    "data of something else": (set_field("config", "data", value="AAAA"), "config.data: is not the content"),
    "artifact type": (set_field("artifactType", value="x"), "artifactType: 'x' is not a media type"),
    "subject": (set_field("subject", value={}), "subject.digest: is missing"),
}


@pytest.mark.parametrize("fault", MANIFEST_FAULTS)
def test_a_broken_manifest(image: Image, fault: str) -> None:
    change, expected = MANIFEST_FAULTS[fault]
    document = json.loads(image.manifest_bytes)
    change(document)
    data = json.dumps(document).encode()
    assert expected in problems_of(lambda: validate_manifest(data, describe(data, MANIFEST)))


CONFIG_FAULTS: dict[str, tuple[Change, str]] = {
    "no architecture": (set_field("architecture", value=...), "architecture: is missing"),
    "empty architecture": (set_field("architecture", value=""), "architecture: is empty"),
    "empty os": (set_field("os", value=""), "os: is empty"),
    "os null": (set_field("os", value=None), "os: is missing"),
    "created": (set_field("created", value="2024-01-01"), "created: '2024-01-01' is not an RFC 3339 time"),
    "created on no day": (set_field("created", value="2023-02-29T00:00:00Z"), "is not an RFC 3339 time"),
    "created without zone": (set_field("created", value="2023-02-01T00:00:00"), "is not an RFC 3339 time"),
    "no rootfs": (set_field("rootfs", value=...), "rootfs: is missing"),
    "rootfs type": (set_field("rootfs", "type", value="tar"), "rootfs.type: is 'tar'"),
    "too few DiffIDs": (lambda d: d["rootfs"]["diff_ids"].pop(), "rootfs.diff_ids: has 2 entries for 3 layers"),
    "too many DiffIDs": (lambda d: d["rootfs"]["diff_ids"].append(OTHER), "has 4 entries for 3 layers"),
    "DiffID": (set_field("rootfs", "diff_ids", 1, value="abc"), "rootfs.diff_ids[1]: 'abc'"),
    "history too short": (lambda d: d["history"].pop(), "history: tells of 2 layers, where there are 3"),
    "history too long": (lambda d: d["history"].append({}), "history: tells of 4 layers"),
    "empty layer counted": (set_field("history", 0, "empty_layer", value=True), "history: tells of 2 layers"),
    "history entry": (set_field("history", 0, value="x"), "history[0]: is not an object"),
    "history time": (set_field("history", 0, "created", value="x"), "history[0].created"),
    "history author": (set_field("history", 0, "author", value=1), "history[0].author: is a number"),
    "Env without value": (set_field("config", "Env", 0, value="PATH"), "'PATH' is not NAME=value"),
    "Env without name": (set_field("config", "Env", 0, value="=x"), "'=x' is not NAME=value"),
    "Env twice": (lambda d: d["config"]["Env"].append("PATH=/x"), "PATH is set twice"),
    "Env a map": (set_field("config", "Env", value={"PATH": "/"}), "config.Env: is a object"),
    "Env of numbers": (set_field("config", "Env", 0, value=1), "config.Env[0]: is a number"),
    "port zero": (set_field("config", "ExposedPorts", value={"0/tcp": {}}), "'0/tcp' is not PORT"),
    "port too high": (set_field("config", "ExposedPorts", value={"65536": {}}), "'65536' is not PORT"),
    "port name": (set_field("config", "ExposedPorts", value={"http": {}}), "'http' is not PORT"),
    "port protocol": (set_field("config", "ExposedPorts", value={"1/x": {}}), "'1/x' is not PORT"),
    "port value": (set_field("config", "ExposedPorts", "5000/tcp", value=[]), "is not an empty object"),
    "ports a list": (set_field("config", "ExposedPorts", value=["5000"]), "config.ExposedPorts: is a list"),
    "volume": (set_field("config", "Volumes", value={"data": {}}), "'data' is not absolute"),
    "Cmd a string": (set_field("config", "Cmd", value="sh"), "config.Cmd: is a string, not a list"),
    "Entrypoint of numbers": (set_field("config", "Entrypoint", value=[1]), "config.Entrypoint[0]"),
    "relative WorkingDir": (set_field("config", "WorkingDir", value="src"), "'src' is not absolute"),
    "User a number": (set_field("config", "User", value=0), "config.User: is a number"),
    "StopSignal": (set_field("config", "StopSignal", value="TERM!"), "'TERM!' is not a signal"),
    "label a number": (set_field("config", "Labels", "a", value=1), "config.Labels['a']: is not a string"),
    "reserved label": (set_field("config", "Labels", "org.opencontainers.x", value=""), "prefix is reserved"),
    "config a list": (set_field("config", value=[]), "config: is a list"),
}


@pytest.mark.parametrize("fault", CONFIG_FAULTS)
def test_a_broken_config(image: Image, fault: str) -> None:
    change, expected = CONFIG_FAULTS[fault]
    document = json.loads(image.config_bytes)
    change(document)
    data = json.dumps(document).encode()
    assert expected in problems_of(lambda: validate_config(data, describe(data, CONFIG), layers=3))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "is not JSON"),
        (b"[]", "is not a JSON object"),
        (b'"x"', "is not a JSON object"),
        (b"\xff\xfe{}", "is not JSON"),
        (b'{"size": NaN}', "NaN is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"os":"a","os":"b"}', "os: appears twice"),
    ],
)
def test_text_that_is_no_document(data: bytes, expected: str) -> None:
    for validate, media_type in ((validate_manifest, MANIFEST), (validate_index, INDEX), (validate_config, CONFIG)):
        assert expected in problems_of(lambda v=validate, m=media_type: v(data, describe(data, m)))  # type: ignore[misc]


def test_documents_must_be_the_ones_described(image: Image) -> None:
    descriptor = Descriptor(CONFIG, Digest(OTHER), image.config.size + 1)
    text = problems_of(lambda: validate_config(image.config_bytes, descriptor))
    assert "where its descriptor says" in text and f"has digest {image.config.digest}" in text
    wrong = Descriptor(INDEX, image.manifest.digest, image.manifest.size)
    assert f"its descriptor says {INDEX}" in problems_of(lambda: validate_manifest(image.manifest_bytes, wrong))


def test_everything_is_reported_at_once(image: Image) -> None:
    document = json.loads(image.config_bytes)
    document.update(os="", architecture=1, created="x")
    data = json.dumps(document).encode()
    text = problems_of(lambda: validate_config(data, describe(data, CONFIG)))
    assert [line.partition(":")[0] for line in text.splitlines()] == ["architecture", "os", "created"]


def test_a_broken_index(image: Image) -> None:
    def problems(**fields: Any) -> str:
        document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [], **fields}
        data = json.dumps(document).encode()
        return problems_of(lambda: validate_index(data, describe(data, INDEX)))

    entry = json.loads(encode(image.manifest))
    assert "manifests: is missing" in problems(manifests=None)
    assert "manifests[1].platform: linux/amd64 is listed twice" in problems(manifests=[entry, entry])
    assert "manifests[0].mediaType: is" in problems(manifests=[{**entry, "mediaType": CONFIG}])
    assert "layers: in an index" in problems(layers=[])
    assert "platform.architecture: is empty" in problems(
        manifests=[{**entry, "platform": {"os": "linux", "architecture": ""}}]
    )


# -- layers ----------------------------------------------------------------------------------------------------


def check_layer(data: bytes, media_type: str = LAYER_TAR, *, tar: bytes | None = None) -> None:
    """Validate ``data`` as a layer that is described rightly; ``tar`` is its uncompressed form."""
    diff_id = Digest.of(data if tar is None else tar)
    validate_layer(io.BytesIO(data), describe(data, media_type), diff_id)  # type: ignore[arg-type]


def archive(*members: tuple[str, dict[str, Any]]) -> bytes:
    """A tar of (path, header fields) by the project's own writer of headers, without its checks."""
    blocks = []
    for path, given in members:
        fields = dict(given)
        content = fields.pop("content", b"")
        fields.setdefault("size", len(content))
        blocks.append(encode_header(path, **fields) + content + padding(len(content)))
    return b"".join(blocks) + TRAILER


FILE = ("a", {"content": b"x"})


def test_layers_of_other_tools_are_understood() -> None:
    for kind in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=kind) as tar:
            for name in ("./", "./d/", "./d/" + "n" * 90 + "/"):
                entry = tarfile.TarInfo(name)
                entry.type = tarfile.DIRTYPE
                tar.addfile(entry)
            entry = tarfile.TarInfo("./d/" + "n" * 90 + "/" + "f" * 99)
            entry.size = 1000
            tar.addfile(entry, io.BytesIO(b"y" * 1000))
            link = tarfile.TarInfo("./link")
            link.type, link.linkname = tarfile.LNKTYPE, "./d/x"
            first = tarfile.TarInfo("./d/x")
            tar.addfile(first)
            tar.addfile(link)
        check_layer(buffer.getvalue())
        check_layer(gzip.compress(buffer.getvalue()), LAYER_GZIP, tar=buffer.getvalue())


def test_an_empty_layer_and_whiteouts_are_fine() -> None:
    check_layer(TRAILER)
    check_layer(archive(("etc/.wh.passwd", {}), ("var/.wh..wh..opq", {})))


def folder(path: str) -> tuple[str, dict[str, Any]]:
    return path, {"kind": tarfile.DIRTYPE, "mode": 0o755}


def link(path: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tuple[str, dict[str, Any]]:
    return path, {"kind": kind, "target": target}


LAYER_FAULTS: dict[str, tuple[bytes, str]] = {
    "absolute path": (archive(("/etc/passwd", {})), "is an absolute path"),
    "parent path": (archive(("a/../../etc", {})), "'..' component"),
    "parent alone": (archive(("..", {})), "'..' component"),
    "dot inside": (archive(("a/./b", {})), "'.' or '..' component"),
    "double slash": (archive(("a//b", {})), "has an empty"),
    "no path": (archive(("", {})), "is not a path"),
    "file with slash": (archive(("a/", {})), "ends in a slash"),
    "twice": (archive(FILE, ("a", {})), "appears twice"),
    "twice by another name": (archive(folder("d"), folder("./d")), "appears twice"),
    "below a file": (archive(("a", {}), ("a/b", {})), "lies below a, which is not a folder"),
    "below a link": (archive(link("bin", "usr/bin"), ("bin/deep/sh", {})), "lies below bin"),
    "hard link to nothing": (archive(link("b", "a", tarfile.LNKTYPE)), "is a hard link to 'a', which this layer"),
    "hard link ahead": (archive(link("b", "a", tarfile.LNKTYPE), ("a", {})), "does not have before it"),
    "hard link to a folder": (archive(folder("d"), link("b", "d", tarfile.LNKTYPE)), "hard link to the folder"),
    "empty symbolic link": (archive(link("b", "")), "is a symbolic link to nothing"),
    "whiteout of nothing": (archive(("d/.wh.", {})), "is a whiteout of nothing"),
    "whiteout of a whiteout": (archive(("d/.wh..wh.plnk", {})), "is a whiteout of nothing"),
    "whiteout with content": (archive(("d/.wh.x", {"content": b"y"})), "not an empty file"),
    "whiteout folder": (archive(folder("d/.wh.x")), "not an empty file"),
    "folder with size": (archive(("d", {"kind": tarfile.DIRTYPE, "size": 512})), "though it is not a file"),
    "sparse file": (archive(("a", {"kind": b"S"})), "has the type 'S'"),
    "unknown type": (archive(("a", {"kind": b"Z"})), "has the type 'Z'"),
    "nothing": (b"", "no end of archive"),
    "half an end": (archive(FILE)[:-512], "no end of archive"),
    "cut in content": (archive(("a", {"content": b"x" * 2000}))[:1500], "inside an entry"),
    "cut in a header": (archive(FILE)[:100], "inside an entry"),
    "data behind the end": (archive(FILE) + b"x" * 512, "data behind the end of the archive"),
    "zeros between": (archive(FILE)[:1024] + bytes(512) + archive(FILE), "a block of zeros between"),
    "checksum": (archive(FILE).replace(b"ustar", b"ustaR", 1), "a header with a wrong checksum"),
    "noise": (b"\x07" * 1024, "is not a number"),
}


@pytest.mark.parametrize("fault", LAYER_FAULTS)
def test_a_broken_layer(fault: str) -> None:
    data, expected = LAYER_FAULTS[fault]
    assert expected in problems_of(lambda: check_layer(data))


def pax_archive(records: bytes, kind: bytes = tarfile.XHDTYPE) -> bytes:
    return archive(("header", {"kind": kind, "content": records}), FILE)


PAX_FAULTS = {
    "length": (pax_archive(b"99 path=x\n"), "a damaged pax record"),
    "no length": (pax_archive(b"path=x\n"), "a damaged pax record"),
    "no line feed": (pax_archive(b"9 path=xx"), "a damaged pax record"),
    "no key": (pax_archive(b"5 =x\n"), "a damaged pax record"),
    "NUL": (pax_archive(b"12 path=x\0y\n"), "a NUL in a pax record"),
    "size": (pax_archive(b"11 size=-1\n"), "'-1' in a pax header is not a size"),
    "sparse": (pax_archive(b"22 GNU.sparse.major=1\n"), "is stored as a sparse file"),
    "path out of the root": (pax_archive(b"13 path=../x\n"), "'..' component"),
    "global": (pax_archive(b"10 path=x\n", tarfile.XGLTYPE), "a global pax header sets path"),
    "without entry": (archive(("h", {"kind": tarfile.XHDTYPE, "content": b"10 path=x\n"})), "has no entry"),
}


@pytest.mark.parametrize("fault", PAX_FAULTS)
def test_a_broken_pax_header(fault: str) -> None:
    data, expected = PAX_FAULTS[fault]
    assert expected in problems_of(lambda: check_layer(data))


def test_broken_compression() -> None:
    tar = archive(("a", {"content": bytes(range(256)) * 40}))
    whole = gzip.compress(tar, mtime=0)
    flipped = whole[:-8] + bytes([whole[-8] ^ 1]) + whole[-7:]
    faults = {
        "CRC": (flipped, "incorrect data check"),
        "length": (whole[:-1] + b"\x07", "incorrect length check"),
        "cut": (whole[:-9], "the gzip stream is cut off"),
        "cut in the trailer": (whole[:-2], "the gzip stream is cut off"),
        "empty": (b"", "the gzip stream is cut off"),
        "zeros behind": (whole + bytes(100), "data behind the end of the gzip stream"),
        "garbage behind": (whole + b"garbage", "data behind the end of the gzip stream"),
        "not gzip": (tar, "incorrect header check"),
    }
    for name, (data, expected) in faults.items():
        assert expected in problems_of(lambda d=data: check_layer(d, LAYER_GZIP, tar=tar)), name  # type: ignore[misc]
    check_layer(gzip.compress(tar[:700]) + gzip.compress(tar[700:]), LAYER_GZIP, tar=tar)
    assert "cannot be checked" not in problems_of(lambda: check_layer(b"", LAYER_TAR))
    assert "is not a form of layer" in problems_of(lambda: check_layer(tar, LAYER_ZSTD + "x"))


def test_broken_zstd() -> None:
    tar = archive(("a", {"content": bytes(range(256)) * 4000}))
    compressor = zstandard.ZstdCompressor(write_checksum=True)
    whole = compressor.compress(tar)
    faults = {
        "checksum": (whole[:-1] + bytes([whole[-1] ^ 1]), "doesn't match checksum"),
        "cut": (whole[:-9], "the zstd stream is cut off"),
        "empty": (b"", "the zstd stream is cut off"),
        "garbage behind": (whole + b"garbage", "the zstd stream is damaged"),
        "not zstd": (tar, "the zstd stream is damaged"),
    }
    for name, (data, expected) in faults.items():
        assert expected in problems_of(lambda d=data: check_layer(d, LAYER_ZSTD, tar=tar)), name  # type: ignore[misc]
    check_layer(whole, LAYER_ZSTD, tar=tar)
    check_layer(compressor.compress(tar[:700]) + compressor.compress(tar[700:]), LAYER_ZSTD, tar=tar)


def test_digests_of_layers() -> None:
    tar = archive(FILE)
    right = describe(tar, LAYER_TAR)

    def problems(descriptor: Descriptor, diff_id: str) -> str:
        return problems_of(lambda: validate_layer(io.BytesIO(tar), descriptor, Digest(diff_id)))  # type: ignore[arg-type]

    assert f"not the DiffID {OTHER}" in problems(right, OTHER)
    wrong = Descriptor(LAYER_TAR, Digest(OTHER), right.size)
    assert f"where its descriptor says {OTHER}" in problems(wrong, right.digest)
    assert "2,048 bytes, where its descriptor says 5" in problems(Descriptor(LAYER_TAR, right.digest, 5), right.digest)


def test_the_writer_of_layers_writes_valid_ones(store: Store) -> None:
    layer = base_layer(store)
    with store.open_blob(layer.descriptor) as reader:
        validate_layer(reader, layer.descriptor, layer.diff_id)
    output = io.BytesIO()
    tar = TarWriter(output, compression=NONE)
    tar.file("x" * 200 + "/" + "y" * 120, b"1")
    tar.symlink("link", "t" * 300)
    made = tar.finish()
    assert hashlib.sha256(output.getvalue()).hexdigest() == made.descriptor.digest.hex
    check_layer(output.getvalue())


# -- whole images ----------------------------------------------------------------------------------------------


def test_a_damaged_blob(store: Store, image: Image) -> None:
    path = store.blob_path(image.layers[0].digest)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert image.layers[0].digest.short in problems_of(lambda: validate_image(store, image.manifest))


def test_a_changed_weight_file(store: Store, image: Image, tmp_path: Path) -> None:
    (tmp_path / "model" / "model.safetensors").write_bytes(b"other")
    assert "has changed since the image was built" in problems_of(lambda: validate_image(store, image.manifest))


def test_a_missing_config(store: Store, image: Image) -> None:
    store.blob_path(image.config.digest).unlink()
    assert "does not have this blob" in problems_of(lambda: validate_image(store, image.manifest))


def test_a_platform_that_is_not_the_configs(store: Store, image: Image) -> None:
    other = Descriptor(MANIFEST, image.manifest.digest, image.manifest.size, platform=Platform("linux", "arm64"))
    index = store.put_bytes(encode(Index(2, INDEX, (other,))), INDEX)
    assert "is for linux/amd64, where the index says linux/arm64" in problems_of(lambda: validate_image(store, index))


def test_swapped_diff_ids_are_noticed(store: Store, image: Image) -> None:
    first, second = base_layer(store, "1"), base_layer(store, "2")
    swapped = put_image(
        store, {"a": Layer(first.descriptor, second.diff_id), "b": Layer(second.descriptor, first.diff_id)}
    )
    text = problems_of(lambda: validate_image(store, swapped.manifest))
    assert text.count("not the DiffID") == 2


def test_a_diff_id_annotation_that_is_not_the_configs(store: Store, image: Image) -> None:
    document = json.loads(image.manifest_bytes)
    document["layers"][0]["annotations"]["run.layerforge.diffid"] = OTHER
    manifest = store.put_bytes(json.dumps(document).encode(), MANIFEST)
    assert f"note the DiffID {OTHER}" in problems_of(lambda: validate_image(store, manifest))


def test_a_reader_that_verifies_is_one_more_problem_not_a_crash(image: Image) -> None:
    class Failing:
        def open_blob(self, descriptor: Descriptor) -> Any:
            raise VerificationError("torn")

    assert "torn" in problems_of(lambda: validate_image(Failing(), image.manifest))
