"""Packages that are damaged or made to do harm: each is refused with a LayerforgeError, or read as it was meant."""

from __future__ import annotations

import gzip
import io
import lzma
import random
import tarfile
import zlib
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from layerforge.errors import LayerError, LayerforgeError, VerificationError
from layerforge.oci import Digest
from layerforge.sources.debian import deb as deb_module
from layerforge.sources.debian.ahead import DebSource, open_ahead
from layerforge.sources.debian.deb import DebFile
from layerforge.sources.debian.entries import DebEntry, read_entries
from layerforge.sources.debian.facts import read_facts
from tests.debian_samples import Member, file_member, make_ar, make_deb, make_tar, special_member

MEMBERS = [
    special_member("./usr/", tarfile.DIRTYPE),
    file_member("./usr/tool", bytes(range(256)) * 40, mode=0o4755),
    special_member("./usr/link", tarfile.SYMTYPE, "tool"),
    special_member("./usr/again", tarfile.LNKTYPE, "./usr/tool"),
    file_member("./" + "long/" * 40 + "name", b"deep"),
]
Tree = list[tuple[DebEntry, bytes]]


def read(data: bytes, folder: Path, digest: Digest | None = None) -> Tree:
    path = folder / "x.deb"
    path.write_bytes(data)
    with DebFile(path, digest=digest) as deb:
        return [(entry, b"".join(content)) for entry, content in read_entries(deb.data_chunks(), where="x")]


COMPRESSED = {
    "data.tar.xz": lzma.compress(make_tar(MEMBERS)),
    "data.tar.gz": gzip.compress(make_tar(MEMBERS), mtime=0),
    "data.tar.zst": zstandard.ZstdCompressor(write_checksum=True).compress(make_tar(MEMBERS)),
}


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(sorted(COMPRESSED)),
    st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), min_size=1, max_size=3),
)
def test_flipped_bytes_are_found_or_change_nothing(
    tmp_path_factory: pytest.TempPathFactory, name: str, flips: list[tuple[float, int]]
) -> None:
    good = make_deb(data_name=name, data=COMPRESSED[name], control={"conffiles": b"/etc/x\n"})
    data = bytearray(good)
    for place, mask in flips:
        data[int(place * (len(data) - 1))] ^= mask
    folder = tmp_path_factory.getbasetemp()
    try:
        found = read(bytes(data), folder)
        read_facts(folder / "x.deb")
    except LayerforgeError:
        return
    assert found == read(good, folder)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 511), st.integers(1, 255), st.integers(0, 4))
def test_flipped_bytes_of_a_tar_header(place: int, mask: int, entry: int) -> None:
    tar = make_tar(MEMBERS[:3])
    data = bytearray(tar)
    start = (0, 512, 512 + 512 + 10240, 0, 512)[entry]
    data[start + place] ^= mask
    good = [(e, b"".join(c)) for e, c in read_entries([tar], where="x")]
    try:
        found = [(e, b"".join(c)) for e, c in read_entries([bytes(data)], where="x")]
    except LayerError:
        return
    assert found == good


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=3000))
def test_rubbish_is_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    for package in (data, b"!<arch>\n" + data, make_deb(data_name="data.tar", data=data + b"x")):
        with pytest.raises(LayerforgeError):
            read(package, tmp_path_factory.getbasetemp())


@pytest.mark.parametrize("name", sorted(COMPRESSED))
def test_a_package_cut_anywhere_is_refused(tmp_path: Path, name: str) -> None:
    data = make_deb(data_name=name, data=COMPRESSED[name])
    whole = len(data) - len(COMPRESSED[name]) % 2  # the last line break may be missing
    for end in sorted({*range(0, whole, 7), *range(whole - 20, whole)}):
        with pytest.raises(LayerError):
            read(data[:end], tmp_path)


def gnu_sparse() -> bytes:
    info = tarfile.TarInfo("./sparse")
    info.type = tarfile.GNUTYPE_SPARSE
    return info.tobuf(tarfile.GNU_FORMAT)


def pax(path: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("./harmless")
        info.pax_headers = {"path": path, "size": "99999999999"}
        tar.addfile(info)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("tar", "message"),
    [
        (gnu_sparse() + bytes(1024), "type b'S'"),
        (pax("../../etc/passwd"), "type b'x'"),
        (make_tar([special_member("./x", b"V")]), "type b'V'"),
        (make_tar([file_member("./caf\udce9")]), "not UTF-8"),
        (make_tar([file_member("./a\nb")]), "line break"),
        (make_tar([file_member("./" + "x" * 256)]), "too long"),
        (make_tar([file_member("./" + "x/" * 2040 + "12345678901234567")]), "too long|has a name of"),
        (make_tar([file_member("./" + "x/" * 40_000)]), "has a name of"),
        (make_tar([special_member("./x", tarfile.LNKTYPE, "./x")]), "hard link to"),
        (make_tar([special_member("./x", tarfile.LNKTYPE, "/etc/passwd")]), "leaves the root"),
        (make_tar([special_member("./x", tarfile.SYMTYPE, "")]), "leaves the root"),
        (make_tar([file_member("./x", uid=1 << 31)]), "belongs to"),
        (make_tar([file_member("./x")])[:512], "cut off"),
        (make_tar([file_member("./x", b"1")])[:-8000] + b"y", "behind its end"),
        (tarfile.TarInfo("././@LongLink").tobuf(tarfile.GNU_FORMAT).replace(b"@LongLink", b"@LongLinj"), "checksum"),
    ],
)
def test_archives_that_dpkg_would_not_take(tmp_path: Path, tar: bytes, message: str) -> None:
    with pytest.raises(LayerError, match=message):
        read(make_deb(data=lzma.compress(tar)), tmp_path)


