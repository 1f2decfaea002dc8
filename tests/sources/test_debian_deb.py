from __future__ import annotations

import gzip
import io
import lzma
import tarfile
from pathlib import Path

import pytest
import zstandard

from layerforge.errors import LayerError
from layerforge.oci import Digest
from layerforge.sources.debian.ahead import DebSource, open_ahead
from layerforge.sources.debian.deb import DebEntry, DebFile, read_entries
from tests.debian_samples import file_member, make_ar, make_deb, make_tar, special_member

MEMBERS = [
    special_member("./", tarfile.DIRTYPE),
    special_member("./usr/", tarfile.DIRTYPE),
    file_member("./usr/tool", b"x" * 3_000_000, mode=0o4755, gid=42),
    special_member("./usr/link", tarfile.SYMTYPE, "../etc/target"),
    special_member("./usr/again", tarfile.LNKTYPE, "./usr/tool"),
    file_member("./" + "long/" * 40 + "name", b"deep"),
]


def source(path: Path) -> DebSource:
    return DebSource(Digest.of(path.read_bytes()), path.name, lambda: path)


def read(data: bytes, folder: Path) -> list[tuple[DebEntry, bytes]]:
    path = folder / "x.deb"
    path.write_bytes(data)
    with DebFile(path) as deb:
        return [(entry, b"".join(content)) for entry, content in read_entries(deb.data_chunks(), where="x")]


def test_entries_arrive_as_they_are(tmp_path: Path) -> None:
    entries = read(make_deb(members=MEMBERS), tmp_path)
    assert [(entry.path, entry.kind) for entry, _ in entries[:4]] == [
        ("usr", "dir"),
        ("usr/tool", "file"),
        ("usr/link", "symlink"),
        ("usr/again", "hardlink"),
    ]
    tool, content = entries[1]
    assert (tool.mode, tool.gid, tool.size, content) == (0o4755, 42, 3_000_000, b"x" * 3_000_000)
    assert (entries[2][0].target, entries[3][0].target) == ("../etc/target", "usr/tool")
    assert entries[4][1] == b"deep"


@pytest.mark.parametrize(
    ("name", "compress"),
    [
        ("data.tar", bytes),
        ("data.tar.gz", gzip.compress),
        ("data.tar.xz", lzma.compress),
        ("data.tar.zst", zstandard.ZstdCompressor().compress),
    ],
)
def test_every_compression_of_deb5(tmp_path: Path, name: str, compress: object) -> None:
    data = compress(make_tar(MEMBERS))  # type: ignore[operator]
    assert len(read(make_deb(data_name=name, data=data), tmp_path)) == 5


def test_control_files_are_read_whole(tmp_path: Path) -> None:
    (tmp_path / "x.deb").write_bytes(make_deb(control={"postinst": b"#!/bin/sh\n", "conffiles": b"/etc/x\n"}))
    with DebFile(tmp_path / "x.deb") as deb:
        assert sorted(deb.control) == ["conffiles", "control", "postinst"]
        assert deb.control["postinst"].mode == 0o755


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (file_member("/etc/passwd", b"x"), "leaves the root"),
        (file_member("./../etc/passwd", b"x"), "leaves the root"),
        (file_member("./usr/../../etc/passwd", b"x"), "leaves the root"),
        (file_member("./usr//x", b"x"), "leaves the root"),
        (special_member("./usr/x", tarfile.SYMTYPE, "../../etc"), "leaves the root"),
        (special_member("./usr/a/b", tarfile.SYMTYPE, "c/../../../../x"), "leaves the root"),
        (special_member("./x", tarfile.LNKTYPE, "../x"), "leaves the root"),
        (special_member("./dev/null", tarfile.CHRTYPE), "device"),
        (special_member("./dev/disk", tarfile.BLKTYPE), "device"),
        (special_member("./pipe", tarfile.FIFOTYPE), "device"),
        (special_member("./", tarfile.SYMTYPE, "/etc"), "replaces the root"),
    ],
)
def test_what_could_reach_outside_is_refused(
    tmp_path: Path, member: tuple[tarfile.TarInfo, bytes], message: str
) -> None:
    with pytest.raises(LayerError, match=message):
        read(make_deb(members=[member]), tmp_path)


