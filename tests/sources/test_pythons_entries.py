"""Reading archives of standalone builds: both forms, what is passed over, and what is refused."""

from __future__ import annotations

import gzip
import tarfile
from pathlib import Path

import pytest
import zstandard

from layerforge.errors import LayerError
from layerforge.sources.pythons.entries import ArchiveEntry, read_archive
from tests.debian_samples import Member, file_member, make_tar, special_member
from tests.python_archives import link_member, make_archive

PLAIN = [
    file_member("python/bin/python3.12", b"ELF", mode=0o755),
    link_member("python/bin/python3", "python3.12"),
    file_member("python/lib/python3.12/os.py", b"os", mode=0o600),
]


def read(folder: Path, data: bytes) -> list[tuple[ArchiveEntry, bytes]]:
    path = folder / "archive"
    path.write_bytes(data)
    return [(entry, b"".join(content)) for entry, content in read_archive(path, "a.tar.gz")]


def test_an_installation_alone(tmp_path: Path) -> None:
    assert read(tmp_path, make_archive(PLAIN)) == [
        (ArchiveEntry("bin/python3.12", "file", 3, True), b"ELF"),
        (ArchiveEntry("bin/python3", "symlink", target="python3.12"), b""),
        (ArchiveEntry("lib/python3.12/os.py", "file", 2), b"os"),
    ]


def test_a_full_archive_holds_the_same_further_down(tmp_path: Path) -> None:
    def deeper(member: Member) -> Member:
        info, content = member
        moved = tarfile.TarInfo(info.name.replace("python/", "python/install/", 1))
        moved.type, moved.linkname, moved.mode, moved.size = info.type, info.linkname, info.mode, info.size
        return moved, content

    full = [file_member("python/PYTHON.json", b"{}"), file_member("python/build/core.o", b"object")]
    full += [deeper(member) for member in PLAIN]
    expected = read(tmp_path, make_archive(PLAIN))
    assert read(tmp_path, make_archive(full, form="zstd")) == expected


def test_what_is_not_read_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(make_archive([file_member(f"python/{n}", b"x" * 5000) for n in range(9)]))
    assert [entry.path for entry, _ in read_archive(tmp_path / "archive")] == [str(n) for n in range(9)]


@pytest.mark.parametrize(
    "path",
    [
        "lib/libpython3.12.a",
        "lib/python3.12/config-3.12-x86_64-linux-gnu/libpython3.12.a",
        "lib/python3.12/config-3.12-x86_64-linux-gnu/python.o",
        "lib/python3.12/site-packages/pip/__init__.py",
        "lib/python3.12/test/test_os.py",
        "lib/python3.12/idlelib/idle.py",
        "lib/python3.12/turtledemo/clock.py",
        "lib/python3.10/distutils/tests/test_core.py",
        "lib/python3.12/unittest/test/test_case.py",
        "lib/python3.12/lib-dynload/_testcapi.cpython-312-x86_64-linux-gnu.so",
        "lib/python3.12/json/__pycache__/decoder.cpython-312.pyc",
        "lib/tk9.0/demos/widget",
        "bin/pip3.12",
        "bin/idle3",
        "share/man/man1/python3.1",
        "share/terminfo/x/xterm",
    ],
)
def test_what_an_image_does_not_need(path: str, tmp_path: Path) -> None:
    members = [*PLAIN, file_member(f"python/{path}", b"x")]
    assert path not in [entry.path for entry, _ in read(tmp_path, make_archive(members))]


