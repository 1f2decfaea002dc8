from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerforge.errors import InputError
from layerforge.prediction.inputs import parse_inputs, parse_json_inputs


def document(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    schemas = {
        "Input": {"type": "object", "properties": properties, "required": list(required)},
        "size": {"type": "integer", "enum": [256, 512]},
        "style": {"type": "string", "enum": ["ink", "oil"]},
    }
    return {"components": {"schemas": schemas}}


MODEL = document(
    text={"type": "string"},
    n={"type": "integer", "minimum": 1, "maximum": 10},
    scale={"type": "number"},
    flag={"type": "boolean"},
    image={"type": "string", "format": "uri"},
    size={"allOf": [{"$ref": "#/components/schemas/size"}], "default": 256},
    style={"allOf": [{"$ref": "#/components/schemas/style"}]},
    numbers={"type": "array", "items": {"type": "integer"}},
    words={"type": "array", "items": {"type": "string"}},
    images={"type": "array", "items": {"type": "string", "format": "uri"}},
    settings={"type": "object"},
    either={"anyOf": [{"type": "string"}, {"type": "integer"}]},
    wide={"anyOf": [{"type": "integer"}, {"type": "number"}]},
    one_or_many={"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "integer"}}]},
    maybe={"type": "integer", "nullable": True},
    short={"type": "string", "minLength": 2, "maxLength": 3},
    code={"type": "string", "pattern": "^[a-z]+$"},
    secret={"type": "string", "format": "password", "writeOnly": True},
)


@pytest.mark.parametrize(
    ("items", "inputs"),
    [
        ([], {}),
        (["text=a=b"], {"text": "a=b"}),
        (["text="], {"text": ""}),
        (['text="quoted"'], {"text": "quoted"}),
        (["text=3"], {"text": "3"}),
        (["n=3"], {"n": 3}),
        (["scale=2"], {"scale": 2}),
        (["scale=2.5e-1"], {"scale": 0.25}),
        (["flag=true"], {"flag": True}),
        (["size=512"], {"size": 512}),
        (["style=oil"], {"style": "oil"}),
        (["numbers=1", "numbers=2"], {"numbers": [1, 2]}),
        (["numbers=1"], {"numbers": [1]}),
        (["numbers=[1, 2]"], {"numbers": [1, 2]}),
        (["words=1", "words=true"], {"words": ["1", "true"]}),
        (["words=a"], {"words": ["a"]}),
        (['settings={"a": [1]}'], {"settings": {"a": [1]}}),
        (["either=1"], {"either": 1}),
        (["either=1.5"], {"either": "1.5"}),
        (["either=x"], {"either": "x"}),
        (["wide=1"], {"wide": 1}),
        (["wide=1.5"], {"wide": 1.5}),
        (["one_or_many=x"], {"one_or_many": "x"}),
        (["one_or_many=[1]"], {"one_or_many": [1]}),
        (["maybe=4"], {"maybe": 4}),
        (["image=https://example.org/a.png"], {"image": "https://example.org/a.png"}),
        (["secret=s3"], {"secret": "s3"}),
    ],
)
def test_values_have_the_type_of_the_schema(items: list[str], inputs: dict[str, Any]) -> None:
    found = parse_inputs(items, MODEL)
    assert found == inputs
    assert json.dumps(found) == json.dumps(inputs)  # 1 is not True, 2 is not 2.0


@pytest.mark.parametrize(
    ("items", "message", "hint"),
    [
        (["text"], "'text' is not an input", "name=value"),
        (["=x"], "'=x' is not an input", "name=value"),
        (["txet=a"], "the model has no input 'txet'", "did you mean 'text'?"),
        (["zzz=a"], "the model has no input 'zzz'", "it has: text, n, scale"),
        (["n=x"], "input n: must be a whole number, not 'x'", ""),
        (["n=1.5"], "input n: must be a whole number, not '1.5'", ""),
        (["n=0"], "input n: must be at least 1, not 0", ""),
        (["n=11"], "input n: must be at most 10, not 11", ""),
        (["scale=nan"], "input scale: must be a number", ""),
        (["scale=1e999"], "input scale: must be a number", ""),
        (["flag=yes"], "input flag: must be true or false, not 'yes'", ""),
        (["size=300"], "input size: must be one of 256, 512, not 300", ""),
        (["style=inc"], "input style: must be one of ink, oil, not 'inc'", ""),
        (["numbers=1", "numbers=x"], "input numbers: item 1 must be a whole number", ""),
        (["settings=[1]"], "input settings: must be a JSON object", ""),
        (["short=a"], "input short: must have at least 2 characters", ""),
        (["short=abcd"], "input short: must have at most 3 characters", ""),
        (["code=A"], "input code: must match ^[a-z]+$", ""),
        (["image=photo.jpg"], "input image: must be a URL, or a file given as @path", "write -i image=@photo.jpg"),
        (["image=@/nowhere/photo.jpg"], "/nowhere/photo.jpg: input 'image': cannot be read: No such file", ""),
        (
            ["n=0", "flag=1"],
            "the inputs do not fit the model:\n  n: must be at least 1, not 0\n  flag: must be true",
            "",
        ),
    ],
)
def test_what_does_not_fit_is_said(items: list[str], message: str, hint: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as raised:
        parse_inputs(items, MODEL)
    assert hint in raised.value.hint


def test_a_missing_input() -> None:
    schema = document(("text", "image"), text={"type": "string"}, image={"type": "string", "format": "uri"})
    with pytest.raises(InputError, match="do not fit the model:\n  text: missing\n  image: missing") as raised:
        parse_inputs([], schema)
    assert raised.value.hint == "give it with -i text=value"
    with pytest.raises(InputError, match=r"^the input 'image' is missing$") as raised:
        parse_inputs(["text=x"], schema)
    assert raised.value.hint == "give it with -i image=@path"


def test_files_become_data_urls(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    (tmp_path / "b.weird").write_bytes(b"")
    found = parse_inputs([f"image=@{tmp_path}/a.png", f"images=@{tmp_path}/b.weird"], MODEL)
    assert found == {
        "image": "data:image/png;base64," + base64.b64encode(b"\x89PNG").decode(),
        "images": ["data:application/octet-stream;base64,"],
    }
    found = parse_inputs([f"images=@{tmp_path}/a.png", f"images=@{tmp_path}/b.weird"], MODEL)
    assert [url.partition(";")[0] for url in found["images"]] == ["data:image/png", "data:application/octet-stream"]


def test_a_file_below_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "x.txt").write_text("hi")
    assert parse_inputs(["image=@~/x.txt"], MODEL) == {"image": "data:text/plain;base64,aGk="}


def test_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"piped")))
    assert parse_inputs(["image=@-"], MODEL) == {"image": "data:application/octet-stream;base64,cGlwZWQ="}


