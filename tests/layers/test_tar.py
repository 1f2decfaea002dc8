from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import struct
import subprocess
import tarfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerforge.errors import LayerError
from layerforge.layers.compression import COMPRESSIONS, GZIP, NONE, ZSTD, Compression, _zstd_compressor
from layerforge.layers.headers import EPOCH, TRAILER, encode_header, padding
from layerforge.layers.tar import CHUNK, Layer, TarWriter
from layerforge.oci import LAYER_GZIP, LAYER_TAR, LAYER_ZSTD, Digest
from tests.conftest import require


def raw_deflate(data: bytes, level: int = 6) -> bytes:
    compressor = zlib.compressobj(level, zlib.DEFLATED, -15)
    return compressor.compress(data) + compressor.flush()


def splice(tar: TarWriter, path: str, data: bytes, *, stream: bytes | None = None, **other: int) -> bytes:
    stream = raw_deflate(data) if stream is None else stream
    pieces = [stream[start : start + 1000] for start in range(0, len(stream), 1000)]
    expected = {"size": len(data), "crc32": zlib.crc32(data), **other}
    return b"".join(tar.spliced(path, pieces, **expected))


def read_tar(data: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape") as archive:
        return {member.name: member for member in archive}


def make_sample(*, compression: Compression = GZIP, threads: int = 0) -> tuple[bytes, Layer]:
    output = io.BytesIO()
    executor = ThreadPoolExecutor(threads) if threads else None
    tar = TarWriter(output, compression=compression, executor=executor)
    tar.file("etc/hostname", b"box\n")
    tar.directory("empty", mode=0o700)
    tar.file("usr/bin/tool", iter([b"#!/bin/sh\n", b"echo\n"]), size=15, mode=0o755)
    tar.symlink("bin", "usr/bin")
    tar.hardlink("usr/bin/tool2", "usr/bin/tool")
    noise = b"".join(hashlib.sha256(bytes([index % 251, index // 251])).digest() for index in range(60_000))
    tar.file("usr/share/noise", noise)
    for index in range(40):
        tar.file(f"usr/share/many/{index:02}", noise[index * 100 : index * 20_000])
        splice(tar, f"usr/share/spliced/{index:02}", noise[: index * 3000])
    layer = tar.finish({"a": "b"})
    if executor:
        executor.shutdown()
    return output.getvalue(), layer


def test_a_layer_describes_its_bytes() -> None:
    data, layer = make_sample()
    assert layer.descriptor.digest == Digest.of(data)
    assert layer.descriptor.size == len(data)
    assert layer.descriptor.media_type == LAYER_GZIP
    assert layer.descriptor.annotations == {"a": "b"}
    assert layer.diff_id == Digest.of(gzip.decompress(data))


def test_uncompressed_layers_are_the_tar_itself() -> None:
    data, layer = make_sample(compression=NONE)
    assert layer.descriptor.media_type == LAYER_TAR
    assert layer.diff_id == layer.descriptor.digest == Digest.of(data)


def test_entries_read_back_with_their_metadata() -> None:
    data, _ = make_sample()
    members = read_tar(gzip.decompress(data))
    assert list(members)[:6] == ["etc", "etc/hostname", "empty", "usr", "usr/bin", "usr/bin/tool"]
    assert (members["empty"].mode, members["usr"].mode, members["usr/bin/tool"].mode) == (0o700, 0o755, 0o755)
    assert members["bin"].linkname == "usr/bin"
    assert members["usr/bin/tool2"].islnk()
    for member in members.values():
        assert (member.uid, member.gid, member.uname, member.gname, member.mtime) == (0, 0, "", "", EPOCH)


@pytest.mark.parametrize("compression", COMPRESSIONS.values(), ids=COMPRESSIONS)
def test_threads_do_not_change_the_bytes(compression: Compression) -> None:
    once = make_sample(compression=compression)
    assert once == make_sample(compression=compression, threads=1) == make_sample(compression=compression, threads=4)
    assert once[1].descriptor.digest == Digest.of(once[0])


def test_compression_does_not_change_the_diff_id() -> None:
    layers = {name: make_sample(compression=compression)[1] for name, compression in COMPRESSIONS.items()}
    assert len({layer.diff_id for layer in layers.values()}) == 1
    assert len({layer.descriptor.digest for layer in layers.values()}) == 3
    kinds = [layers[name].descriptor.media_type for name in ("gzip", "zstd", "none")]
    assert kinds == [LAYER_GZIP, LAYER_ZSTD, LAYER_TAR]


def test_a_zstd_layer_is_read_by_zstd() -> None:
    require(shutil.which("zstd"), "zstd is not installed")
    data, layer = make_sample(compression=ZSTD)
    plain = subprocess.run(["zstd", "-dc"], input=data, capture_output=True, check=True).stdout
    assert Digest.of(plain) == layer.diff_id


def test_another_libzstd_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import zstandard

    _zstd_compressor.cache_clear()
    monkeypatch.setattr(zstandard, "ZSTD_VERSION", (1, 4, 9))
    with pytest.raises(LayerError, match=r"libzstd 1\.5\.7, and here is 1\.4\.9") as caught:
        TarWriter(io.BytesIO(), compression=ZSTD)
    assert "zstandard" in caught.value.hint


@pytest.mark.parametrize("portion", [1000, 1 << 20, (4 << 20) - 1, 1 << 24])
def test_the_portions_in_which_content_comes_do_not_change_the_bytes(portion: int) -> None:
    data = hashlib.shake_128(b"").digest(9 << 20)

    def write(size: int) -> bytes:
        output = io.BytesIO()
        tar = TarWriter(output)
        tar.file("a", (data[start : start + size] for start in range(0, len(data), size)), size=len(data))
        tar.finish()
        return output.getvalue()

    assert write(portion) == write(len(data))


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_the_surroundings_do_not_change_the_bytes(umask: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = make_sample()[0]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    before = os.umask(umask)
    try:
        assert make_sample()[0] == expected
    finally:
        os.umask(before)


def test_the_bytes_are_those_of_the_format() -> None:
    """A change of any of these digests changes every layer: raise layers/step.py's FORMAT with it."""
    output = io.BytesIO()
    tar = TarWriter(output)
    tar.file("a/" + "long/" * 30 + "name", b"content" * 1000, mode=0o755)
    stored_block = b"\x01\x05\x00\xfa\xffhello"  # RFC 1951, 3.2.4: no compressor's choice in it
    splice(tar, "é", b"hello", stream=stored_block)
    layer = tar.finish()
    assert layer.diff_id.short == "5481c3d49b25"
    assert layer.descriptor.digest.short == "6b0d98446195"


def test_other_programs_accept_the_layers(tmp_path: Path) -> None:
    path = tmp_path / "layer.tar.gz"
    path.write_bytes(make_sample()[0])
    subprocess.run(["gzip", "-t", str(path)], check=True)
    listing = subprocess.run(["tar", "-tzf", str(path)], capture_output=True, text=True, check=True)
    assert not listing.stderr
    assert listing.stdout.splitlines()[:3] == ["etc/", "etc/hostname", "empty/"]
    if shutil.which("bsdtar"):
        other = subprocess.run(["bsdtar", "-tf", str(path)], capture_output=True, text=True, check=True)
        assert other.stdout.splitlines() == listing.stdout.splitlines()


# -- headers ---------------------------------------------------------------------------------------------------

names = st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=80).filter(
    lambda name: name not in (".", "..")
)
paths = st.lists(names | st.sampled_from(["x" * 99, "usr", "lib"]), min_size=1, max_size=6).map("/".join)


@given(
    paths,
    st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE]),
    st.integers(0, 2**50),
    st.integers(0, 0o7777),
    st.integers(0, 2**31),
    st.integers(0, 2**31),
    st.integers(0, 2**36),
    paths,
)
def test_headers_read_back(
    path: str, kind: bytes, size: int, mode: int, uid: int, gid: int, mtime: int, target: str
) -> None:
    size = size if kind == tarfile.REGTYPE else 0
    target = target if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
    header = encode_header(path, kind=kind, size=size, mode=mode, uid=uid, gid=gid, mtime=mtime, target=target)
    assert len(header) % 512 == 0
    member = next(iter(read_tar_headers(header)))
    assert (member.name, member.type, member.size, member.mode) == (path, kind, size, mode)
    assert (member.uid, member.gid, member.mtime, member.linkname) == (uid, gid, mtime, target)


def read_tar_headers(data: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data + TRAILER), mode="r:", errors="surrogateescape") as archive:
        member = archive.next()
        return [member] if member else []


@pytest.mark.parametrize(
    ("path", "records"),
    [
        ("a" * 100, 1),
        ("a" * 101, 3),
        ("x" * 155 + "/" + "y" * 100, 1),
        ("x" * 156 + "/" + "y" * 100, 3),
        ("x/" * 50 + "y", 1),
        ("é", 3),
    ],
)
def test_extended_headers_only_where_ustar_has_no_room(path: str, records: int) -> None:
    assert len(encode_header(path)) == records * 512


def test_a_directory_keeps_its_slash_within_the_limit() -> None:
    assert len(encode_header("d" * 99, kind=tarfile.DIRTYPE)) == 512
    assert read_tar_headers(encode_header("d" * 100, kind=tarfile.DIRTYPE))[0].name == "d" * 100


def test_files_beyond_ustar_s_eight_gibibytes() -> None:
    assert len(encode_header("big", size=8**11 - 1)) == 512
    header = encode_header("big", size=8**11)
    assert len(header) == 1536
    assert read_tar_headers(header)[0].size == 8**11


# struct vfs_cap_data of <linux/capability.h>, revision 2: cap_net_raw, permitted and effective
CAPABILITY = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)


def test_extended_attributes_are_pax_records() -> None:
    header = encode_header("usr/bin/ping", mode=0o755, xattrs={"security.capability": CAPABILITY})
    assert b"hdrcharset" not in header and b" SCHILY.xattr.security.capability=" + CAPABILITY + b"\n" in header
    (member,) = read_tar_headers(header)
    value = member.pax_headers["SCHILY.xattr.security.capability"]
    assert (member.name, member.mode, value.encode("utf-8", "surrogateescape")) == ("usr/bin/ping", 0o755, CAPABILITY)
    assert len(encode_header("usr/bin/ping", xattrs={})) == 512


def test_tar_restores_capabilities(tmp_path: Path) -> None:
    require(os.geteuid() == 0 and shutil.which("tar"), "only root may set capabilities")
    output = io.BytesIO()
    tar = TarWriter(output)
    tar.file("ping", b"ELF", mode=0o755, xattrs={"security.capability": CAPABILITY})
    tar.file("plain", b"ELF")
    tar.finish()
    command = ["tar", "--xattrs", "--xattrs-include=security.*", "-xzf", "-", "-C", str(tmp_path)]
    subprocess.run(command, input=output.getvalue(), check=True)
    assert os.getxattr(tmp_path / "ping", "security.capability") == CAPABILITY
    assert os.listxattr(tmp_path / "plain") == []


def test_names_that_are_not_unicode() -> None:
    assert read_tar_headers(encode_header("caf\udce9"))[0].name == "caf\udce9"


def test_padding() -> None:
    assert [len(padding(size)) for size in (0, 1, 511, 512, 513)] == [0, 511, 1, 0, 511]


# -- refusals --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["", "/etc", "a//b", "a/./b", "../a", "a/..", "a/", "a\0b"])
def test_paths_that_leave_the_root_are_refused(path: str) -> None:
    with pytest.raises(LayerError, match="cannot be a path"):
        TarWriter(io.BytesIO()).file(path, b"")


def test_nothing_is_written_twice() -> None:
    tar = TarWriter(io.BytesIO())
    tar.directory("a")
    tar.directory("a")
    tar.file("a/b", b"")
    with pytest.raises(LayerError, match="written twice"):
        tar.symlink("a/b", "c")
    with pytest.raises(LayerError, match="is not a directory"):
        tar.file("a/b/c", b"")


@pytest.mark.parametrize("chunks", [[b"abc"], [b"abc", b"de"]])
def test_a_stream_of_another_size_is_refused(chunks: list[bytes]) -> None:
    with pytest.raises(LayerError, match="4 were announced"):
        TarWriter(io.BytesIO()).file("a", iter(chunks), size=4)


def test_hard_links_need_their_target() -> None:
    with pytest.raises(LayerError, match="which this layer does not have"):
        TarWriter(io.BytesIO()).hardlink("a", "b")


CONTENT = b"some content that compresses, some content that compresses" * 5


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (raw_deflate(CONTENT)[:-5], "cut off"),
        (raw_deflate(CONTENT) + b"\0", "followed by other data"),
        (raw_deflate(CONTENT) + bytes(5000), "behind the end|followed by"),
        (b"", "cut off"),
        (b"\xff" * 50, "damaged deflate"),
        (raw_deflate(CONTENT + b"!"), "more than the"),
        (raw_deflate(CONTENT[:-1]), "size or CRC"),
        (raw_deflate(CONTENT[:-1] + b"!"), "size or CRC"),
    ],
)
def test_a_damaged_deflate_stream_is_refused(stream: bytes, message: str) -> None:
    with pytest.raises(LayerError, match=message):
        splice(TarWriter(io.BytesIO()), "a", CONTENT, stream=stream)


