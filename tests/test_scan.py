from __future__ import annotations

import io
import os
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from layerforge import scan
from layerforge.errors import SourceError
from layerforge.layers.weights import WeightRecipe, locate, place_weights
from layerforge.oci import Digest
from layerforge.scan import scan_project
from layerforge.segments import open_segments
from layerforge.states import FileStates


@pytest.fixture
def states(tmp_path: Path) -> Iterator[FileStates]:
    table = FileStates(tmp_path / "states.sqlite")
    yield table
    table.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "run.py").write_text("x = 1\n")
    return folder


def age(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def test_files_are_sorted_and_split(root: Path, states: FileStates) -> None:
    (root / "weights").mkdir()
    (root / "weights" / "small.safetensors").write_bytes(b"w" * 10)
    (root / "weights" / "config.json").write_text("{}")
    (root / "big.bin").write_bytes(b"b" * (17 << 20))
    (root / "tool.sh").write_text("#!/bin/sh\n")
    (root / "tool.sh").chmod(0o700)
    (root / "empty").mkdir()
    project = scan_project(root, states)
    assert [(f.path, oct(f.mode)) for f in project.code] == [
        ("run.py", "0o644"),
        ("tool.sh", "0o755"),
        ("weights/config.json", "0o644"),
    ]
    assert [f.path for f in project.weights] == ["weights/small.safetensors"]
    assert [(layer.name, layer.size) for layer in project.large_weights] == [("big.bin", 17 << 20)]
    assert project.empty_folders == ("empty",)
    assert project.code[0].digest == Digest.of(b"x = 1\n")


@pytest.fixture
def many(root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Weights that are large for once, more of them than there are layers."""
    monkeypatch.setattr(scan, "LARGE_SIZE", 1000)
    contents = {f"shard-{index:02}.safetensors": os.urandom(1000 + index) for index in range(20)}
    for name, content in contents.items():
        (root / name).write_bytes(content)
    time.sleep(0.1)  # older than the file system's clock can confuse
    return contents


class ProjectBench:
    """The part of a Workbench that finds the project's files."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def project_path(self, path: str) -> Path:
        return self.root / path


def test_too_many_weights_share_layers_that_are_not_copied(
    root: Path, states: FileStates, many: dict[str, bytes]
) -> None:
    project = scan_project(root, states, layers=9)
    assert len(project.large_weights) == 8
    seen: dict[str, bytes] = {}
    for layer in project.large_weights:
        recipe = WeightRecipe(place_weights(layer.files, "src"), layer.digest)
        made, segments = locate(recipe, ProjectBench(root))  # type: ignore[arg-type]
        with io.BufferedReader(open_segments(segments)) as stream:
            data = stream.read()
        assert Digest.of(data) == layer.digest == made.diff_id == made.descriptor.digest
        assert len(data) == made.descriptor.size
        assert sum(len(part.data) for part in segments.parts) < 1600 * len(layer.files) + 1600  # headers and padding
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            seen |= {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
    assert seen == {f"src/{name}": content for name, content in many.items()}
    shared = [layer for layer in project.large_weights if len(layer.files) > 1]
    assert all(layer.name.startswith("bin.") for layer in shared)


def test_a_shared_layer_is_read_again_when_one_of_its_files_changed(
    root: Path, states: FileStates, many: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = scan_project(root, states, layers=9)
    (layer, *_) = (layer for layer in first.large_weights if len(layer.files) > 2)
    reads: list[str] = []
    real = scan._read_pieces
    monkeypatch.setattr(scan, "_read_pieces", lambda path, *rest: (reads.append(path.name), real(path, *rest))[1])
    assert scan_project(root, states, layers=9) == first
    assert reads == []
    name = layer.files[-1].path
    (root / name).write_bytes(bytes(len(many[name])))
    second = scan_project(root, states, layers=9)
    assert reads == [file.path for file in layer.files]
    assert [a.name for a, b in zip(first.large_weights, second.large_weights, strict=True) if a != b] == [layer.name]


def test_an_unchanged_file_is_not_read_again(root: Path, states: FileStates, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "big.safetensors").write_bytes(os.urandom(17 << 20))
    time.sleep(0.1)  # older than the file system's clock can confuse
    first = scan_project(root, states)
    reads: list[Path] = []
    real = scan._read_pieces
    monkeypatch.setattr(scan, "_read_pieces", lambda path, *rest: (reads.append(path), real(path, *rest))[1])
    assert scan_project(root, states) == first
    assert reads == []
    (root / "run.py").write_text("x = 2\n")
    second = scan_project(root, states)
    assert reads == [root / "run.py"]
    assert second.large_weights == first.large_weights
    assert second.code != first.code


def test_links_inside_stay_links_and_files_outside_come_along(root: Path, states: FileStates, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "blob").write_bytes(b"content")
    (root / "inner").symlink_to("run.py")
    (root / "outer.json").symlink_to(tmp_path / "cache" / "blob")
    project = {file.path: file for file in scan_project(root, states).code}
    assert project["inner"].link == "run.py"
    assert project["outer.json"].digest == Digest.of(b"content")


def test_a_link_to_a_folder_outside_is_refused(root: Path, states: FileStates, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (root / "data").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SourceError, match="folder outside") as caught:
        scan_project(root, states)
    assert ".dockerignore" in caught.value.hint


def test_a_broken_link_outside_is_refused(root: Path, states: FileStates) -> None:
    (root / "gone").symlink_to("/does/not/exist")
    with pytest.raises(SourceError, match="cannot be read"):
        scan_project(root, states)


def test_ignore_files(root: Path, states: FileStates) -> None:
    (root / ".gitignore").write_text("*.txt\nweights/\n")
    (root / "a.txt").write_text("a")
    (root / "weights").mkdir()
    (root / "weights" / "w.safetensors").write_text("w")
    (root / "weights" / "config.json").write_text("{}")
    project = scan_project(root, states)
    assert [f.path for f in project.code] == [".gitignore", "run.py", "weights/config.json"]
    assert project.ignored == 1
    (root / ".dockerignore").write_text("weights\n")
    project = scan_project(root, states)
    assert [f.path for f in project.code] == [".dockerignore", ".gitignore", "a.txt", "run.py"]
    assert not project.weights
    assert not project.ignored


def test_virtual_environments_caches_and_special_files_stay_out(root: Path, states: FileStates) -> None:
    (root / "env" / "lib").mkdir(parents=True)
    (root / "env" / "pyvenv.cfg").write_text("")
    (root / "env" / "lib" / "x.py").write_text("")
    (root / "__pycache__").mkdir()
    (root / "__pycache__" / "x.pyc").write_text("")
    os.mkfifo(root / "pipe")
    assert [f.path for f in scan_project(root, states).code] == ["run.py"]


def test_a_file_that_changes_while_it_is_read_is_an_error(
    root: Path, states: FileStates, monkeypatch: pytest.MonkeyPatch
) -> None:
    big = root / "big.safetensors"
    big.write_bytes(b"1" * (17 << 20))

    class Growing:
        def start(self, task: str, total: int | None = None) -> None: ...
        def finish(self, task: str, outcome: str) -> None: ...
        def note(self, text: str) -> None: ...
        def warn(self, text: str, hint: str = "") -> None: ...
        def advance(self, task: str, amount: int) -> None:
            with big.open("ab") as file:
                file.write(b"2")

    with pytest.raises(SourceError, match="changed while"):
        scan_project(root, states, reporter=Growing())


def test_a_name_that_is_not_utf8_is_refused(root: Path, states: FileStates) -> None:
    (Path(os.fsdecode(os.fsencode(str(root)) + b"/\xff"))).write_text("")
    with pytest.raises(SourceError, match="UTF-8"):
        scan_project(root, states)


def test_a_damaged_table_costs_only_time(root: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.sqlite").write_bytes(b"not a database at all" * 100)
    table = FileStates(tmp_path / "broken.sqlite")
    try:
        assert scan_project(root, table).code
    finally:
        table.close()
