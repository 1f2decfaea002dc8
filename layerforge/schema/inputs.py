"""One input of a model, and whether what is said about it makes sense.

Rules: ``_validate_input_constraints`` in Cog's ``python/cog/_inspector.py`` and ``ValidateInputField`` in
``pkg/schema/types.go``.
"""

from __future__ import annotations

import ast
import math
import re
from typing import Any

import msgspec

from layerforge.schema.faults import brief, fault
from layerforge.schema.modules import Module, Project
from layerforge.schema.resolve import shape, unwrap
from layerforge.schema.types import Anything, Array, Scalar, Type

_CONVERTERS: dict[str, Any] = {"str": str, "int": int, "float": float, "bool": bool, "Path": str, "File": str,
                               "Secret": str}  # fmt: skip
_KINDS = {"str": "a text", "int": "a whole number", "float": "a number", "bool": "True or False", "Path": "a path",
          "File": "a path", "Secret": "a text"}  # fmt: skip
_PLAIN: dict[str, Any] = {"str": str, "int": int, "float": (int, float), "bool": bool}


class Input(msgspec.Struct, frozen=True):
    """One parameter. ``default`` is UNSET where there is none; ``order`` counts from 0."""

    name: str
    order: int
    type: Type
    default: Any = msgspec.UNSET
    description: str | None = None
    ge: float | None = None
    le: float | None = None
    min_length: float | None = None
    max_length: float | None = None
    regex: str | None = None
    choices: tuple[Any, ...] | None = None
    deprecated: bool | None = None
    accept: str | None = None


def check_input(found: Input, project: Project, module: Module, node: ast.AST) -> Input:
    """``found`` with its default as the model gets it; declarations that contradict themselves are refused.

    Raises:
        SchemaError: at ``node``, a part of ``module``.
    """

    def refuse(message: str, hint: str) -> None:
        raise fault(module, node, f"the input {found.name}: {message}", hint)

    flat = shape(found.type)
    bounds = found.ge is not None or found.le is not None
    lengths = found.min_length is not None or found.max_length is not None
    if flat.union and (bounds or lengths or found.regex is not None or found.choices is not None):
        refuse("a union takes no choices or constraints", "use one type, or check the value in the method")
    if bounds and flat.scalar not in ("int", "float"):
        refuse("ge and le are for int and float", "remove them, or change the type")
    if lengths and flat.scalar != "str":
        refuse("min_length and max_length are for str", "remove them, or change the type")
    if found.regex is not None and flat.scalar != "str":
        refuse("regex is for str", "remove it, or change the type")
    if found.regex is not None and (reason := _regex_fault(found.regex)):
        refuse(f"the regex {brief(found.regex)} is none: {reason}", "mend the pattern")
    if found.accept is not None and flat.scalar not in ("Path", "File"):
        refuse("accept is only valid on Path or File inputs", "remove it, or change the type")
    if found.choices is not None:
        _check_choices(found, flat.scalar, refuse)
    if found.default is msgspec.UNSET or found.default is None:
        return found
    default = _fit_default(found, flat.scalar, flat.repeated, refuse)
    if flat.union and not any(_accepts(variant, default) for variant in unwrap(found.type)[0].variants):  # type: ignore[union-attr]
        refuse(f"the default {brief(default)} is of none of the types", "change the default or the type")
    if default != found.default:
        message = (
            f"the input {found.name}: the default {brief(found.default)} is taken as {brief(default)}, as Cog takes it"
        )
        project.warn(module, node, message, f"write default={brief(default)}")
    found = msgspec.structs.replace(found, default=default)
    _check_default(found, flat.repeated, refuse)
    return found


def _check_choices(found: Input, scalar: str, refuse: Any) -> None:
    choices = found.choices or ()
    if not choices:
        refuse("choices is empty", "list the allowed values, or leave choices out")
    if scalar not in _PLAIN:
        refuse("choices are for str and int", "remove them, or change the type")
    for value in choices:
        plain = isinstance(value, _PLAIN[scalar]) and (scalar == "bool" or not isinstance(value, bool))
        if not plain:
            refuse(f"the choice {brief(value)} is not a {scalar}", "use values of the input's type only")
    if found.ge is not None or found.le is not None or found.min_length is not None or found.max_length is not None:
        refuse("choices and constraints exclude each other", "keep the choices")


def _fit_default(found: Input, scalar: str, repeated: bool, refuse: Any) -> Any:
    """The default as Cog's ``PrimitiveType.normalize`` (``python/cog/_adt.py``) makes it fit the type."""
    default = found.default
    if _has_no_json(default):
        refuse(f"the default {brief(default)} has no JSON form", "use None and make the value in the method")
    if not repeated:
        return _fit(default, scalar, refuse)
    if not isinstance(default, (list, tuple)):
        refuse(f"the default {brief(default)} is not a list", "write a list, or None")
    return [_fit(value, scalar, refuse) for value in default]


def _accepts(kind: Type, value: Any) -> bool:
    """Whether a variant of a union takes ``value``."""
    match kind:
        case Array(items=items):
            return isinstance(value, list | tuple) and all(_accepts(items, item) for item in value)
        case Scalar(name="bool"):
            return isinstance(value, bool)
        case Scalar(name="int"):
            return isinstance(value, int) and not isinstance(value, bool)
        case Scalar(name="float"):
            return isinstance(value, int | float) and not isinstance(value, bool)
        case Scalar(name="str"):
            return isinstance(value, str)
        case Anything():
            return isinstance(value, dict)
    return True


def _fit(value: Any, scalar: str, refuse: Any) -> Any:
    convert = _CONVERTERS.get(scalar)
    if convert is None or value is None:
        return value
    try:
        fitted = convert(value)
    except (ValueError, TypeError, OverflowError):
        fitted = None
    if fitted is not None and (fitted == value or (isinstance(value, str) and scalar in ("int", "float"))):
        return fitted
    refuse(f"the default {brief(value)} is not {_KINDS[scalar]}", "change the default or the type")
    return None


def _check_default(found: Input, repeated: bool, refuse: Any) -> None:
    for value in found.default if repeated else (found.default,):
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if found.choices is not None and value not in found.choices:
            refuse(f"the default {brief(value)} is not among the choices", "add it to choices, or change the default")
        if number and found.ge is not None and value < found.ge:
            refuse(f"invalid default {brief(value)}: the minimum is ge={found.ge!r}", "change one of the two")
        if number and found.le is not None and value > found.le:
            refuse(f"invalid default {brief(value)}: the maximum is le={found.le!r}", "change one of the two")
        if isinstance(value, str) and found.min_length is not None and len(value) < found.min_length:
            refuse(f"the default is shorter than min_length={found.min_length!r}", "change one of the two")
        if isinstance(value, str) and found.max_length is not None and len(value) > found.max_length:
            refuse(f"the default is longer than max_length={found.max_length!r}", "change one of the two")
        if isinstance(value, str) and found.regex is not None and _misses(found.regex, value):
            refuse(f"the default {brief(value)} does not match regex", "change one of the two")


def _regex_fault(pattern: str) -> str:
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        return str(error)
    return ""


def _misses(pattern: str, value: str) -> bool:
    """Whether a simple pattern does not match; others are left to the model, as matching them may take for ever."""
    if len(value) > 200 or re.search(r"[*+}]\)?[*+{]", pattern):
        return False
    try:
        return re.match(pattern, value) is None
    except (re.error, RecursionError, OverflowError):
        return False


def _has_no_json(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, int):
        return not -(1 << 63) <= value < 1 << 64
    if isinstance(value, dict):
        return any(_has_no_json(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return any(map(_has_no_json, value))
    return isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value)