@pytest.mark.parametrize("compression", COMPRESSIONS.values(), ids=COMPRESSIONS)
def test_what_writing_raises_is_raised(compression: Compression) -> None:
    class Full:
        def write(self, data: bytes) -> None:
            raise OSError(28, "No space left on device")

    def write_much(executor: ThreadPoolExecutor | None) -> None:
        tar = TarWriter(Full(), compression=compression, executor=executor)
        for index in range(40):
            tar.file(str(index), os.urandom(1 << 20))
        tar.finish()

    with pytest.raises(OSError, match="No space left"):
        write_much(None)
    with ThreadPoolExecutor(2) as executor, pytest.raises(OSError, match="No space left"):
        write_much(executor)


def test_a_bomb_stops_at_the_announced_size() -> None:
    bomb = raw_deflate(bytes(200 << 20), 9)
    tar = TarWriter(io.BytesIO())
    seen = 0
    with pytest.raises(LayerError, match="more than the 100 bytes"):
        for chunk in tar.spliced("a", [bomb], size=100, crc32=0):
            seen += len(chunk)
    assert seen <= CHUNK


# -- properties ------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.text("abcdef", min_size=1, max_size=5), st.tuples(st.binary(max_size=3000), st.booleans()), max_size=12
    ),
    st.integers(0, 9),
)
def test_whatever_goes_in_comes_out(files: dict[str, tuple[bytes, bool]], level: int) -> None:
    output = io.BytesIO()
    tar = TarWriter(output)
    for path in sorted(files):
        data, spliced = files[path]
        if spliced:
            assert splice(tar, path, data, stream=raw_deflate(data, level)) == data
        else:
            tar.file(path, data)
    layer = tar.finish()
    plain = gzip.decompress(output.getvalue())
    assert layer.diff_id == Digest.of(plain)
    with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
        found = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
    assert found == {path: data for path, (data, _) in files.items()}
