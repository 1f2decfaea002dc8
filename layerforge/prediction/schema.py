"""Reading a model's OpenAPI document from the client's side: which inputs there are, whether a value fits. Pure.

Covers what Cog's and our own schema generators write: ``$ref``, ``allOf``, ``anyOf``, ``oneOf``, ``nullable``, ``enum``
and the bounds of ``cog.Input``. The server has the last word; this is to say early, and in the user's terms, what is
wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]

PREDICTIONS = "predictions"
TRAININGS = "trainings"

_INPUTS = {PREDICTIONS: ("Input",), TRAININGS: ("TrainingInput", "Input")}
_OUTPUTS = {PREDICTIONS: ("Output",), TRAININGS: ("TrainingOutput", "Output")}
_NAMES = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a JSON object",
}


def resolve(schema: Schema, document: Schema) -> Schema:
    """``schema`` with its ``$ref`` followed and a lone ``allOf`` unwrapped; keys beside them win."""
    for _ in range(32):  # a reference to itself is no schema
        if "$ref" in schema:
            found: Any = document
            for part in str(schema["$ref"]).removeprefix("#/").split("/"):
                found = found.get(part, {}) if isinstance(found, Mapping) else {}
            rest = {key: value for key, value in schema.items() if key != "$ref"}
            schema = {**found, **rest} if isinstance(found, Mapping) else rest
        elif len(schema.get("allOf", ())) == 1:
            rest = {key: value for key, value in schema.items() if key != "allOf"}
            schema = {**schema["allOf"][0], **rest}
        else:
            break
    return schema


def find_inputs(document: Schema, kind: str = PREDICTIONS) -> Schema | None:
    """The object schema of the inputs, or None when the document does not describe any."""
    components = document.get("components", {}).get("schemas", {})
    for name in _INPUTS[kind]:
        if name in components:
            return resolve(components[name], document)
    return None


def find_output(document: Schema, kind: str = PREDICTIONS) -> Schema:
    """The schema of ``output``; empty when the document does not say."""
    try:
        operation = document["paths"][f"/{kind}"]["post"]
        answer = resolve(operation["responses"]["200"]["content"]["application/json"]["schema"], document)
        return resolve(answer["properties"]["output"], document)
    except (KeyError, TypeError):
        components = document.get("components", {}).get("schemas", {})
        found: Schema = next((components[name] for name in _OUTPUTS[kind] if name in components), {})
        return resolve(found, document)


def variants(schema: Schema, document: Schema) -> Iterator[Schema]:
    """``schema`` itself, or every member of its unions."""
    schema = resolve(schema, document)
    members = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
    if not members:
        yield schema
    for member in members:
        yield from variants(member, document)


def accepts(schema: Schema, document: Schema, *types: str) -> bool:
    """Whether a value of one of ``types`` can fit."""
    return any(variant.get("type") in types for variant in variants(schema, document))


def is_file(schema: Schema, document: Schema) -> bool:
    """Whether this is a ``cog.Path`` or ``cog.File``: text that is a URI."""
    found = list(variants(schema, document))
    return bool(found) and all(one.get("type") == "string" and one.get("format") == "uri" for one in found)


def find_items(schema: Schema, document: Schema) -> Schema:
    """What a list's members must be; a union of that when there are several kinds of list; empty if unknown."""
    items = [variant["items"] for variant in variants(schema, document) if "items" in variant]
    if len(items) == 1:
        return resolve(items[0], document)
    return {"anyOf": items} if items else {}


def find_fault(value: Any, schema: Schema, document: Schema) -> str:
    """Why ``value`` (as JSON has it) does not fit ``schema``, for people; empty when it does."""
    schema = resolve(schema, document)
    if value is None:
        return "" if schema.get("nullable") or not schema.get("type") else "must not be null"
    for part in schema.get("allOf", ()):
        if fault := find_fault(value, part, document):
            return fault
    for union in ("anyOf", "oneOf"):
        if members := schema.get(union):
            faults = [find_fault(value, member, document) for member in members]
            if "" not in faults:
                return " or ".join(dict.fromkeys(faults))
    if "enum" in schema and value not in schema["enum"]:
        return f"must be one of {', '.join(_show(choice) for choice in schema['enum'])}"
    return _find_type_fault(value, schema, document)


def _find_type_fault(value: Any, schema: Schema, document: Schema) -> str:
    kind = schema.get("type")
    if kind and not _has_type(value, kind):
        return f"must be {_NAMES.get(kind, kind)}"
    if isinstance(value, str):
        return _find_text_fault(value, schema)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if "minimum" in schema and value < schema["minimum"]:
            return f"must be at least {schema['minimum']}"
        if "maximum" in schema and value > schema["maximum"]:
            return f"must be at most {schema['maximum']}"
    if isinstance(value, list) and "items" in schema:
        for number, item in enumerate(value):
            if fault := find_fault(item, schema["items"], document):
                return f"item {number} {fault}"
    return ""


def _find_text_fault(value: str, schema: Schema) -> str:
    if len(value) < schema.get("minLength", 0):
        return f"must have at least {schema['minLength']} characters"
    if "maxLength" in schema and len(value) > schema["maxLength"]:
        return f"must have at most {schema['maxLength']} characters"
    if "pattern" in schema:
        try:
            if not re.search(schema["pattern"], value):
                return f"must match {schema['pattern']}"
        except re.error:  # another dialect: the server knows it
            pass
    if schema.get("format") == "uri" and not re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", value):
        return "must be a URL, or a file given as @path"
    return ""


def _has_type(value: Any, kind: str) -> bool:
    if kind in ("integer", "number"):
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        return not isinstance(value, bool) and (whole or (kind == "number" and isinstance(value, float)))
    expected = {"string": str, "boolean": bool, "array": list, "object": dict}.get(kind)
    return expected is None or isinstance(value, expected)


def _show(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
