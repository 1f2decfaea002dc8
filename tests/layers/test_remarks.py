from __future__ import annotations

import io

import pytest

from layerforge.layers.remarks import ANNOTATION, Remark, encode_remarks, read_remarks
from layerforge.layers.tar import TarWriter


def test_remarks_go_with_the_layer() -> None:
    tar = TarWriter(io.BytesIO())
    tar.warn("something is missing", "install it")
    tar.warn("something is missing", "install it")
    tar.warn("line\none")
    layer = tar.finish({"other": "x"})
    assert layer.descriptor.annotations.keys() == {"other", ANNOTATION}
    found = read_remarks(layer.descriptor.annotations)
    assert found == (Remark("something is missing", "install it"), Remark("line?one"))


def test_of_very_many_the_first_are_kept() -> None:
    found = read_remarks({ANNOTATION: encode_remarks(Remark(f"warning {n}" + "x" * 1000) for n in range(250))})
    assert len(found) == 101 and found[0].text.startswith("warning 0") and len(found[0].text) == 500
    assert found[-1].text == "150 more warnings of this kind"


@pytest.mark.parametrize("value", ["", "{", "[1]", '[["a","b","c",{}]', '[["\\u001b[2J",""]]', "null"])
def test_what_strangers_wrote_is_not_shown(value: str) -> None:
    assert read_remarks({ANNOTATION: value}) == ()
    assert read_remarks({}) == ()
