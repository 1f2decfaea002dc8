from __future__ import annotations

import base64
import io
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerforge.errors import EngineError, InputError
from layerforge.prediction.media import decode_data_url, encode_data_url, find_extension, guess_type
from layerforge.prediction.output import Prediction, write_json, write_output

FILE = {"type": "string", "format": "uri"}
PNG = "data:image/png;base64," + base64.b64encode(b"\x89PNG").decode()


def document(output: dict[str, Any]) -> dict[str, Any]:
    answer = {"type": "object", "properties": {"output": {"$ref": "#/components/schemas/Output"}}}
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/PredictionResponse"}}}
    return {
        "paths": {"/predictions": {"post": {"responses": {"200": {"content": content}}}}},
        "components": {"schemas": {"Output": output, "PredictionResponse": answer}},
    }


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")


def show(value: Any, schema: dict[str, Any], out: str | None = None) -> tuple[str, dict[str, bytes]]:
    """What is printed, and the files that are written."""
    stdout = io.StringIO()
    paths = write_output(Prediction("succeeded", value), document(schema), Path(out) if out else None, stdout)
    assert sorted(paths) == sorted(path for path in Path().rglob("*") if path.is_file())
    return stdout.getvalue(), {str(path): path.read_bytes() for path in paths}


@pytest.mark.parametrize(
    ("value", "schema", "printed"),
    [
        ("hello", {"type": "string"}, "hello\n"),
        ("ends itself\n", {"type": "string"}, "ends itself\n"),
        (PNG, {"type": "string"}, PNG + "\n"),  # text that looks like a file is text
        (3, {"type": "integer"}, "3\n"),
        (0.5, {"type": "number"}, "0.5\n"),
        (True, {"type": "boolean"}, "true\n"),
        (["a", "b"], {"type": "array", "items": {"type": "string"}}, '[\n  "a",\n  "b"\n]\n'),
        ({"ä": 1}, {"type": "object"}, '{\n  "ä": 1\n}\n'),
        ([], {"type": "array", "items": FILE}, "[]\n"),
        (None, {"type": "string"}, ""),
        ("https://example.org/x.png", FILE, "https://example.org/x.png\n"),
        (1, {}, "1\n"),
        (
            ["a", "b ", "c"],
            {"type": "array", "items": {"type": "string"}, "x-cog-array-display": "concatenate"},
            "ab c\n",
        ),
    ],
)
def test_prints(value: Any, schema: dict[str, Any], printed: str) -> None:
    assert show(value, schema) == (printed, {})


def test_text_goes_where_it_is_wanted() -> None:
    assert show("hello", {"type": "string"}, "out.txt") == ("", {"out.txt": b"hello"})


def test_json_goes_where_it_is_wanted() -> None:
    assert show([1], {"type": "array", "items": {}}, "out.json") == ("", {"out.json": b"[\n  1\n]"})


@pytest.mark.parametrize(
    ("out", "name"),
    [(None, "output.png"), ("x", "x.png"), ("x.jpeg", "x.jpeg"), ("run.1", "run.1.png"), ("run.1.png", "run.1.png")],
)
def test_a_file(out: str | None, name: str) -> None:
    assert show(PNG, FILE, out) == ("", {name: b"\x89PNG"})


def test_a_file_into_a_folder() -> None:
    Path("folder").mkdir()
    assert show(PNG, FILE, "folder") == ("", {"folder/output.png": b"\x89PNG"})


def test_a_nullable_file() -> None:
    assert show(PNG, {**FILE, "nullable": True})[1] == {"output.png": b"\x89PNG"}


def test_a_file_of_an_unknown_schema() -> None:
    assert show(PNG, {})[1] == {"output.png": b"\x89PNG"}


@pytest.mark.parametrize("iterator", [{}, {"x-cog-array-type": "iterator"}])
@pytest.mark.parametrize(
    ("out", "names"),
    [
        (None, ["output.0.png", "output.1.txt"]),
        ("a.png", ["a.0.png", "a.1.png"]),
        ("a", ["a.0.png", "a.1.txt"]),
    ],
)
def test_several_files(iterator: dict[str, Any], out: str | None, names: list[str]) -> None:
    value = [PNG, "data:text/plain;charset=utf-8,hi%20there"]
    printed, files = show(value, {"type": "array", "items": FILE, **iterator}, out)
    assert printed == ""
    assert files == dict(zip(names, (b"\x89PNG", b"hi there"), strict=True))


