"""``-i name=value`` as the JSON that a model takes, each value in the type that its schema says."""

from __future__ import annotations

import difflib
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from layerforge.errors import InputError
from layerforge.prediction.media import OCTETS, encode_data_url, guess_type
from layerforge.prediction.schema import PREDICTIONS, Schema, accepts, find_fault, find_inputs, find_items, resolve


def parse_inputs(items: Sequence[str], schema: Schema, *, kind: str = PREDICTIONS) -> dict[str, Any]:
    """The inputs of a prediction from what stood behind ``-i``.

    ``schema`` is the model's OpenAPI document; one without an ``Input`` component leaves every value as text. A name
    given several times makes a list. ``@path`` is the content of a file, as a data URL; ``@-`` that of stdin.

    Raises:
        InputError: everything wrong with the names and values, and every required input that is missing.
    """
    given: dict[str, list[str]] = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise InputError(f"{item!r} is not an input", hint="write -i name=value, or -i name=@path for a file")
        if len(value) >= 2 and value[0] == value[-1] == '"':
            value = value[1:-1]
        given.setdefault(name, []).append(value)
    described = find_inputs(schema, kind)
    if described is None:
        return {name: _pass_on(values) for name, values in given.items()}
    check_names(given, described)
    properties = described.get("properties", {})
    inputs = {name: _convert(name, values, properties[name], schema) for name, values in given.items()}
    return check_inputs(inputs, described, schema)


def parse_json_inputs(text: str, schema: Schema, *, kind: str = PREDICTIONS) -> dict[str, Any]:
    """The inputs from one JSON object: the text itself, ``@path`` or ``@-`` (also ``-``) for stdin.

    A member whose value is text beginning with ``@`` is a file, as with ``-i``.

    Raises:
        InputError: it is no JSON object, or the inputs do not fit.
    """
    if text == "-":
        text = "@-"
    if text.startswith("@"):
        text = _read(text[1:]).decode("utf-8", errors="replace")
    try:
        inputs = json.loads(text)
    except ValueError as error:
        raise InputError(f"the inputs are not valid JSON: {error}") from error
    if not isinstance(inputs, dict):
        raise InputError("the inputs must be a JSON object", hint="""for example '{"prompt": "a cat"}'""")
    described = find_inputs(schema, kind)
    if described is not None:
        check_names(inputs, described)
    inputs = {name: _open_file(name, value) for name, value in inputs.items()}
    return inputs if described is None else check_inputs(inputs, described, schema)


def check_names(names: Mapping[str, Any], described: Schema) -> None:
    """See that the model has inputs called ``names``.

    Raises:
        InputError: it has not; the hint names the nearest.
    """
    known = list(described.get("properties", {}))
    for name in names:
        if name in known:
            continue
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"it has: {', '.join(known) or 'none'}"
        raise InputError(f"the model has no input {name!r}", hint=hint)


def check_inputs(inputs: dict[str, Any], described: Schema, document: Schema) -> dict[str, Any]:
    """``inputs`` themselves, if they fit what is ``described``.

    Raises:
        InputError: some do not, or a required one is missing.
    """
    properties = described.get("properties", {})
    missing = [name for name in described.get("required", ()) if name not in inputs]
    faults = [f"{name}: missing" for name in missing]
    for name, value in inputs.items():
        if fault := find_fault(value, properties[name], document):
            faults.append(f"{name}: {fault}" + (f", not {value!r}" if len(repr(value)) < 60 else ""))
    if not faults:
        return inputs
    if len(faults) == 1 and missing:
        message = f"the input {missing[0]!r} is missing"
    else:
        message = (
            "\n  ".join(("the inputs do not fit the model:", *faults)) if len(faults) > 1 else f"input {faults[0]}"
        )
    raise InputError(message, hint=_advise(missing, inputs, properties, document))


def _advise(missing: list[str], inputs: Mapping[str, Any], properties: Schema, document: Schema) -> str:
    for name in missing:
        example = "@path" if resolve(properties.get(name, {}), document).get("format") == "uri" else "value"
        return f"give it with -i {name}={example}"
    for name, value in inputs.items():
        is_uri = resolve(properties[name], document).get("format") == "uri"
        if is_uri and isinstance(value, str) and ":" not in value:
            return f"for a file, write -i {name}=@{value}"
    return ""


def _pass_on(values: list[str]) -> Any:
    opened = [_open_file("input", value) for value in values]
    return opened[0] if len(opened) == 1 else opened


def _open_file(name: str, value: Any) -> Any:
    if not isinstance(value, str) or not value.startswith("@"):
        return value
    path = value[1:]
    try:
        return encode_data_url(_read(path), OCTETS if path == "-" else guess_type(path))
    except InputError as error:
        error.message = f"input {name!r}: {error.message}"
        raise


def _read(path: str) -> bytes:
    if path == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(path).expanduser().read_bytes()
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"cannot be read: {reason}", where=path) from error


def _convert(name: str, values: list[str], schema: Schema, document: Schema) -> Any:
    items = find_items(schema, document)
    if len(values) > 1:
        return [_convert_one(name, value, items, document) for value in values]
    value = values[0]
    if not accepts(schema, document, "array") or value.startswith("@"):
        opened = _convert_one(name, value, schema, document)
        wants_list = accepts(schema, document, "array") and not accepts(schema, document, "string")
        return [opened] if wants_list and value.startswith("@") else opened
    try:
        parsed = json.loads(value)
    except ValueError:
        parsed = None
    if isinstance(parsed, list):
        return parsed
    if accepts(schema, document, "string") and not find_fault(value, schema, document):
        return value
    return [_convert_one(name, value, items, document)]


def _convert_one(name: str, value: str, schema: Schema, document: Schema) -> Any:
    """``value`` in the first type that fits; the text itself when none does, for the check to complain about."""
    if value.startswith("@"):
        return _open_file(name, value)
    for candidate in _read_as(value, schema, document):
        if not accepts(schema, document, "string") or not find_fault(candidate, schema, document):
            return candidate
    return value


def _read_as(value: str, schema: Schema, document: Schema) -> list[Any]:
    candidates: list[Any] = []
    if accepts(schema, document, "boolean") and value in ("true", "false"):
        candidates.append(value == "true")
    if accepts(schema, document, "integer", "number"):
        try:
            candidates.append(int(value))
        except ValueError:
            pass
    if accepts(schema, document, "number"):
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if math.isfinite(number):
            candidates.append(number)
    if accepts(schema, document, "object"):
        try:
            parsed = json.loads(value)
        except ValueError:
            parsed = None
        if isinstance(parsed, dict):
            candidates.append(parsed)
    return candidates
