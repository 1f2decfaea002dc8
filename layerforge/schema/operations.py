"""The pure operations that constant expressions may use, each with a bound on what it may produce."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

MAX_ITEMS = 10_000
MAX_TEXT = 100_000
MAX_BITS = 4096

VIEWS: tuple[type, ...] = (type({}.keys()), type({}.values()), type({}.items()))
CONSTANTS = {"math.pi": math.pi, "math.e": math.e, "math.tau": math.tau}

_STRING_METHODS = {
    *("capitalize", "casefold", "count", "endswith", "find", "format", "index", "join", "lower", "lstrip", "partition"),
    *("removeprefix", "removesuffix", "replace", "rpartition", "rsplit", "rstrip", "split", "splitlines"),
    *("startswith", "strip", "swapcase", "title", "upper"),
}
_METHODS: dict[type, set[str]] = {
    str: _STRING_METHODS,
    dict: {"keys", "values", "items", "get", "copy"},
    list: {"copy", "index", "count"},
    tuple: {"index", "count"},
}
_LARGE_NUMBER = re.compile(r"\d{4,}")


def bounded(value: Any) -> Any:
    """``value``, or an error when it is too large to go on with."""
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise OverflowError("the number is too large")
    if isinstance(value, str) and len(value) > MAX_TEXT:
        raise OverflowError("the text is too long")
    if isinstance(value, (list, tuple, dict, set, range)) and len(value) > MAX_ITEMS:
        raise OverflowError("there are too many items")
    return value


def iterate(value: Any) -> list[Any]:
    """The items of an iterable constant."""
    if isinstance(value, (list, tuple, dict, str, range)) or type(value) in VIEWS:
        return list(bounded(value))
    raise TypeError(f"{type(value).__name__} is not iterable here")


def add(left: Any, right: Any) -> Any:
    """``left + right``."""
    return left + right


def multiply(left: Any, right: Any) -> Any:
    """``left * right``, measured before it is done."""
    for one, other in ((left, right), (right, left)):
        if isinstance(one, (str, list, tuple)) and isinstance(other, int) and len(one) * other > MAX_ITEMS:
            raise OverflowError("there are too many items")
    return left * right


def power(left: Any, right: Any) -> Any:
    """``left ** right``, measured before it is done."""
    if isinstance(left, int) and isinstance(right, int) and right > 0 and left.bit_length() * right > MAX_BITS:
        raise OverflowError("the number is too large")
    return left**right


def shift_left(left: int, right: int) -> int:
    """``left << right``, measured before it is done."""
    if left.bit_length() + right > MAX_BITS:
        raise OverflowError("the number is too large")
    return left << right


def modulo(left: Any, right: Any) -> Any:
    """``left % right``, also for text; a field width must be small."""
    if isinstance(left, str):
        if _LARGE_NUMBER.search(left) or "*" in left:
            raise OverflowError("the field is too wide")
        return left % (right if isinstance(right, (tuple, dict)) else (right,))
    return left % right


def format_value(value: Any, conversion: str, spec: str) -> str:
    """One field of an f-string."""
    if _LARGE_NUMBER.search(spec):
        raise OverflowError("the field is too wide")
    if conversion == "r":
        value = repr(value)
    elif conversion == "a":
        value = ascii(value)
    elif conversion == "s":
        value = str(value)
    return format(value, spec)


def call_method(owner: Any, name: str, arguments: list[Any], keywords: dict[str, Any]) -> Any:
    """A method of a constant, when it only reads."""
    if name not in _METHODS.get(type(owner), ()):
        raise TypeError(f"the method {name} of {type(owner).__name__} is not run here")
    if name == "format" and (_LARGE_NUMBER.search(owner) or re.search(r"\{[^{}]*[.\[{]", owner)):
        raise TypeError("only plain fields are formatted here")
    if name == "replace" and (len(owner) + 1) * len(str(arguments[1:2])) > 100 * MAX_TEXT:
        raise OverflowError("the text is too long")
    if name == "join":
        arguments = [iterate(arguments[0])]
    return getattr(owner, name)(*arguments, **keywords)


def _sorted(items: list[Any], reverse: bool = False) -> list[Any]:
    return sorted(items, reverse=reverse)


def _range(*arguments: int) -> list[int]:
    return list(bounded(range(*arguments)))


def _zip(*lists: Any) -> list[tuple[Any, ...]]:
    return list(zip(*map(iterate, lists), strict=False))


def _enumerate(items: list[Any], start: int = 0) -> list[tuple[int, Any]]:
    return list(enumerate(items, start))


def _dict(*arguments: Any, **keywords: Any) -> dict[Any, Any]:
    return {**dict(*arguments), **keywords}


def _set(items: list[Any] | None = None) -> Any:
    return dict.fromkeys(items or []).keys()


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "builtins.list": lambda items=(): list(items),
    "builtins.tuple": lambda items=(): tuple(items),
    "builtins.set": _set,
    "builtins.frozenset": _set,
    "builtins.sorted": _sorted,
    "builtins.reversed": lambda items: list(reversed(items)),
    "builtins.dict": _dict,
    "builtins.len": len,
    "builtins.str": str,
    "builtins.int": int,
    "builtins.float": float,
    "builtins.bool": bool,
    "builtins.range": _range,
    "builtins.min": min,
    "builtins.max": max,
    "builtins.sum": sum,
    "builtins.abs": abs,
    "builtins.round": round,
    "builtins.zip": _zip,
    "builtins.enumerate": _enumerate,
    "collections.OrderedDict": _dict,
}
OVER_ITERABLES = {
    f"builtins.{name}"
    for name in ("list", "tuple", "set", "frozenset", "sorted", "reversed", "enumerate", "len", "sum")
}
"""Functions whose first argument is gone through item by item, which enumerations allow too."""