def test_files_in_an_object() -> None:
    schema = {"type": "object", "properties": {"im/age": FILE, "label": {"type": "string"}}}
    printed, files = show({"im/age": PNG, "label": "cat"}, schema)
    assert files == {"output.im_age.png": b"\x89PNG"}
    assert json.loads(printed) == {"im/age": "output.im_age.png", "label": "cat"}


def test_files_have_the_usual_mode(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        show(PNG, FILE)
    finally:
        os.umask(old)
    assert stat.S_IMODE(Path("output.png").stat().st_mode) == 0o640


def test_devices_are_written_to_not_replaced() -> None:
    before = Path("/dev/null").stat()
    assert write_output(Prediction("succeeded", "x"), document({"type": "string"}), Path("/dev/null"), io.StringIO())
    assert Path("/dev/null").stat().st_rdev == before.st_rdev


@pytest.mark.parametrize("status", ["failed", "canceled"])
def test_a_prediction_that_did_not_succeed(status: str) -> None:
    with pytest.raises(EngineError, match=f"the prediction {status}: no luck"):
        write_output(Prediction(status, None, "no luck"), {}, None, io.StringIO())
    assert not list(Path().iterdir())


def test_a_damaged_file() -> None:
    with pytest.raises(EngineError, match="cannot be read: damaged base64"):
        show("data:image/png;base64,!!", FILE)
    assert not list(Path().iterdir())


def test_a_place_that_cannot_be_written_to() -> None:
    with pytest.raises(InputError, match=r"missing/x\.png: the output cannot be written: No such file"):
        show(PNG, FILE, "missing/x.png")


def test_a_folder_in_the_way() -> None:
    Path("output").mkdir()
    assert show("hello", {"type": "string"}) == ("hello\n", {})
    assert show(PNG, FILE)[1] == {"output.png": b"\x89PNG"}
    with pytest.raises(InputError, match="cannot be written: Is a directory") as raised:
        write_output(Prediction("succeeded", "data:a/unheard-of,x"), document(FILE), None, io.StringIO())
    assert "-o" in raised.value.hint


# -- as JSON -------------------------------------------------------------------------------------------------


def test_json_names_the_files() -> None:
    stdout = io.StringIO()
    prediction = Prediction("succeeded", PNG, None, "log", {"predict_time": 1.5})
    assert write_json(prediction, document(FILE), None, stdout) == [Path("output.png")]
    assert json.loads(stdout.getvalue()) == {
        "status": "succeeded",
        "output": "output.png",
        "metrics": {"predict_time": 1.5},
    }


def test_json_into_a_file() -> None:
    stdout = io.StringIO()
    assert write_json(Prediction("succeeded", "x"), document({"type": "string"}), Path("o.json"), stdout) == [
        Path("o.json")
    ]
    assert json.loads(Path("o.json").read_text()) == {"status": "succeeded", "output": "x"}
    assert stdout.getvalue() == ""


def test_json_of_a_failure() -> None:
    stdout = io.StringIO()
    assert write_json(Prediction("failed", None, "no"), document(FILE), None, stdout) == []
    assert json.loads(stdout.getvalue()) == {"status": "failed", "output": None, "error": "no"}


# -- media ---------------------------------------------------------------------------------------------------


@given(st.binary(), st.sampled_from(["image/png", "", "text/plain;charset=utf-8"]))
def test_data_urls(data: bytes, kind: str) -> None:
    assert decode_data_url(encode_data_url(data, kind)) == (data, kind.partition(";")[0])


def test_the_data_urls_of_old_cog() -> None:
    assert decode_data_url("data:None;base64,aGk=") == (b"hi", "")


@pytest.mark.parametrize("url", ["", "data:", "data:text/plain", "http://example.org/,", "data:;base64,a"])
def test_damaged_data_urls(url: str) -> None:
    with pytest.raises(ValueError, match=r"not a data URL|damaged"):
        decode_data_url(url)


@pytest.mark.parametrize(
    "name", ["a.png", "a.jpg", "a.webp", "a.mp4", "a.wav", "a.mp3", "a.json", "a.txt", "a.csv", "a.zip"]
)
def test_types_and_extensions_agree(name: str) -> None:
    assert find_extension(guess_type(name)) == name[1:]


def test_unknown_types() -> None:
    assert guess_type("a.unknown") == guess_type("a") == "application/octet-stream"
    assert guess_type("A.JPEG") == "image/jpeg"
    assert find_extension("application/x-unheard-of") == ""