def control_tar(members: list[Member]) -> bytes:
    data = ("data.tar", make_tar([]))
    return make_ar([("debian-binary", b"2.0\n"), ("control.tar.xz", lzma.compress(make_tar(members), preset=0)), data])


STANZA = b"Package: x\nVersion: 1\nArchitecture: all\n"


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([], "no control file"),
        ([file_member("./Control", STANZA)], "no control file"),
        ([special_member("./control", tarfile.SYMTYPE, "../x")], "leaves the root|unexpected"),
        ([special_member("./control", tarfile.SYMTYPE, "x")], "unexpected member"),
        ([file_member("./control", STANZA), file_member("./control", STANZA)], "unexpected member"),
        ([file_member("./control", STANZA), file_member("./a/b", b"")], "unexpected member"),
        ([file_member("./control", STANZA), file_member("./.list", b"")], "unexpected member"),
        ([file_member("./control", STANZA), file_member("./postinst", bytes(65 << 20))], "unexpected member"),
        ([file_member("./control", b"Package: \xff\n")], "control is not UTF-8"),
        ([file_member("./control", STANZA), file_member("./conffiles", b"/\xff")], "conffiles is not UTF-8"),
        ([file_member("./control", b" folded first\n" + STANZA)], "damaged"),
        ([file_member("./control", b"Version: 1\n")], "a package with the name"),
        ([file_member("./control", b"Package: ../x\n")], "a package with the name"),
        ([file_member("./control", b"Package: x\nArchitecture: ../y\nMulti-Arch: same\n")], "architecture"),
    ],
)
def test_control_archives_that_cannot_be(tmp_path: Path, members: list[Member], message: str) -> None:
    path = tmp_path / "x.deb"
    path.write_bytes(control_tar(members))
    with pytest.raises(LayerError, match=message):
        read_facts(path)


@pytest.mark.parametrize("name", ["data.tar.lzma", "data.tar.bz2", "data.tar.xz.xz", "data.zip", "payload"])
def test_unknown_members_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(LayerError, match=r"unknown way|data\.tar is expected"):
        read(make_deb(data_name=name), tmp_path)


def test_the_legacy_lzma_format_is_not_taken_for_xz(tmp_path: Path) -> None:
    data = lzma.compress(make_tar(MEMBERS), format=lzma.FORMAT_ALONE)
    with pytest.raises(LayerError, match="damaged"):
        read(make_deb(data=data), tmp_path)


@pytest.mark.parametrize("name", ["data.tar.xz", "data.tar.zst"])
def test_a_bomb_is_defused(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deb_module, "_ALLOWANCE", 4 << 20)
    size = 60 << 20
    header = tarfile.TarInfo("./zeros")
    header.size = size
    plain = header.tobuf(tarfile.GNU_FORMAT) + bytes(size)
    data = lzma.compress(plain, preset=0) if name.endswith("xz") else zstandard.compress(plain)
    (tmp_path / "x.deb").write_bytes(make_deb(data_name=name, data=data))
    with DebFile(tmp_path / "x.deb") as deb, pytest.raises(LayerError, match="inflates to more than"):
        for chunk in deb.data_chunks():
            assert len(chunk) <= 17 << 20


def test_xz_that_needs_too_much_memory_is_refused(tmp_path: Path) -> None:
    head = bytearray(lzma.compress(make_tar([]), preset=0))
    head[16] = 34  # the dictionary's size in the header of the first block: 512 MiB
    head[20:24] = zlib.crc32(bytes(head[12:20])).to_bytes(4, "little")
    with pytest.raises(LayerError, match="damaged"):
        read(make_deb(data=bytes(head)), tmp_path)


def test_other_bytes_than_those_with_the_digest_are_refused(tmp_path: Path) -> None:
    good, other = (make_deb({"Version": version}, MEMBERS) for version in ("1", "2"))
    with pytest.raises(VerificationError, match="has digest"):
        read(other, tmp_path, Digest.of(good))
    assert read(good, tmp_path, Digest.of(good)) == read(other, tmp_path)


def test_a_damaged_download_is_told_from_a_bad_package(tmp_path: Path) -> None:
    good = make_deb(members=MEMBERS)
    path = tmp_path / "x.deb"
    path.write_bytes(good[:-500])
    source = DebSource(Digest.of(good), "sample", lambda: path)
    with pytest.raises(VerificationError, match="sample: the downloaded package was damaged") as caught:
        for opened in open_ahead([source]):
            b"".join(opened.data)
    assert str(path) in caught.value.hint


def test_many_packages_share_one_bound_on_memory(tmp_path: Path) -> None:
    random.seed(3)
    sources = []
    for number in range(8):
        path = tmp_path / f"{number}.deb"
        content = random.randbytes(1 << 16) * (160 + 16 * number)
        path.write_bytes(make_deb(data=lzma.compress(make_tar([file_member("./x", content)]), preset=0)))
        sources.append(DebSource(Digest.of(path.read_bytes()), str(number), lambda path=path: path))  # type: ignore[misc]
    most = 0
    for opened in open_ahead(sources):
        for _ in opened.data:
            most = max(most, opened._shelf.waiting)
    assert 0 < most < 60 << 20
