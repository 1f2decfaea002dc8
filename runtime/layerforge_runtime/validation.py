"""Checks inputs against the OpenAPI document, every field of them, with functions that are made once.

The messages are those of Cog's server, which come from the Rust crate ``jsonschema``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from layerforge_runtime.requests import Problem
from layerforge_runtime.spool import Spooled

Path = tuple[str | int, ...]
Fault = tuple[Path, str]
Check = Callable[[Any, Path], Iterator[Fault]]

_encode = msgspec.json.Encoder().encode
_SHOWN = 200  # characters of a wrong value in a message
_MASK = "**********"  # what cog.Secret shows

_TYPES: dict[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    # JSON does not tell 2 from 2.0
    "integer": lambda value: (
        not isinstance(value, bool) and (isinstance(value, int) or (isinstance(value, float) and value.is_integer()))
    ),
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
    "null": lambda value: value is None,
}


class Validator:
    """The inputs of one schema component. Without a document every input is accepted.

    ``urls`` are the names of the inputs that are files; ``known`` says whether there is a document, ``streaming``
    whether clients may read events, ``output_is_array`` whether the output is a list even if the model returns a single
    value.
    """

    def __init__(self, document: dict[str, Any] | None, component: str = "Input", output: str = "Output") -> None:
        operation = (document or {}).get("paths", {}).get("/predictions", {}).get("post", {})
        self.streaming = operation.get("x-cog-streaming") is True
        schemas = (document or {}).get("components", {}).get("schemas", {})
        self.known = component in schemas
        schema = schemas.get(component, {})
        properties: dict[str, Any] = schema.get("properties", {})
        self._required = frozenset(schema.get("required", ()))
        self._checks = {name: _compile(each, schemas) for name, each in properties.items()}
        self._whole = frozenset(name for name, each in properties.items() if _is_integer(each, schemas))
        self._absent = frozenset(
            name
            for name, each in properties.items()
            if each.get("nullable") and "default" not in each and name not in self._required
        )
        self.secrets = frozenset(name for name, each in properties.items() if _is_secret(each))
        self.urls = frozenset(name for name, each in properties.items() if _is_url(each))
        self.output_is_array = schemas.get(output, {}).get("type") == "array"

    def check(self, inputs: dict[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
        """The inputs to give to the model, and everything that is wrong with them.

        Inputs that the model does not have are left out, optional ones that have no default are None.
        """
        if not self.known:
            return inputs, []
        problems: list[Problem] = []
        accepted: dict[str, Any] = {}
        for name, check in self._checks.items():
            if name in inputs:
                value = inputs[name]
                faults = [Problem(("body", "input", *path), message) for path, message in check(value, (name,))]
                problems += faults
                accepted[name] = int(value) if name in self._whole and not faults else value
            elif name in self._required:
                problems.append(Problem(("body", "input", name), "Field required", "value_error.missing"))
            elif name in self._absent:
                accepted[name] = None
        return accepted, problems

    def mask(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """The inputs as they may be shown: without the values of secrets, of large files the beginning."""
        return {name: _MASK if name in self.secrets and value else _plain(value) for name, value in inputs.items()}


def _is_secret(schema: dict[str, Any]) -> bool:
    return any(part.get("format") == "password" for part in (schema, schema.get("items", {})))


def _resolve(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref", "")
    return schemas.get(reference.rpartition("/")[2], {}) if reference else schema


def _is_integer(schema: dict[str, Any], schemas: dict[str, Any]) -> bool:
    parts = [_resolve(schema, schemas), *(_resolve(part, schemas) for part in schema.get("allOf", ()))]
    return any(part.get("type") == "integer" for part in parts)


def _is_url(schema: dict[str, Any]) -> bool:
    return schema.get("format") == "uri" or schema.get("items", {}).get("format") == "uri"


def _compile(schema: dict[str, Any], schemas: dict[str, Any]) -> Check:
    """A function that yields everything wrong with a value, for the parts of JSON Schema that Cog's documents use."""
    schema = _resolve(schema, schemas)
    checks: list[Check] = []
    kind = schema.get("type", "")
    if schema.get("format") == "uri":
        checks.append(_check_url)
    checks += _limits(schema)
    if "items" in schema:
        checks.append(_check_items(_compile(schema["items"], schemas)))
    if "properties" in schema or isinstance(schema.get("additionalProperties"), dict):
        checks.append(_check_members(schema, schemas))
    if "anyOf" in schema:
        variants = [_compile(each, schemas) for each in schema["anyOf"]]
        checks.append(
            _simple(
                lambda value: any(not any(variant(value, ())) for variant in variants),
                lambda value: f"{_show(value)} is not valid under any of the schemas listed in the 'anyOf' keyword",
            )
        )
    checks += [_compile(each, schemas) for each in schema.get("allOf", ())]
    is_kind = _TYPES.get(kind, lambda _: True)
    allowed = schema.get("enum")
    nullable = schema.get("nullable") is True

    def check(value: Any, path: Path) -> Iterator[Fault]:
        if value is None and nullable:
            return
        if allowed is not None and not _in(value, allowed):
            yield path, f"{_show(value)} is not one of {_show(allowed)}"
        if not is_kind(value):
            yield path, f"{_show(value)} is not of type {_show(kind)}"
            return
        for each in checks:
            yield from each(value, path)

    return check


