from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from layerforge.errors import LayerError, SourceError
from layerforge.from_source.canonical import write_canonical
from layerforge.from_source.trees import copy_folder, settle_tree, unpack_archive
from tests.wheel_samples import make_wheel


def make_tar(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for member, data in members:
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def test_an_archive_is_its_one_folder(tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "x.tar.gz", (tarfile.TarInfo("x-1.0/setup.py"), b"1"))
    assert (unpack_archive(archive, "x.tar.gz", tmp_path / "out") / "setup.py").read_bytes() == b"1"
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as source:
        source.writestr("repository-abc/setup.py", "2")
    assert (unpack_archive(tmp_path / "x.zip", "x.zip", tmp_path / "zip") / "setup.py").read_text() == "2"


def test_what_leads_out_of_an_archive_is_refused(tmp_path: Path) -> None:
    outside = make_tar(tmp_path / "a.tar.gz", (tarfile.TarInfo("../evil"), b"1"))
    link = tarfile.TarInfo("x/link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    device = tarfile.TarInfo("x/null")
    device.type = tarfile.CHRTYPE
    for number, archive in enumerate(
        (outside, make_tar(tmp_path / "b.tar.gz", (link, b"")), make_tar(tmp_path / "c.tar.gz", (device, b"")))
    ):
        with pytest.raises(SourceError):
            unpack_archive(archive, archive.name, tmp_path / f"out{number}")
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as source:
        source.writestr("../evil", "2")
    with pytest.raises(SourceError, match="leads out of it"):
        unpack_archive(tmp_path / "d.zip", "d.zip", tmp_path / "out9")
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("data", [b"", b"no archive", b"\x1f\x8b\x08\x00"])
def test_damaged_archives(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.tar.gz").write_bytes(data)
    with pytest.raises(SourceError, match="cannot be unpacked"):
        unpack_archive(tmp_path / "x.tar.gz", "x.tar.gz", tmp_path / "out")


def test_a_folder_comes_without_what_was_built_in_it(tmp_path: Path) -> None:
    for name in (
        "pyproject.toml",
        "x/a.py",
        ".git/config",
        "build/lib/x.py",
        "x.egg-info/PKG-INFO",
        "x/__pycache__/a.pyc",
    ):
        path = tmp_path / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    copy_folder(tmp_path / "source", tmp_path / "copy")
    settle_tree(tmp_path / "copy")
    found = sorted(p.relative_to(tmp_path / "copy").as_posix() for p in (tmp_path / "copy").rglob("*") if p.is_file())
    assert found == ["pyproject.toml", "x/a.py"]
    assert (tmp_path / "copy/x/a.py").stat().st_mtime < 1e9


def test_a_wheel_has_the_same_bytes_whoever_wrote_it(tmp_path: Path) -> None:
    data = make_wheel(files={"b/__init__.py": b"1" * 999, "a.py": b"2"})
    (tmp_path / "first").write_bytes(data)
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(tmp_path / "second", "w") as other:
        for name in reversed(source.namelist()):
            other.writestr(name, source.read(name))  # another order, time and compression
    for name in ("first", "second"):
        write_canonical(tmp_path / name, tmp_path / f"{name}.whl")
    assert (tmp_path / "first.whl").read_bytes() == (tmp_path / "second.whl").read_bytes()
    with zipfile.ZipFile(tmp_path / "first.whl") as archive:
        assert archive.namelist()[:2] == ["a.py", "b/__init__.py"]
        assert archive.testzip() is None
    (tmp_path / "broken").write_bytes(b"no zip")
    with pytest.raises(LayerError, match="wrote no wheel"):
        write_canonical(tmp_path / "broken", tmp_path / "broken.whl")