@pytest.mark.parametrize(
    "path",
    [
        "lib/python3.12/ensurepip/_bundled/pip-24.0-py3-none-any.whl",
        "lib/python3.12/venv/scripts/common/activate",
        "lib/python3.12/unittest/case.py",
        "lib/python3.12/tkinter/ttk.py",
        "lib/python3.12/lib-dynload/_tkinter.cpython-312-x86_64-linux-gnu.so",
        "lib/python3.12/config-3.12-x86_64-linux-gnu/Makefile",
        "lib/python3.12/pydoc_data/topics.py",
        "lib/python3.12/turtle.py",
        "lib/python3.12/latest/x.py",
        "lib/tk9.0/tk.tcl",
        "lib/libpython3.12.so.1.0",
        "include/python3.12/Python.h",
        "lib/pkgconfig/python3.pc",
        "bin/python3.12-config",
    ],
)
def test_what_an_image_does_need(path: str, tmp_path: Path) -> None:
    members = [*PLAIN, file_member(f"python/{path}", b"x")]
    assert path in [entry.path for entry, _ in read(tmp_path, make_archive(members))]


@pytest.mark.parametrize(
    ("member", "why"),
    [
        (file_member("/python/bin/x", b""), "leaves its folder"),
        (file_member("python/../etc/passwd", b""), "leaves its folder"),
        (file_member("../x", b""), "leaves its folder"),
        (link_member("python/lib/x", "/etc/passwd"), "which leaves its folder"),
        (link_member("python/lib/x", "../../x"), "which leaves its folder"),
        (link_member("python/x", ".."), "which leaves its folder"),
        (link_member("python/x", "lib/../../y"), "which leaves its folder"),
        (link_member("python/x", "/etc/passwd", hard=True), "hard link"),
        (link_member("python/x", "python/bin/python9", hard=True), "which is not there"),
        (special_member("python/x", tarfile.CHRTYPE), "device or a pipe"),
        (special_member("python/x", tarfile.BLKTYPE), "device or a pipe"),
        (special_member("python/x", tarfile.FIFOTYPE), "device or a pipe"),
    ],
)
def test_unsafe_entries_are_refused(member: Member, why: str, tmp_path: Path) -> None:
    with pytest.raises(LayerError, match=why) as caught:
        read(tmp_path, make_archive([*PLAIN, member]))
    assert str(caught.value).startswith("a.tar.gz: the archive is not safe: ")


def test_nothing_may_lie_behind_a_link(tmp_path: Path) -> None:
    members = [*PLAIN, link_member("python/lib64", "lib"), file_member("python/lib64/deep/x", b"")]
    with pytest.raises(LayerError, match="behind the link 'lib64'"):
        read(tmp_path, make_archive(members))


def test_links_inside_are_kept(tmp_path: Path) -> None:
    members = [*PLAIN, link_member("python/lib/x", "../bin/python3.12"), link_member("python/y", "./lib/../bin")]
    members.append(link_member("python/bin/python", "python/bin/python3.12", hard=True))
    entries = [entry for entry, _ in read(tmp_path, make_archive(members))][len(PLAIN) :]
    assert [(entry.kind, entry.target) for entry in entries] == [
        ("symlink", "../bin/python3.12"),
        ("symlink", "./lib/../bin"),
        ("hardlink", "bin/python3.12"),
    ]


def test_damaged_archives(tmp_path: Path) -> None:
    good = make_archive([*PLAIN, file_member("python/big", bytes(range(256)) * 2000)])
    packed = make_archive(PLAIN, form="zstd")
    broken = bytearray(good)
    broken[len(good) // 2] ^= 0xFF
    for data in (good[: len(good) // 2], bytes(broken), packed[: len(packed) // 2], gzip.compress(b"no tar" * 200)):
        with pytest.raises(LayerError, match=r"a\.tar\.gz: the archive"):
            read(tmp_path, data)
    for data in (b"", b"MZ....", make_tar(PLAIN)):
        with pytest.raises(LayerError, match="neither a gzip nor a zstd"):
            read(tmp_path, data)
    for data in (make_archive([]), make_archive([file_member("other/x", b"")]), zstandard.compress(make_tar([]))):
        with pytest.raises(LayerError, match="holds no python/ folder"):
            read(tmp_path, data)
