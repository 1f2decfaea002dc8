"""Evaluates constant expressions without running anything: literals, names bound once, and pure operations on both.

Every step is counted and every result measured, so that no expression can take long or grow large.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from layerforge.errors import SchemaError
from layerforge.schema import operations
from layerforge.schema.classes import ancestry, external_bases, find_attribute
from layerforge.schema.faults import fault, shown
from layerforge.schema.modules import Assigned, Defined, External, Local, Module, Nothing, Project, Unclear

MAX_STEPS = 100_000
MAX_DEPTH = 200


class Opaque(msgspec.Struct, frozen=True):
    """A value inside a container that is not constant itself: ``{"DDIM": DDIMScheduler}`` has constant keys."""

    reason: SchemaError


class EnumMember(msgspec.Struct, frozen=True):
    """A member of one of the project's enumerations."""

    name: str
    value: Any


class Scope(msgspec.Struct, frozen=True):
    """Where an expression stands: its module, and the values of names that are local to it."""

    module: Module
    names: Mapping[str, Any] = {}


_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Sub: operator.sub, ast.Div: operator.truediv, ast.FloorDiv: operator.floordiv, ast.BitOr: operator.or_,
    ast.BitAnd: operator.and_, ast.BitXor: operator.xor, ast.RShift: operator.rshift, ast.Add: operations.add,
    ast.Mult: operations.multiply, ast.Pow: operations.power, ast.LShift: operations.shift_left,
    ast.Mod: operations.modulo,
    ast.UAdd: operator.pos, ast.USub: operator.neg, ast.Not: operator.not_, ast.Invert: operator.invert,
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge, ast.In: lambda a, b: a in b, ast.NotIn: lambda a, b: a not in b,
    ast.Is: operator.is_, ast.IsNot: operator.is_not,
}  # fmt: skip


