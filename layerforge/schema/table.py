"""An OpenAPI document for people: one line an input, one for the output."""

from __future__ import annotations

import json
from typing import Any

WIDEST = 60
"""Longer cells are cut, in characters."""

_LIMITS = {"minimum": "≥ {}", "maximum": "≤ {}", "minLength": "at least {} characters",
           "maxLength": "at most {} characters", "pattern": "like {}", "x-cog-accept": "{}"}  # fmt: skip


def format_table(document: dict[str, Any]) -> str:
    """The inputs and the output of every component pair in ``document``, as text in columns."""
    schemas = document.get("components", {}).get("schemas", {})
    parts = []
    for component, output in (("Input", "Output"), ("TrainingInput", "TrainingOutput")):
        if component not in schemas:
            continue
        schema = schemas[component]
        required = schema.get("required", ())
        properties = sorted(schema.get("properties", {}).items(), key=lambda item: item[1].get("x-order", 0))
        rows: list[tuple[str, ...]] = [("INPUT", "TYPE", "DEFAULT", "ALLOWED", "DESCRIPTION")]
        rows += [_row(name, each, schemas, name in required) for name, each in properties]
        parts.append(_align(rows) + f"\n{output}: {_type(schemas.get(output, {}), schemas)}")
    return "\n\n".join(parts)


def _row(name: str, schema: dict[str, Any], schemas: dict[str, Any], required: bool) -> tuple[str, ...]:
    default = _json(schema["default"]) if "default" in schema else "(required)" if required else "null"
    whole = {**_enumeration(schema, schemas), **schema}
    values = whole.get("enum") or _enumeration(schema.get("items", {}), schemas).get("enum", ())
    limits = [", ".join(map(_json, values))] if values else []
    limits += [form.format(whole[key]) for key, form in _LIMITS.items() if key in whole]
    description = whole.get("description", "") if "description" in schema else ""
    notes = "deprecated. " if schema.get("deprecated") else ""
    return name, _type(whole, schemas), _cut(default), _cut("; ".join(limits)), _cut(notes + description)


def _enumeration(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    references = [schema.get("$ref"), *(part.get("$ref") for part in schema.get("allOf", ()))]
    for reference in references:
        found: dict[str, Any] = schemas.get(str(reference).rpartition("/")[2], {})
        if found:
            return found
    return {}


def _type(schema: dict[str, Any], schemas: dict[str, Any]) -> str:
    schema = {**_enumeration(schema, schemas), **schema}
    if "anyOf" in schema:
        return " | ".join(_type(variant, schemas) for variant in schema["anyOf"])
    kind = schema.get("type", "any")
    if kind == "array":
        items = _type(schema.get("items", {}), schemas)
        iterated = "iterator" if schema.get("x-cog-array-type") == "iterator" else "list"
        return f"text, piece by piece ({iterated})" if "x-cog-array-display" in schema else f"{iterated} of {items}"
    if kind == "object" and schema.get("properties"):
        members = (f"{name}: {_type(each, schemas)}" for name, each in schema["properties"].items())
        return _cut(f"{{{', '.join(members)}}}")
    return {"uri": "file", "password": "secret"}.get(schema.get("format", ""), str(kind))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= WIDEST else line[: WIDEST - 1] + "…"


def _align(rows: list[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines)