def test_links_within_the_root_are_fine(tmp_path: Path) -> None:
    members = [special_member("./a/b/c", tarfile.SYMTYPE, "../../x"), special_member("./d", tarfile.SYMTYPE, "/etc/x")]
    assert len(read(make_deb(members=members), tmp_path)) == 2


@pytest.mark.parametrize("cut", [4, 30, 100, 400, -2000, -100, -1])
def test_truncated_packages_are_refused(tmp_path: Path, cut: int) -> None:
    members = [file_member("./x", bytes(range(256)) * 4000)]
    data = make_deb(members=members, data_name="data.tar", data=make_tar(members))
    with pytest.raises(LayerError, match=r"cut off|not a Debian|damaged"):
        read(data[:cut], tmp_path)


def test_a_compressed_stream_that_ends_early_is_refused(tmp_path: Path) -> None:
    for name, data in [
        ("data.tar.xz", lzma.compress(make_tar(MEMBERS))[:-30]),
        ("data.tar.gz", gzip.compress(make_tar(MEMBERS))[:-30]),
        ("data.tar.zst", zstandard.ZstdCompressor().compress(make_tar(MEMBERS))[:-5]),
    ]:
        with pytest.raises(LayerError, match=r"cut off|damaged"):
            read(make_deb(data_name=name, data=data), tmp_path)


def test_damage_is_found(tmp_path: Path) -> None:
    body = bytearray(lzma.compress(make_tar(MEMBERS)))
    body[len(body) // 2] ^= 255
    with pytest.raises(LayerError, match="damaged"):
        read(make_deb(data=bytes(body)), tmp_path)


def test_a_tar_that_ends_inside_a_file_is_refused(tmp_path: Path) -> None:
    tar = make_tar([file_member("./x", b"y" * 5000)])[:2000]
    with pytest.raises(LayerError, match=r"cut off|damaged"):
        read(make_deb(data=lzma.compress(tar)), tmp_path)


def test_unknown_members_and_formats_are_refused(tmp_path: Path) -> None:
    good = make_deb()
    assert read(good + make_ar([("later", b"x"), ("_gpgorigin", b"odd")])[8:], tmp_path) == []  # deb(5): ignored
    for rubbish in (b"x", b"x" * 60, make_ar([("later", b"xyz")])[8:-2]):
        with pytest.raises(LayerError, match=r"rubbish|damaged|cut off"):
            read(good + rubbish, tmp_path)
    with pytest.raises(LayerError, match="not a Debian package"):
        read(b"PK" + good, tmp_path)
    with pytest.raises(LayerError, match="format 2"):
        read(make_ar([("debian-binary", b"3.0\n")]), tmp_path)
    with pytest.raises(LayerError, match="unknown way"):
        read(make_deb(data_name="data.tar.br"), tmp_path)
    with pytest.raises(LayerError, match=r"control\.tar is expected"):
        read(make_ar([("debian-binary", b"2.0\n"), ("data.tar", make_tar([]))]), tmp_path)


def test_private_members_are_passed_over(tmp_path: Path) -> None:
    data = make_deb(members=MEMBERS)
    head, rest = data[: 8 + 60 + 4], data[8 + 60 + 4 :]
    assert len(read(head + make_ar([("_gpgorigin", b"odd")])[8:] + rest, tmp_path)) == 5


def test_packages_are_opened_ahead_in_order(tmp_path: Path) -> None:
    paths = []
    for number in range(9):
        path = tmp_path / f"{number}.deb"
        path.write_bytes(make_deb({"Package": f"p{number}"}, [file_member("./f", b"%d" % number * 2_000_000)]))
        paths.append(path)
    seen = []
    for opened in open_ahead([source(path) for path in paths]):
        with tarfile.open(fileobj=io.BytesIO(b"".join(opened.data))) as tar:
            seen.append(tar.extractfile("./f").read(1))  # type: ignore[union-attr]
    assert seen == [b"%d" % number for number in range(9)]


def test_an_error_ahead_reaches_the_reader_and_threads_end(tmp_path: Path) -> None:
    def fail() -> Path:
        raise LayerError("cannot be had")

    good = tmp_path / "good.deb"
    good.write_bytes(make_deb(members=[file_member("./f", bytes(50_000_000))]))
    opened = open_ahead([source(good), DebSource(Digest.of(b""), "bad", fail)])
    next(opened)
    with pytest.raises(LayerError, match="cannot be had"):
        _ = next(opened).control
    opened.close()  # the first one's thread waits with a full queue: this must not hang