@pytest.mark.parametrize("schema", [{}, {"components": {"schemas": {}}}])
def test_without_a_schema_everything_is_text(schema: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("hi")
    found = parse_inputs(["a=1", "b=x", "b=y", f"c=@{tmp_path}/x.txt"], schema)
    assert found == {"a": "1", "b": ["x", "y"], "c": "data:text/plain;base64,aGk="}


def test_trainings_have_inputs_of_their_own() -> None:
    schema = document(text={"type": "string"})
    assert parse_inputs(["text=1"], schema, kind="trainings") == {"text": "1"}
    schema["components"]["schemas"]["TrainingInput"] = {"type": "object", "properties": {"steps": {"type": "integer"}}}
    assert parse_inputs(["steps=1"], schema, kind="trainings") == {"steps": 1}


@given(st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(), st.booleans())
def test_what_is_written_is_read(whole: int, number: float, text: str, flag: bool) -> None:
    schema = document(
        text={"type": "string"}, n={"type": "integer"}, scale={"type": "number"}, flag={"type": "boolean"}
    )
    quoted = f'"{text}"'
    items = [f"n={whole}", f"scale={number!r}", f"text={quoted}", f"flag={str(flag).lower()}"]
    if text.startswith("@"):
        return
    assert parse_inputs(items, schema) == {"n": whole, "scale": number, "text": text, "flag": flag}


# -- JSON ----------------------------------------------------------------------------------------------------


def test_json_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(b"!")
    text = json.dumps({"n": 2, "image": f"@{tmp_path}/a.png"})
    expected = {"n": 2, "image": "data:image/png;base64,IQ=="}
    assert parse_json_inputs(text, MODEL) == expected
    (tmp_path / "in.json").write_text(text)
    assert parse_json_inputs(f"@{tmp_path}/in.json", MODEL) == expected
    for dash in ("-", "@-"):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        assert parse_json_inputs(dash, MODEL) == expected
    assert parse_json_inputs('{"maybe": null}', MODEL) == {"maybe": None}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[1]", "must be a JSON object"),
        ('{"x": 1}', "no input 'x'"),
        ('{"n": "1"}', "must be a whole number"),
        ('{"n": true}', "must be a whole number"),
        ('{"n": null}', "must not be null"),
        ("@/nowhere.json", "cannot be read"),
    ],
)
def test_json_inputs_that_do_not_fit(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_json_inputs(text, MODEL)
