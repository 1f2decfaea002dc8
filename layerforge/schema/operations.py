"""The pure operations that constant expressions may use, each with a bound on what it may produce."""

from __future__ import annotations

import itertools
import math
import re
import string
import textwrap
from collections.abc import Callable
from typing import Any

from layerforge.schema.datafiles import PATH_FUNCTIONS
from layerforge.schema.values import PathText

MAX_ITEMS = 10_000
MAX_TEXT = 100_000
MAX_BITS = 4096

VIEWS: tuple[type, ...] = (type({}.keys()), type({}.values()), type({}.items()))
CONSTANTS: dict[str, Any] = {
    "math.pi": math.pi, "math.e": math.e, "math.tau": math.tau, "math.inf": math.inf, "math.nan": math.nan,
    "numpy.pi": math.pi, "numpy.e": math.e, "numpy.inf": math.inf, "numpy.nan": math.nan, "torch.inf": math.inf,
    "sys.maxsize": (1 << 63) - 1, "sys.platform": "linux", "os.sep": "/", "os.linesep": "\n", "os.name": "posix",
    "string.ascii_letters": string.ascii_letters, "string.ascii_lowercase": string.ascii_lowercase,
    "string.ascii_uppercase": string.ascii_uppercase, "string.digits": string.digits,
    "string.punctuation": string.punctuation, "string.whitespace": string.whitespace,
    "typing.TYPE_CHECKING": False,
}  # fmt: skip
"""What names of other packages stand for, where it is the same everywhere."""

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
_CHANGES: dict[type, set[str]] = {
    list: {"append", "extend", "insert", "remove", "pop", "clear", "sort", "reverse", "__setitem__", "__delitem__"},
    dict: {"update", "setdefault", "pop", "popitem", "clear", "__setitem__", "__delitem__"},
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


def subtract(left: Any, right: Any) -> Any:
    """``left - right``, of sets too, whose order stays."""
    if type(left) in VIEWS:
        return dict.fromkeys(item for item in left if item not in right).keys()
    return left - right


def divide(left: Any, right: Any) -> Any:
    """``left / right``, of paths too."""
    if isinstance(left, PathText) or isinstance(right, PathText):
        return PATH_FUNCTIONS["pathlib.Path"](left, right)
    return left / right


def unite(left: Any, right: Any) -> Any:
    """``left | right``, of sets too, whose order stays."""
    if type(left) in VIEWS:
        return dict.fromkeys([*left, *right]).keys()
    return left | right


def intersect(left: Any, right: Any) -> Any:
    """``left & right``, of sets too, whose order stays."""
    if type(left) in VIEWS:
        return dict.fromkeys(item for item in left if item in right).keys()
    return left & right


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
    if type(owner) in VIEWS and name in _SET_METHODS:
        for argument in arguments:
            owner = _SET_METHODS[name](owner, argument)
        return owner
    if name not in _METHODS.get(type(owner), ()):
        raise TypeError(f"the method {name} of {type(owner).__name__} is not run here")
    if name == "format" and (_LARGE_NUMBER.search(owner) or re.search(r"\{[^{}]*[.\[{]", owner)):
        raise TypeError("only plain fields are formatted here")
    if name == "replace" and (len(owner) + 1) * len(str(arguments[1:2])) > 100 * MAX_TEXT:
        raise OverflowError("the text is too long")
    if name == "join":
        arguments = [iterate(arguments[0])]
    return getattr(owner, name)(*arguments, **keywords)


def change(owner: Any, name: str, arguments: list[Any], keywords: dict[str, Any]) -> None:
    """A method that changes a list or dict, which stays within bounds."""
    if name not in _CHANGES.get(type(owner), ()):
        raise TypeError(f"the method {name} of {type(owner).__name__} is not run here")
    if keywords and not (type(owner) is dict and name == "update") and "key" in keywords:
        raise TypeError(f"{name} with a key is not run here")
    if name in ("extend", "update") and arguments and not isinstance(arguments[0], dict):
        arguments = [iterate(arguments[0])]
    getattr(owner, name)(*arguments, **keywords)
    bounded(owner)


def number_limits(kind: str, *, whole: bool) -> dict[str, Any]:
    """``min``, ``max`` and ``bits`` of numpy's and torch's number types, by their last name."""
    if whole:
        found = re.fullmatch(r"(u?)int(8|16|32|64)|(u?)(?:int_|long|longlong)", kind)
        if found is None:
            raise ValueError(f"{kind} is no type of whole numbers")
        bits = int(found[2] or 64)
        unsigned = bool(found[1] or found[3])
        top = (1 << (bits if unsigned else bits - 1)) - 1
        return {"min": 0 if unsigned else -top - 1, "max": top, "bits": bits}
    tops = {"float16": 65504.0, "half": 65504.0, "float32": 3.4028234663852886e38, "float": 3.4028234663852886e38,
            "float64": 1.7976931348623157e308, "double": 1.7976931348623157e308}  # fmt: skip
    return {"min": -tops[kind], "max": tops[kind]}


def _sorted(items: list[Any], key: Any = None, reverse: bool = False) -> list[Any]:
    return sorted(items, key=key, reverse=reverse)


def _range(*arguments: int) -> list[int]:
    return list(bounded(range(*arguments)))


def _zip(*lists: Any) -> list[tuple[Any, ...]]:
    return list(zip(*map(iterate, lists), strict=False))


def _enumerate(items: list[Any], start: int = 0) -> list[tuple[int, Any]]:
    return list(enumerate(items, start))


def _dict(*arguments: Any, **keywords: Any) -> dict[Any, Any]:
    return {**dict(*arguments), **keywords}


def _measured(lists: tuple[Any, ...]) -> list[list[Any]]:
    found = [iterate(items) for items in lists]
    if math.prod(map(len, found)) > MAX_ITEMS:
        raise OverflowError("there are too many items")
    return found


def _set(items: list[Any] | None = None) -> Any:
    return dict.fromkeys(items or []).keys()


_SET_METHODS = {"union": unite, "intersection": intersect, "difference": subtract}


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "builtins.list": lambda items=(): list(items),
    "builtins.tuple": lambda items=(): tuple(items),
    "builtins.set": _set,
    "builtins.frozenset": _set,
    "builtins.sorted": _sorted,
    "builtins.reversed": lambda items: list(reversed(items)),
    "builtins.dict": _dict,
    "builtins.len": len,
    "builtins.str": lambda value="": value.text if isinstance(value, PathText) else str(value),
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
    "builtins.any": any,
    "builtins.all": all,
    "builtins.pow": power,
    "builtins.divmod": divmod,
    "builtins.chr": chr,
    "builtins.ord": ord,
    "builtins.repr": repr,
    "builtins.map": map,
    "builtins.filter": filter,
    "collections.OrderedDict": _dict,
    "math.floor": math.floor,
    "math.ceil": math.ceil,
    "math.sqrt": math.sqrt,
    "math.log2": math.log2,
    "math.log10": math.log10,
    "math.prod": math.prod,
    "itertools.chain": lambda *lists: [item for items in lists for item in iterate(items)],
    "itertools.chain.from_iterable": lambda lists: [item for items in lists for item in iterate(items)],
    "itertools.product": lambda *lists: list(itertools.product(*_measured(lists))),
    "copy.copy": lambda value: value,
    "copy.deepcopy": lambda value: value,
    "textwrap.dedent": textwrap.dedent,
}
OVER_ITERABLES = {
    f"builtins.{name}"
    for name in ("list", "tuple", "set", "frozenset", "sorted", "reversed", "enumerate", "len", "sum", "any", "all")
}
"""Functions whose first argument is gone through item by item, which enumerations allow too."""