class Evaluator:
    """Evaluates expressions of one project. Values of module-level names are remembered."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._steps = 0
        self._depth = 0
        self._open: set[int] = set()
        self._known: dict[int, Any] = {}

    def evaluate(self, node: ast.expr, scope: Scope) -> Any:
        """The value of ``node``: None, bool, int, float, str, or a list, tuple, set or dict of such.

        Raises:
            SchemaError: the value cannot be known from the source.
        """
        try:
            value = self._evaluate(node, scope)
        except RecursionError:
            raise self._unknown(scope, node, "it is nested too deeply") from None
        finally:
            self._depth = 0
        return _settled(value)

    def _evaluate(self, node: ast.expr, scope: Scope) -> Any:
        self._steps += 1
        self._depth += 1
        if self._steps > MAX_STEPS or self._depth > MAX_DEPTH:
            raise self._unknown(scope, node, "it takes too many steps to work out")
        method = getattr(self, f"_eval_{type(node).__name__}", None)
        if method is None:
            raise self._unknown(scope, node, f"{_kind(node)} cannot be worked out without running it")
        try:
            value = method(node, scope)
        except (SchemaError, RecursionError):
            raise
        except Exception as error:
            # Whatever Python's own operators raise for these operands: the model's code would fail alike.
            raise self._unknown(scope, node, f"{type(error).__name__}: {str(error)[:100]}") from None
        self._depth -= 1
        return value

    def _unknown(self, scope: Scope, node: ast.AST, why: str) -> SchemaError:
        return fault(scope.module, node, f"the value of `{shown(node)}` cannot be known: {why}")

    def _lenient(self, node: ast.expr, scope: Scope) -> Any:
        depth = self._depth
        try:
            return self._evaluate(node, scope)
        except SchemaError as error:
            self._depth = depth
            return Opaque(error)

    # Displays and literals

    def _eval_Constant(self, node: ast.Constant, scope: Scope) -> Any:
        if isinstance(node.value, (str, int, float, type(None))):
            return node.value
        raise self._unknown(scope, node, f"{type(node.value).__name__} has no JSON form")

    def _elements(self, nodes: list[ast.expr], scope: Scope) -> list[Any]:
        elements: list[Any] = []
        for node in nodes:
            if isinstance(node, ast.Starred):
                elements.extend(operations.iterate(self._evaluate(node.value, scope)))
            else:
                elements.append(self._lenient(node, scope))
        return elements

    def _eval_List(self, node: ast.List, scope: Scope) -> Any:
        return self._elements(node.elts, scope)

    def _eval_Tuple(self, node: ast.Tuple, scope: Scope) -> Any:
        return tuple(self._elements(node.elts, scope))

    def _eval_Set(self, node: ast.Set, scope: Scope) -> Any:
        # A dict keeps source order, where a set's order would change from run to run.
        return dict.fromkeys(_settled(self._elements(node.elts, scope))).keys()

    def _eval_Dict(self, node: ast.Dict, scope: Scope) -> Any:
        result: dict[Any, Any] = {}
        for key, value in zip(node.keys, node.values, strict=True):
            if key is None:
                result.update(self._evaluate(value, scope))
            else:
                result[self._evaluate(key, scope)] = self._lenient(value, scope)
        return result

    def _eval_JoinedStr(self, node: ast.JoinedStr, scope: Scope) -> Any:
        return operations.bounded("".join(str(self._evaluate(part, scope)) for part in node.values))

    def _eval_FormattedValue(self, node: ast.FormattedValue, scope: Scope) -> Any:
        value = _settled(self._evaluate(node.value, scope))
        spec = str(self._evaluate(node.format_spec, scope)) if node.format_spec else ""
        return operations.format_value(value, chr(node.conversion) if node.conversion > 0 else "", spec)

    # Names

    def _eval_Name(self, node: ast.Name, scope: Scope) -> Any:
        if node.id in scope.names:
            value = scope.names[node.id]
            if isinstance(value, Opaque):
                raise value.reason
            return value
        return self._meaning(self._project.resolve(scope.module, node), node, scope)

    def _meaning(self, meaning: object, node: ast.expr, scope: Scope) -> Any:
        match meaning:
            case Local(module, Assigned(value=value)):
                return self._variable(module, value, node, scope)
            case Local(_, Unclear(reason=reason)):
                raise self._unknown(scope, node, f"its value {reason}")
            case Local(_, Defined()):
                raise self._unknown(scope, node, "it is a class or a function")
            case External("math.pi" | "math.e" | "math.tau" as name):
                return operations.CONSTANTS[name]
            case External(name=name):
                raise self._unknown(scope, node, f"`{name}` is not part of the project")
            case Nothing(name=name, maybe_star=maybe):
                why = "it may come from an `import *` of another package" if maybe else f"the name {name} is not bound"
                raise self._unknown(scope, node, why)
        raise self._unknown(scope, node, "it is a module")

    def _variable(self, module: Module, value: ast.expr, node: ast.expr, scope: Scope) -> Any:
        if id(value) in self._known:
            return self._known[id(value)]
        if id(value) in self._open:
            raise self._unknown(scope, node, "it is defined by itself")
        self._open.add(id(value))
        try:
            self._known[id(value)] = result = self._evaluate(value, Scope(module))
        finally:
            self._open.discard(id(value))
        return result

    def _eval_Attribute(self, node: ast.Attribute, scope: Scope) -> Any:
        meaning = self._project.resolve(scope.module, node.value)
        local = isinstance(node.value, ast.Name) and node.value.id in scope.names
        if not local and isinstance(meaning, Local) and isinstance(meaning.binding, Defined):
            return self._class_attribute(meaning, node, scope)
        if not local and isinstance(meaning, (Module, External)):
            return self._meaning(self._project.resolve(scope.module, node), node, scope)
        owner = self._evaluate(node.value, scope)
        if isinstance(owner, EnumMember) and node.attr in ("value", "_value_", "name", "_name_"):
            return owner.value if "value" in node.attr else owner.name
        raise self._unknown(scope, node, "only attributes of classes, enumerations and modules are looked up")

    def _class_attribute(self, owner: Local, node: ast.Attribute, scope: Scope) -> Any:
        members = self.enum_members(owner)
        if members is not None:
            for member in members:
                if member.name == node.attr:
                    return member
            raise self._unknown(scope, node, "the enumeration has no such member")
        found = find_attribute(self._project, owner, node.attr)
        if found is None:
            raise self._unknown(scope, node, "the class has no such attribute with a value")
        module, value = found
        return self._variable(module, value, node, scope)

    def enum_members(self, owner: Local) -> list[EnumMember] | None:
        """The members of a class in order, or None when it is no enumeration."""
        if not any(name.startswith("enum.") for name in external_bases(self._project, owner)):
            return None
        members = []
        for module, node in ancestry(self._project, owner):
            for statement in node.body:
                if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                    name = statement.targets[0].id
                    if not name.startswith("_"):
                        members.append(EnumMember(name, self._enum_value(name, module, statement.value)))
        return members

    def _enum_value(self, name: str, module: Module, value: ast.expr) -> Any:
        if isinstance(value, ast.Call) and ast.unparse(value.func).split(".")[-1] == "auto":
            return name.lower()
        return self._variable(module, value, value, Scope(module))

    # Operations

    def _eval_BinOp(self, node: ast.BinOp, scope: Scope) -> Any:
        left, right = self._evaluate(node.left, scope), self._evaluate(node.right, scope)
        return operations.bounded(_OPERATORS[type(node.op)](left, right))

    def _eval_UnaryOp(self, node: ast.UnaryOp, scope: Scope) -> Any:
        return _OPERATORS[type(node.op)](self._evaluate(node.operand, scope))

    def _eval_BoolOp(self, node: ast.BoolOp, scope: Scope) -> Any:
        value = None
        for operand in node.values:
            value = self._evaluate(operand, scope)
            if bool(value) is isinstance(node.op, ast.Or):
                break
        return value

    def _eval_Compare(self, node: ast.Compare, scope: Scope) -> Any:
        left = self._evaluate(node.left, scope)
        for kind, operand in zip(node.ops, node.comparators, strict=True):
            right = self._evaluate(operand, scope)
            if not _OPERATORS[type(kind)](left, right):
                return False
            left = right
        return True

    def _eval_IfExp(self, node: ast.IfExp, scope: Scope) -> Any:
        return self._evaluate(node.body if self._evaluate(node.test, scope) else node.orelse, scope)

    def _eval_Subscript(self, node: ast.Subscript, scope: Scope) -> Any:
        owner = self._evaluate(node.value, scope)
        value = owner[self._evaluate(node.slice, scope)]
        if isinstance(value, Opaque):
            raise value.reason
        return value

    def _eval_Slice(self, node: ast.Slice, scope: Scope) -> Any:
        parts = (node.lower, node.upper, node.step)
        return slice(*(None if part is None else self._evaluate(part, scope) for part in parts))

    # Comprehensions

    def _eval_ListComp(self, node: ast.ListComp, scope: Scope) -> Any:
        return [self._lenient(node.elt, inner) for inner in self._loop(node.generators, scope)]

    _eval_GeneratorExp = _eval_ListComp

    def _eval_SetComp(self, node: ast.SetComp, scope: Scope) -> Any:
        return dict.fromkeys(self._evaluate(node.elt, inner) for inner in self._loop(node.generators, scope)).keys()

    def _eval_DictComp(self, node: ast.DictComp, scope: Scope) -> Any:
        pairs = self._loop(node.generators, scope)
        return {self._evaluate(node.key, inner): self._lenient(node.value, inner) for inner in pairs}

    def _loop(self, generators: list[ast.comprehension], scope: Scope) -> list[Scope]:
        scopes = [scope]
        for generator in generators:
            grown = []
            for outer in scopes:
                for item in self._iterable(generator.iter, outer):
                    inner = Scope(outer.module, {**outer.names, **self._unpack(generator.target, item, outer)})
                    if all(self._evaluate(test, inner) for test in generator.ifs):
                        grown.append(inner)
            scopes = grown
        return scopes

    def _iterable(self, node: ast.expr, scope: Scope) -> list[Any]:
        meaning = self._project.resolve(scope.module, node)
        if isinstance(meaning, Local) and isinstance(meaning.binding, Defined):
            members = self.enum_members(meaning)
            if members is not None:
                return list(members)
        return operations.iterate(self._evaluate(node, scope))

    def _unpack(self, target: ast.expr, item: Any, scope: Scope) -> dict[str, Any]:
        if isinstance(target, ast.Name):
            return {target.id: item}
        if isinstance(target, (ast.Tuple, ast.List)):
            names: dict[str, Any] = {}
            for element, value in zip(target.elts, operations.iterate(item), strict=True):
                names.update(self._unpack(element, value, scope))
            return names
        raise self._unknown(scope, target, "only names can be loop variables here")

    # Calls

    def _eval_Call(self, node: ast.Call, scope: Scope) -> Any:
        if any(keyword.arg is None for keyword in node.keywords):
            raise self._unknown(scope, node, "`**` arguments are not followed")
        meaning = self._project.resolve(scope.module, node.func)
        if isinstance(meaning, External):
            name = meaning.name
            if name in ("os.environ.get", "os.getenv"):
                return self._evaluate(node.args[1], scope) if len(node.args) > 1 else None
            function = operations.FUNCTIONS.get(name)
            if function is None:
                raise self._unknown(scope, node, f"`{name.removeprefix('builtins.')}` is not run here")
            arguments = [self._iterable(node.args[0], scope)] if name in operations.OVER_ITERABLES and node.args else []
            arguments += [self._evaluate(argument, scope) for argument in node.args[len(arguments) :]]
            keywords = {str(keyword.arg): self._evaluate(keyword.value, scope) for keyword in node.keywords}
            return operations.bounded(function(*arguments, **keywords))
        if isinstance(node.func, ast.Attribute) and isinstance(meaning, Nothing | Local):
            owner = self._evaluate(node.func.value, scope)
            arguments = [self._evaluate(argument, scope) for argument in node.args]
            keywords = {str(keyword.arg): self._evaluate(keyword.value, scope) for keyword in node.keywords}
            return operations.bounded(operations.call_method(owner, node.func.attr, arguments, keywords))
        raise self._unknown(scope, node, "functions are not run here")


def _settled(value: Any) -> Any:
    """``value`` when every part of it is constant; enumeration members count as their values."""
    if isinstance(value, Opaque):
        raise value.reason
    if isinstance(value, EnumMember):
        return _settled(value.value)
    if isinstance(value, dict):
        return {_settled(key): _settled(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(_settled(item) for item in value)
    if isinstance(value, (list, range, set, frozenset)) or type(value) in operations.VIEWS:
        return [_settled(item) for item in value]
    return value


def _kind(node: ast.AST) -> str:
    names = {"Lambda": "a lambda", "Await": "an `await`", "Yield": "a `yield`", "NamedExpr": "an assignment"}
    return names.get(type(node).__name__, "such an expression")