def _simple(accepts: Callable[[Any], bool], message: Callable[[Any], str]) -> Check:
    def check(value: Any, path: Path) -> Iterator[Fault]:
        if not accepts(value):
            yield path, message(value)

    return check


def _limits(schema: dict[str, Any]) -> Iterator[Check]:
    if (least := schema.get("minimum")) is not None:
        yield _simple(
            lambda value: not isinstance(value, (int, float)) or value >= least,
            lambda value: f"{_show(value)} is less than the minimum of {_show(least)}",
        )
    if (most := schema.get("maximum")) is not None:
        yield _simple(
            lambda value: not isinstance(value, (int, float)) or value <= most,
            lambda value: f"{_show(value)} is greater than the maximum of {_show(most)}",
        )
    if (shortest := schema.get("minLength")) is not None:
        yield _simple(
            lambda value: not isinstance(value, str) or len(value) >= shortest,
            lambda value: f"{_show(value)} is shorter than {_count(shortest)}",
        )
    if (longest := schema.get("maxLength")) is not None:
        yield _simple(
            lambda value: not isinstance(value, str) or len(value) <= longest,
            lambda value: f"{_show(value)} is longer than {_count(longest)}",
        )
    if (text := schema.get("pattern")) is not None:
        pattern = _compile_pattern(text)
        yield _simple(
            lambda value: pattern is None or not isinstance(value, str) or bool(pattern.search(value)),
            lambda value: f"{_show(value)} does not match {_show(text)}",
        )


def _compile_pattern(text: str) -> re.Pattern[str] | None:
    try:
        return re.compile(text)
    except re.error:  # a pattern of another dialect cannot be checked here
        return None


def _check_url(value: Any, path: Path) -> Iterator[Fault]:
    if isinstance(value, str) and value[:8].partition(":")[0].lower() not in ("data", "http", "https"):
        yield path, f"{_show(value)} is not a URL that starts with http:, https: or data:"


def _check_items(check_item: Check) -> Check:
    def check(value: Any, path: Path) -> Iterator[Fault]:
        if isinstance(value, list):
            for index, item in enumerate(value):
                yield from check_item(item, (*path, index))

    return check


def _check_members(schema: dict[str, Any], schemas: dict[str, Any]) -> Check:
    checks = {name: _compile(each, schemas) for name, each in schema.get("properties", {}).items()}
    required = schema.get("required", ())
    others = schema.get("additionalProperties")
    check_other = _compile(others, schemas) if isinstance(others, dict) else None

    def check(value: Any, path: Path) -> Iterator[Fault]:
        if not isinstance(value, dict):
            return
        for name in required:
            if name not in value:
                yield (*path, name), f"{_show(name)} is a required property"
        for name, item in value.items():
            check_member = checks.get(name, check_other)
            if check_member is not None:
                yield from check_member(item, (*path, name))

    return check


def _in(value: Any, allowed: list[Any]) -> bool:
    # True == 1 in Python, but not in JSON
    return any(value == each and isinstance(value, bool) == isinstance(each, bool) for each in allowed)


def _plain(value: Any) -> Any:
    """``value`` with ordinary strings in place of those that lie in files."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return f"{value}…" if isinstance(value, Spooled) else value


def _show(value: Any) -> str:
    text = _encode(_plain(value)).decode()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _count(characters: int) -> str:
    return f"{characters} character{'' if characters == 1 else 's'}"
