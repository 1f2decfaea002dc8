"""The OpenAPI 3.0.2 document of a signature, member for member as Cog writes it.

Source: Cog's ``pkg/schema/openapi_spec.go`` and ``architecture/02-schema.md``.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from layerforge.schema.inputs import Input
from layerforge.schema.resolve import shape, unwrap
from layerforge.schema.signature import Signature
from layerforge.schema.types import (
    Anything,
    Array,
    Choice,
    Dictionary,
    Nullable,
    Record,
    Scalar,
    Stream,
    Type,
    Unchecked,
    Union,
)

_SCALARS: dict[str, dict[str, Any]] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "Path": {"type": "string", "format": "uri"},
    "File": {"type": "string", "format": "uri"},
    "Secret": {"type": "string", "format": "password", "writeOnly": True, "x-cog-secret": True},
    "Any": {"type": "object"},
}
_CONSTRAINTS = {"ge": "minimum", "le": "maximum", "min_length": "minLength", "max_length": "maxLength"}


class Words(msgspec.Struct, frozen=True):
    """The names that differ between predictions and trainings."""

    path: str
    noun: str
    input: str
    output: str
    verb: str

    @property
    def identifier(self) -> str:
        """The parameter of the cancel path."""
        return f"{self.noun}_id"

    @property
    def envelope(self) -> str:
        """What the names of the request and response components start with."""
        return self.noun.capitalize()


WORDS = {
    "run": Words("/predictions", "prediction", "Input", "Output", "predict"),
    "train": Words("/trainings", "training", "TrainingInput", "TrainingOutput", "train"),
}


def render_document(signature: Signature, mode: str, version: str) -> dict[str, Any]:
    """The document for ``mode`` ("run" or "train"). ``version`` goes to ``info.version``."""
    words = WORDS[mode]
    input_schema, enumerations = _render_inputs(signature.inputs, words.input)
    schemas = {
        words.input: input_schema,
        words.output: {**render_output(signature.output), "title": "Output"},
        **enumerations,
        **_envelopes(words),
    }
    main: dict[str, Any] = {
        "summary": words.verb.capitalize(),
        "description": f"Run a single {words.noun} on the model",
        "operationId": f"{words.verb}_{words.path[1:]}_post",
        "requestBody": {"content": _json(_reference(f"{words.envelope}Request"))},
        "responses": {**_success(_reference(f"{words.envelope}Response")), **_INVALID},
    }
    if signature.streaming and mode == "run":
        main["x-cog-streaming"] = True
    title = title_case(words.identifier)
    cancel = {
        "summary": "Cancel",
        "operationId": f"cancel_{words.path[1:]}__{words.identifier}__cancel_post",
        "parameters": [
            {
                "required": True,
                "schema": {"title": title, "type": "string"},
                "name": words.identifier,
                "in": "path",
            }
        ],
        "responses": {**_success({}), **_INVALID},
    }
    return {
        "openapi": "3.0.2",
        "info": {"title": "Cog", "version": version},
        "paths": {
            "/": {"get": {"summary": "Root", "operationId": "root__get", "responses": _success({})}},
            "/health-check": {
                "get": {
                    "summary": "Healthcheck",
                    "operationId": "healthcheck_health_check_get",
                    "responses": _success({}),
                }
            },
            words.path: {"post": main},
            f"{words.path}/{{{words.identifier}}}/cancel": {"post": cancel},
        },
        "components": {"schemas": schemas},
    }


def join_documents(documents: list[dict[str, Any]]) -> dict[str, Any]:
    """One document of several; where two have a path or component of one name, the first's stays, as with Cog."""
    whole = documents[0]
    for other in documents[1:]:
        schemas = {**other["components"]["schemas"], **whole["components"]["schemas"]}
        whole = {**whole, "paths": {**other["paths"], **whole["paths"]}, "components": {"schemas": schemas}}
    return whole


def _render_inputs(inputs: tuple[Input, ...], title: str) -> tuple[dict[str, Any], dict[str, Any]]:
    properties: dict[str, Any] = {}
    enumerations: dict[str, Any] = {}
    required = []
    for found in inputs:
        flat = shape(found.type)
        optional_secret = flat.scalar == "Secret" and not flat.repeated and found.default is None
        nullable = flat.nullable or optional_secret
        # None as the default of a type that cannot be None means "made in the method": the input stays required.
        has_default = found.default is not msgspec.UNSET and (found.default is not None or nullable)
        if not has_default and (flat.union or not flat.nullable):
            required.append(found.name)
        properties[found.name] = _render_property(found, nullable, has_default)
        if found.choices is not None:
            enumerations[found.name] = {
                "title": found.name,
                "description": "An enumeration.",
                "enum": [_plain(choice) for choice in found.choices],
                "type": _SCALARS[flat.scalar]["type"],
            }
    schema: dict[str, Any] = {"title": title, "type": "object", "properties": properties}
    if required:
        schema["required"] = required
    return schema, enumerations


