"""The record of a layer: a function of its content, small, and read back as it was written."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from layerforge.abi.demands import ANNOTATION, LARGEST, Demands, decode_demands, encode_demands, summarize_demands
from layerforge.abi.elf import ElfFile, Undefined
from layerforge.abi.survey import Surveyed, Surveyor
from layerforge.errors import ImageError
from layerforge.layers.tar import TarWriter
from layerforge.layers.weights import WeightFile, WeightRecipe, locate
from layerforge.oci import Digest
from tests.abi.made_libraries import Library, make, survey_paths


def test_the_record_comes_back_as_it_was(tmp_path: Path) -> None:
    make({"liba.so": Library("int two(void); int one(void) { return two(); }")}, tmp_path)
    demands = summarize_demands(survey_paths([tmp_path / "liba.so"]))
    assert decode_demands(encode_demands(demands)) == demands
    assert encode_demands(demands) == encode_demands(summarize_demands(survey_paths([tmp_path / "liba.so"])))


@pytest.mark.parametrize("text", ["", "x", "AAAA", "////", encode_demands(Demands(revision=99)), "e30="])
def test_a_damaged_or_later_record_is_refused(text: str) -> None:
    with pytest.raises(ImageError, match="record of a layer's demands"):
        decode_demands(text)


def test_what_the_layer_has_itself_is_left_out(tmp_path: Path) -> None:
    own = {"own/libtwo.so": Library("int two(void) { return 2; }")}
    source = "int two(void); int three(void); int one(void) { return two() + three(); }"
    make({**own, "user.so": Library(source, needs=("own/libtwo.so",), rpath="$ORIGIN/own")}, tmp_path)
    demands = summarize_demands(survey_paths([tmp_path / "own/libtwo.so", tmp_path / "user.so"]))
    assert [symbol for group in demands.groups for needed in group.symbols for symbol in needed.symbols] == ["three"]
    assert set(demands.own.values()) == {"libtwo.so", "user.so"}


def test_a_record_that_would_be_too_large_says_that_nothing_is_known() -> None:
    dice = random.Random(1)
    names = [Undefined(f"s{dice.getrandbits(128):x}") for _ in range(20_000)]
    elf = ElfFile("x86_64", 64, needed=("libx.so.1",), undefined=tuple(names))
    text = encode_demands(summarize_demands(Surveyed(elves={"src/a.so": elf}, files=["src/a.so"])))
    assert len(text) < LARGEST
    assert "bytes" in decode_demands(text).unknown[""]


def test_the_writer_tells_what_it_writes(tmp_path: Path) -> None:
    make({"liba.so": Library("int two(void); int one(void) { return two(); }")}, tmp_path)
    data = (tmp_path / "liba.so").read_bytes()
    surveyor, stored = Surveyor(), []

    class Output:
        def write(self, data: bytes, /) -> None:
            stored.append(data)

    for observer in (None, surveyor):
        tar = TarWriter(Output(), observer=observer)
        tar.file("usr/local/lib/a.so", iter([data[:100], data[100:]]), size=len(data))
        tar.symlink("usr/local/lib/b.so", "a.so")
        tar.hardlink("usr/local/lib/c.so", "usr/local/lib/a.so")
        tar.file("src/x.txt", b"hello")
        layer = tar.finish({ANNOTATION: encode_demands(summarize_demands(surveyor.seen))} if observer else None)
    half = len(stored) // 2
    assert b"".join(stored[:half]) == b"".join(stored[half:]), "being watched changes nothing"
    demands = decode_demands(layer.descriptor.annotations[ANNOTATION])
    assert demands.own == dict.fromkeys(("usr/local/lib/b.so", "usr/local/lib/c.so"), "") | {
        "usr/local/lib/a.so": "liba.so",
        "usr/local/lib/b.so": "b.so",
        "usr/local/lib/c.so": "c.so",
    }
    assert demands.files == ("src/x.txt", "usr/local/lib/a.so", "usr/local/lib/b.so", "usr/local/lib/c.so")
    assert demands.groups[0].symbols[0].symbols == ("two",)


def test_a_weight_that_is_a_library_has_demands_too(tmp_path: Path) -> None:
    make({"model.so": Library("int two(void); int one(void) { return two(); }")}, tmp_path)
    path = tmp_path / "model.so"

    class Bench:
        def project_path(self, name: str) -> Path:
            return path

    file = WeightFile("src/model.so", "model.so", path.stat().st_size, 0o644)
    recipe = WeightRecipe((file,), Digest.of(b""))
    layer, _ = locate(recipe, Bench())  # type: ignore[arg-type]
    demands = decode_demands(layer.descriptor.annotations[ANNOTATION])
    assert demands.groups[0].symbols[0].symbols == ("two",)
