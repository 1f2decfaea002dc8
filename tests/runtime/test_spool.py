"""Large data URLs that go to files while they arrive."""

from __future__ import annotations

import base64
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layerforge_runtime import spool
from layerforge_runtime.spool import Spool, Spooled, write_spooled

SMALL = 40  # as many bytes are "long" here


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "LONG", SMALL)


def parts(data: bytes, sizes: list[int]) -> list[bytes]:
    found, position = [], 0
    for size in sizes:
        found.append(data[position : position + size])
        position += size
    return [*found, data[position:]]


def pass_through(body: bytes, folder: Path, sizes: list[int], files: tuple[str, ...] = ()) -> dict[str, Any]:
    whole = Spool(str(folder))
    for part in parts(body, sizes):
        whole.feed(part)
    inputs = whole.restore(json.loads(whole.finish()), files)
    whole.close()
    assert not folder.exists()
    return inputs


TEXT = st.text(alphabet=st.sampled_from('ab"\\/:,é\n☃d'), max_size=30)
STRINGS = st.one_of(TEXT, TEXT.map("data:".__add__), TEXT.map(lambda text: "data:" + text * 9), st.just('x"data:\\'))
VALUES = st.recursive(
    STRINGS | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(STRINGS, inner), max_leaves=12
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(STRINGS, VALUES), st.lists(st.integers(0, 50), max_size=30), st.booleans())
def test_any_json_comes_out_as_it_went_in(tmp_path: Path, value: dict[str, Any], sizes: list[int], ascii: bool) -> None:
    body = json.dumps(value, ensure_ascii=ascii).encode()
    assert pass_through(body, tmp_path / "spool", sizes) == value
    assert pass_through(body.replace(b"/", b"\\/"), tmp_path / "spool", sizes) == value


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.lists(st.integers(0, 90), max_size=9), st.booleans(), st.integers(1, 9))
def test_files_get_the_bytes(tmp_path: Path, content: bytes, sizes: list[int], escaped: bool, chunk: int) -> None:
    url = "data:image/png;charset=utf-8;base64," + base64.b64encode(content).decode()
    body = json.dumps({"image": url, "images": ["data:,x", url], "text": url}).encode()
    whole = Spool(str(tmp_path / "spool"))
    for part in parts(body.replace(b"/", b"\\/") if escaped else body, sizes):
        whole.feed(part)
    inputs = whole.restore(json.loads(whole.finish()), ("image", "images"))
    assert inputs["text"] == url
    assert inputs["images"][0] == "data:,x"
    for number, found in enumerate((inputs["image"], inputs["images"][1])):
        if len(url) < SMALL:
            assert found == url
            continue
        assert isinstance(found, Spooled)
        assert url.startswith(found)
        target = tmp_path / f"out-{number}"
        before, spool._CHUNK = spool._CHUNK, chunk
        try:
            write_spooled(found, str(target))
        finally:
            spool._CHUNK = before
        assert target.read_bytes() == content
        target.unlink()
    whole.close()
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "payload",
    ["@" * 60, "AAAA" * 20 + "A", "AA==" + "AAAA" * 20, "A\u00e9AA" * 20, "AA%3D" * 20, "AAAA" * 20 + "\\u0041"],
)
def test_what_is_not_base64_is_refused(tmp_path: Path, payload: str) -> None:
    whole = Spool(str(tmp_path / "spool"))
    whole.feed(b'{"image": "data:;base64,%b"}' % payload.encode())
    found = whole.restore(json.loads(whole.finish()), ("image",))["image"]
    assert isinstance(found, Spooled)
    with pytest.raises(ValueError, match="not valid base64"):
        write_spooled(found, str(tmp_path / "out"))
    whole.close()


def test_lines_and_missing_padding_are_taken(tmp_path: Path) -> None:
    content = os.urandom(100)
    lines = base64.encodebytes(content).decode().rstrip("=\n")
    whole = Spool(str(tmp_path / "spool"))
    whole.feed(json.dumps({"image": f"data:;base64,{lines}"}).encode())
    found = whole.restore(json.loads(whole.finish()), ("image",))["image"]
    write_spooled(found, str(tmp_path / "out"))
    assert (tmp_path / "out").read_bytes() == content
    whole.close()


def test_broken_bodies_leave_nothing(tmp_path: Path) -> None:
    for body in (b'{"a": "data:' + b"x" * 100, b'"data:' + b"y" * 100 + b"\\", b'{"a"data:' + b"z" * 99 + b'"}'):
        whole = Spool(str(tmp_path / "spool"))
        whole.feed(body)
        with pytest.raises(ValueError):
            whole.restore(json.loads(whole.finish()), ())
        whole.close()
        assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("part", ['"data:",', '\\"data:', '"data:' + '\\"' * 99 + '",'])
def test_many_short_strings_take_no_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    monkeypatch.setattr(spool, "LONG", 1 << 16)
    body = b"[" + part.encode() * (1_000_000 // len(part))
    whole = Spool(str(tmp_path / "spool"))
    started = time.process_time()
    whole.feed(body)
    assert whole.finish() == body
    assert time.process_time() - started < 3
    whole.close()
