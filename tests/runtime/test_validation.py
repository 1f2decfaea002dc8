"""Inputs against schemas, without a server."""

from __future__ import annotations

from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerforge_runtime.requests import Problem
from layerforge_runtime.validation import Validator


def validator(properties: dict[str, Any], required: list[str] | None = None, **components: Any) -> Validator:
    schema = {"type": "object", "properties": properties, "required": required or []}
    return Validator({"components": {"schemas": {"Input": schema, **components}}})


def test_faults_come_in_the_order_of_the_document() -> None:
    checked = validator({"b": {"type": "string"}, "a": {"type": "integer"}, "c": {}}, ["c", "a"])
    _, problems = checked.check({"a": "x", "b": 1})
    assert [problem.loc[2] for problem in problems] == ["b", "a", "c"]


def test_what_is_not_an_input_is_left_out_and_optional_ones_are_none() -> None:
    checked = validator(
        {
            "optional": {"type": "string", "nullable": True},
            "defaulted": {"type": "string", "nullable": True, "default": None},
            "plain": {"type": "string", "default": "x"},
        }
    )
    assert checked.check({"unknown": 1}) == ({"optional": None}, [])


def test_nested_objects_name_the_place() -> None:
    checked = validator(
        {
            "d": {
                "type": "object",
                "properties": {"n": {"type": "integer"}},
                "required": ["n", "m"],
                "additionalProperties": {"type": "array", "items": {"type": "string"}},
            }
        }
    )
    _, problems = checked.check({"d": {"n": "x", "o": ["y", 1]}})
    assert problems == [
        Problem(("body", "input", "d", "m"), '"m" is a required property'),
        Problem(("body", "input", "d", "n"), '"x" is not of type "integer"'),
        Problem(("body", "input", "d", "o", 1), '1 is not of type "string"'),
    ]


def test_a_long_value_is_cut_in_the_message() -> None:
    _, [problem] = validator({"a": {"type": "integer"}}).check({"a": "x" * 10_000})
    assert len(problem.msg) < 300


def test_a_pattern_of_another_dialect_accepts_everything() -> None:
    assert validator({"a": {"type": "string", "pattern": "(?<x"}}).check({"a": "y"}) == ({"a": "y"}, [])


SCHEMAS = st.sampled_from(
    [
        {"type": "string"},
        {"type": "integer"},
        {"type": "number"},
        {"type": "boolean"},
        {"type": "object"},
        {"type": "array", "items": {"type": "integer"}},
        {"type": "integer", "minimum": 0, "maximum": 5},
        {"type": "number", "minimum": -0.5},
        {"type": "string", "minLength": 1, "maxLength": 2},
        {"type": "string", "pattern": "^a"},
        {"enum": ["a", 1], "type": "string"},
        {"enum": [1, 2], "type": "integer"},
        {"anyOf": [{"type": "string"}, {"type": "number"}]},
        {"allOf": [{"type": "string"}, {"enum": ["a", "b"]}]},
        {"type": "object", "additionalProperties": {"type": "string"}},
    ]
)
SCALARS = st.none() | st.booleans() | st.integers(-3, 9) | st.floats(-2, 7) | st.sampled_from(["", "a", "b", "abc"])
VALUES = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.sampled_from(["k", "l"]), SCALARS, max_size=2)


@given(SCHEMAS, VALUES)
def test_it_agrees_with_jsonschema(schema: dict[str, Any], value: object) -> None:
    _, problems = validator({"a": schema}).check({"a": value})
    expected = jsonschema.Draft202012Validator(schema).is_valid(value)
    assert (not problems) == expected
    msgspec.json.encode(problems)


@pytest.mark.parametrize("kind", ["array", "string"])
def test_whether_the_output_is_a_list(kind: str) -> None:
    assert validator({}, Output={"type": kind}).output_is_array == (kind == "array")
