"""Conditions that are decided before anything runs: the version of Python, the platform, type checking."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable

_COMPARISONS: dict[type[ast.cmpop], Callable[[object, object], bool]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,  # type: ignore[dict-item]
    ast.Eq: operator.eq, ast.NotEq: operator.ne,
}  # fmt: skip
_CONSTANTS = {"TYPE_CHECKING": True, "typing.TYPE_CHECKING": True, "sys.platform": "linux", "os.name": "posix",
              "__debug__": True, "__name__": ""}  # fmt: skip


def decide(test: ast.expr, python: tuple[int, int]) -> bool | None:
    """Whether ``test`` holds for a module imported by ``python`` in an image; None where only running it tells."""
    match test:
        case ast.Constant(value=bool() | int() as value):
            return bool(value)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            decided = decide(operand, python)
            return None if decided is None else not decided
        case ast.Name() | ast.Attribute():
            known = _CONSTANTS.get(ast.unparse(test))
            return None if known is None else bool(known)
        case ast.Compare(left=left, ops=[operation], comparators=[right]) if type(operation) in _COMPARISONS:
            one, other = _value(left, python), _value(right, python)
            if one is None or other is None or type(one) is not type(other):
                return None
            return _COMPARISONS[type(operation)](one, other)
    return None


def _value(node: ast.expr, python: tuple[int, int]) -> object:
    match node:
        case ast.Constant(value=str() | int() as value):
            return value
        case ast.Tuple(elts=elements):
            values = [element.value for element in elements if isinstance(element, ast.Constant)]
            return tuple(values) if values and all(isinstance(value, int) for value in values) else None
        case ast.Subscript(value=ast.Attribute(attr="version_info"), slice=ast.Constant(value=int() as index)):
            return python[index] if 0 <= index < 2 else None
        case ast.Subscript(value=ast.Attribute(attr="version_info"), slice=ast.Slice(lower=None, step=None)):
            return python
        case ast.Attribute(attr="minor" | "major" as name, value=ast.Attribute(attr="version_info")):
            return python[name == "minor"]
        case ast.Attribute(value=ast.Name(id="sys"), attr="version_info"):
            return (*python, 0)
        case ast.Name() | ast.Attribute():
            return _CONSTANTS.get(ast.unparse(node))
    return None