def _render_property(found: Input, nullable: bool, has_default: bool) -> dict[str, Any]:
    schema: dict[str, Any] = {"x-order": found.order}
    if found.choices is None:
        schema["title"] = title_case(found.name)
        schema.update(render_input(found.type))
    elif shape(found.type).repeated:
        # Cog writes the bare reference here, which its own server then refuses lists for.
        schema.update({"title": title_case(found.name), "type": "array", "items": _reference(found.name)})
    else:
        schema["allOf"] = [_reference(found.name)]
    if has_default:
        schema["default"] = _plain(found.default)
    if nullable:
        schema["nullable"] = True
    if found.description is not None:
        schema["description"] = found.description
    for name, member in _CONSTRAINTS.items():
        value = getattr(found, name)
        if value is not None:
            # Cog keeps bounds as floats: past 2**53 they are round numbers, in its documents as in its server.
            schema[member] = _plain(float(value))
    if found.regex is not None:
        schema["pattern"] = found.regex
    if found.deprecated:
        schema["deprecated"] = True
    if found.accept is not None:
        schema["x-cog-accept"] = found.accept
    return schema


def render_input(kind: Type) -> dict[str, Any]:
    """The JSON Schema of an input's type."""
    match kind:
        case Nullable(type=Union(variants=variants)):
            # As Cog does: every variant says it too.
            return {"anyOf": [{**render_input(variant), "nullable": True} for variant in variants], "nullable": True}
        case Nullable(type=inner):
            return {**render_input(inner), "nullable": True}
        case Union(variants=variants):
            return {"anyOf": [render_input(variant) for variant in variants]}
        case Array(items=items):
            return {"type": "array", "items": render_input(items)}
    return render_output(kind)


def render_output(kind: Type) -> dict[str, Any]:
    """The JSON Schema of an output's type."""
    match kind:
        case Scalar(name=name):
            return dict(_SCALARS[name])
        case Anything():
            return {"type": "object"}
        case Unchecked():
            return {}
        case Choice(scalar=scalar, values=values):
            return {**_SCALARS[scalar.name], "enum": [_plain(value) for value in values]}
        case Array(items=items):
            return {"type": "array", "items": render_output(items)}
        case Dictionary(values=values):
            return {"type": "object", "additionalProperties": render_output(values)}
        case Nullable(type=inner):
            return {**render_output(inner), "nullable": True}
        case Stream(items=items, concatenate=concatenate):
            schema = {"type": "array", "items": render_output(items), "x-cog-array-type": "iterator"}
            return {**schema, "x-cog-array-display": "concatenate"} if concatenate else schema
        case Record(fields=fields):
            properties = {
                field.name: {**render_output(field.type), "title": title_case(field.name)} for field in fields
            }
            required = [field.name for field in fields if field.required]
            record = {"type": "object", "properties": properties}
            return {**record, "required": required} if required else record
    return {"anyOf": [render_output(variant) for variant in unwrap(kind)[0].variants]}  # type: ignore[union-attr]


def title_case(name: str) -> str:
    """``num_steps`` as ``Num Steps``."""
    return " ".join(part[:1].upper() + part[1:] for part in name.split("_"))


def _plain(value: Any) -> Any:
    """``value`` as JSON has it: tuples become lists, and 7.0 becomes 7, which is how Go's encoder writes it."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return int(Decimal(repr(value)))  # the shortest digits that tell the float, and zeros after them
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {_plain_key(key): _plain(item) for key, item in value.items()}
    return value


def _plain_key(key: Any) -> str:
    if key is None:
        return "<nil>"
    return str(key).lower() if isinstance(key, bool) else str(_plain(key))


def _reference(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _success(schema: dict[str, Any]) -> dict[str, Any]:
    return {"200": {"description": "Successful Response", "content": _json(schema)}}


_INVALID = {"422": {"description": "Validation Error", "content": _json(_reference("HTTPValidationError"))}}


def _text(title: str, **more: str) -> dict[str, Any]:
    return {"title": title, "type": "string", **more}


def _envelopes(words: Words) -> dict[str, Any]:
    times = {name: _text(title_case(name), format="date-time") for name in ("created_at", "started_at", "completed_at")}
    return {
        f"{words.envelope}Request": {
            "title": f"{words.envelope}Request",
            "type": "object",
            "properties": {"id": _text("Id"), "input": _reference(words.input)},
        },
        f"{words.envelope}Response": {
            "title": f"{words.envelope}Response",
            "type": "object",
            "properties": {
                "input": _reference(words.input),
                "output": _reference(words.output),
                "id": _text("Id"),
                "version": _text("Version"),
                **times,
                "status": _text("Status"),
                "error": _text("Error"),
                "logs": _text("Logs"),
                "metrics": {"title": "Metrics", "type": "object"},
            },
        },
        "Status": {
            "title": "Status",
            "description": "An enumeration.",
            "enum": ["starting", "processing", "succeeded", "canceled", "failed"],
            "type": "string",
        },
        "HTTPValidationError": {
            "title": "HTTPValidationError",
            "type": "object",
            "properties": {"detail": {"title": "Detail", "type": "array", "items": _reference("ValidationError")}},
        },
        "ValidationError": {
            "title": "ValidationError",
            "required": ["loc", "msg", "type"],
            "type": "object",
            "properties": {
                "loc": {
                    "title": "Location",
                    "type": "array",
                    "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
                },
                "msg": _text("Message"),
                "type": _text("Error Type"),
            },
        },
    }
