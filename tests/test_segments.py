from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerforge.errors import SourceError
from layerforge.oci import decode, encode
from layerforge.segments import FileState, Segment, Segments, open_segments


def file_segment(path: Path) -> Segment:
    return Segment(path=str(path), state=FileState.of(path.stat()))


@pytest.fixture
def segments(tmp_path: Path) -> Segments:
    path = tmp_path / "weights"
    path.write_bytes(b"w" * 10_000)
    return Segments((Segment(b"head"), file_segment(path), Segment(b"tail")))


def test_the_parts_come_in_order(segments: Segments) -> None:
    assert segments.size == 10_008
    assert open_segments(segments).read() == b"head" + b"w" * 10_000 + b"tail"
    assert segments.are_current()


def test_a_record_survives_encoding(segments: Segments) -> None:
    assert decode(encode(segments), Segments) == segments


def test_empty_parts_are_passed_over(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    parts = (Segment(), file_segment(empty), Segment(b"a"), Segment(), file_segment(empty), Segment(b"b"), Segment())
    assert open_segments(Segments(parts)).read() == b"ab"
    assert open_segments(Segments(())).read() == b""


def test_a_file_that_is_gone(segments: Segments, tmp_path: Path) -> None:
    (tmp_path / "weights").unlink()
    assert not segments.are_current()
    with pytest.raises(SourceError, match="cannot be read: No such file") as caught:
        open_segments(segments).read()
    assert caught.value.where == str(tmp_path / "weights")


def test_a_folder_in_place_of_the_file(segments: Segments, tmp_path: Path) -> None:
    (tmp_path / "weights").unlink()
    (tmp_path / "weights").mkdir()
    assert not segments.are_current()
    with pytest.raises(SourceError):
        open_segments(segments).read()


@pytest.mark.parametrize("how", ["same size", "replaced", "touched"])
def test_a_file_that_changed_since(segments: Segments, tmp_path: Path, how: str) -> None:
    path = tmp_path / "weights"
    if how == "same size":
        path.write_bytes(b"x" * 10_000)
    elif how == "replaced":
        (tmp_path / "new").write_bytes(b"w" * 10_000)
        (tmp_path / "new").replace(path)
    else:
        os.utime(path, ns=(0, 0))
    assert not segments.are_current()
    with pytest.raises(SourceError, match="has changed since the image was built") as caught:
        open_segments(segments).read()
    assert caught.value.hint == "build again"


def test_a_file_that_changes_while_it_is_read(segments: Segments, tmp_path: Path) -> None:
    reader = open_segments(segments)
    assert len(reader.read(5_000)) == 4  # a read stops where a part ends
    reader.read(5_000)
    with (tmp_path / "weights").open("r+b") as file:
        file.write(b"x")
    with pytest.raises(SourceError, match="changed while it was being read"):
        reader.readall()
    reader.close()


def test_a_file_that_grows_while_it_is_read(segments: Segments, tmp_path: Path) -> None:
    reader = open_segments(segments)
    reader.read(10), reader.read(10)
    with (tmp_path / "weights").open("ab") as file:
        file.write(b"more")
    with pytest.raises(SourceError, match="changed while it was being read"):
        reader.readall()
    reader.close()


def test_closing_early_closes_the_file(segments: Segments) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with open_segments(segments) as reader:
        reader.read(10), reader.read(10)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


@given(st.lists(st.binary(max_size=20), max_size=8), st.integers(1, 30))
def test_any_division_reads_the_same(parts: list[bytes], step: int) -> None:
    reader = io.BufferedReader(open_segments(Segments(tuple(Segment(part) for part in parts))), 16)
    got = b""
    while piece := reader.read(step):
        got += piece
    assert got == b"".join(parts)
