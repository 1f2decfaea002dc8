"""Evaluates constant expressions without running anything: literals, names, and pure operations on both.

Every step is counted and every result measured, so that no expression can take long or grow large.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

from layerforge.errors import SchemaError
from layerforge.schema import operations
from layerforge.schema.calls import Caller
from layerforge.schema.classes import ancestry, external_bases, find_attribute
from layerforge.schema.datafiles import file_name, path_attribute, project_path, read_lines
from layerforge.schema.faults import fault, shown
from layerforge.schema.modules import Assigned, Defined, External, Local, Module, Nothing, Project, Unclear
from layerforge.schema.statements import Runner
from layerforge.schema.values import (
    Builtin,
    EnumMember,
    Function,
    InputCall,
    Instance,
    Opaque,
    OpenFile,
    PathText,
    Scope,
)

MAX_STEPS = 50_000
MAX_DEPTH = 150
MAX_SETTLED = 20_000

_NUMBERS = ("enum.IntEnum", "enum.IntFlag", "builtins.int", "builtins.float")

_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Sub: operations.subtract, ast.Div: operations.divide, ast.FloorDiv: operator.floordiv,
    ast.BitOr: operations.unite, ast.BitAnd: operations.intersect, ast.BitXor: operator.xor,
    ast.RShift: operator.rshift, ast.Add: operations.add,
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
        self.project = project
        project.evaluate_folder = self._folder
        self._caller = Caller(self)
        self._runner = Runner(self)
        self._steps = 0
        self._depth = 0
        self._open: set[tuple[int, int]] = set()
        self._known: dict[tuple[int, int], Any] = {}

    def evaluate(self, node: ast.expr, scope: Scope) -> Any:
        """The value of ``node``: None, bool, int, float, str, or a list, tuple, set or dict of such; or an InputCall.

        Raises:
            SchemaError: the value cannot be known from the source.
        """
        try:
            value = self.read(node, scope)
            return value if isinstance(value, InputCall) else self.settle(value, node, scope)
        except RecursionError:
            raise self.unknown(scope, node, "it is nested too deeply") from None
        finally:
            self._depth = 0

    def read(self, node: ast.expr, scope: Scope) -> Any:
        """Like :meth:`evaluate`, but the value may have parts that are not constant, and be any of the ``values``."""
        self._steps += 1
        self._depth += 1
        if self._steps > MAX_STEPS or self._depth > MAX_DEPTH:
            raise self.unknown(scope, node, "it takes too many steps to work out")
        method = getattr(self, f"_eval_{type(node).__name__}", None)
        if method is None:
            raise self.unknown(scope, node, f"{_kind(node)} cannot be worked out without running it")
        try:
            value = method(node, scope)
        except (SchemaError, RecursionError):
            raise
        except Exception as error:
            # Whatever Python's own operators raise for these operands: the model's code would fail alike.
            raise self.unknown(scope, node, f"{type(error).__name__}: {str(error)[:100]}") from None
        finally:
            self._depth -= 1
        if isinstance(value, (str, list, tuple, dict)):
            self._steps += len(value) >> 5
        elif isinstance(value, int):
            self._steps += value.bit_length() >> 7
        return value

    def lenient(self, node: ast.expr, scope: Scope) -> Any:
        """Like :meth:`read`, but a value that cannot be known is Opaque."""
        try:
            return self.read(node, scope)
        except SchemaError as error:
            return Opaque(error)

    def unknown(self, scope: Scope, node: ast.AST, why: str) -> SchemaError:
        """The error that the value of ``node`` cannot be known."""
        return fault(scope.module, node, f"the value of `{shown(node)}` cannot be known: {why}")

    def count_step(self, scope: Scope, node: ast.AST) -> None:
        """Charge one step to the budget.

        Raises:
            SchemaError: the budget is spent.
        """
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise self.unknown(scope, node, "it takes too many steps to work out")

    def settle(self, value: Any, node: ast.AST, scope: Scope) -> Any:
        """``value`` when every part of it is constant; members of enumerations count as their values.

        Raises:
            SchemaError: a part is not constant, or there are too many.
        """
        left = MAX_SETTLED

        def visit(value: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise self.unknown(scope, node, "it has too many parts")
            if isinstance(value, Opaque):
                raise value.reason
            if isinstance(value, EnumMember):
                if not value.plain:
                    why = f"{value.name} is a member of an enumeration that is not a str or int: write `.value`"
                    raise self.unknown(scope, node, why)
                return visit(value.value)
            if isinstance(value, PathText):
                return value.text
            if isinstance(value, dict):
                return {visit(key): visit(item) for key, item in value.items()}
            if isinstance(value, tuple):
                return tuple(visit(item) for item in value)
            if isinstance(value, (list, range, set, frozenset)) or type(value) in operations.VIEWS:
                return [visit(item) for item in value]
            if isinstance(value, str) and not value.isascii() and any("\ud800" <= each <= "\udfff" for each in value):
                raise self.unknown(scope, node, "half a character (a lone surrogate) has no JSON form")
            if value is None or isinstance(value, (str, int, float)):
                return value
            raise self.unknown(scope, node, f"{_name_of(value)} has no JSON form")

        return visit(value)

    def _folder(self, module: Module, node: ast.expr) -> str | None:
        """The folder of the project that an argument of ``sys.path.append`` names, or None."""
        try:
            return project_path(self.read(node, Scope(module)))
        except (SchemaError, RecursionError, ValueError, TypeError):
            return None

    # Displays and literals

    def _eval_Constant(self, node: ast.Constant, scope: Scope) -> Any:
        if isinstance(node.value, (str, int, float, type(None))):
            return node.value
        raise self.unknown(scope, node, f"{type(node.value).__name__} has no JSON form")

    def elements(self, nodes: list[ast.expr], scope: Scope) -> list[Any]:
        """The values of a display's elements or a call's arguments, with ``*`` unpacked."""
        elements: list[Any] = []
        for node in nodes:
            if isinstance(node, ast.Starred):
                elements.extend(self.iterable(node.value, scope))
            else:
                elements.append(self.lenient(node, scope))
        return elements

    def _eval_List(self, node: ast.List, scope: Scope) -> Any:
        return self.elements(node.elts, scope)

    def _eval_Tuple(self, node: ast.Tuple, scope: Scope) -> Any:
        return tuple(self.elements(node.elts, scope))

    def _eval_Set(self, node: ast.Set, scope: Scope) -> Any:
        # A dict keeps source order, where a set's order would change from run to run.
        return dict.fromkeys(self.settle(self.elements(node.elts, scope), node, scope)).keys()

    def _eval_Dict(self, node: ast.Dict, scope: Scope) -> Any:
        result: dict[Any, Any] = {}
        for key, value in zip(node.keys, node.values, strict=True):
            if key is None:
                result.update(self.read(value, scope))
            else:
                result[self.read(key, scope)] = self.lenient(value, scope)
        return result

    def _eval_JoinedStr(self, node: ast.JoinedStr, scope: Scope) -> Any:
        return operations.bounded("".join(str(self.read(part, scope)) for part in node.values))

    def _eval_FormattedValue(self, node: ast.FormattedValue, scope: Scope) -> Any:
        value = self.settle(self.read(node.value, scope), node.value, scope)
        spec = str(self.read(node.format_spec, scope)) if node.format_spec else ""
        return operations.format_value(value, chr(node.conversion) if node.conversion > 0 else "", spec)

    # Names

    def _eval_Name(self, node: ast.Name, scope: Scope) -> Any:
        if node.id in scope.names:
            value = scope.names[node.id]
            if isinstance(value, Opaque):
                raise value.reason
            return value
        return self._meaning(self.project.resolve(scope.module, node), node, scope)

    def _meaning(self, meaning: object, node: ast.expr, scope: Scope) -> Any:
        match meaning:
            case Local(module, Assigned(value=value)):
                return self._variable(module, value, node, scope)
            case Local(module, Unclear() as unclear):
                return self._unclear(module, unclear, node, scope)
            case Local(module, Defined(node=ast.FunctionDef() as definition)):
                return Function(definition, module)
            case Local(_, Defined()):
                raise self.unknown(scope, node, "it is a class or a function")
            case External(name=name) if name in operations.CONSTANTS:
                return operations.CONSTANTS[name]
            case External(name="sys.version_info"):
                return (*scope.module.python, 0)
            case External(name=name) if name in operations.FUNCTIONS:
                return Builtin(name)
            case External(name=name):
                raise self.unknown(scope, node, f"`{name}` is not part of the project")
            case Nothing(name="__file__"):
                return file_name(scope.module)
            case Nothing(name=name, maybe_star=maybe):
                why = "it may come from an `import *` of another package" if maybe else f"the name {name} is not bound"
                raise self.unknown(scope, node, why)
        raise self.unknown(scope, node, "it is a module")

    def _variable(self, module: Module, value: ast.expr, node: ast.expr, scope: Scope) -> Any:
        return self._remember((id(value), 0), lambda: self.read(value, Scope(module)), node, scope)

    def _unclear(self, module: Module, unclear: Unclear, node: ast.expr, scope: Scope) -> Any:
        # What stands in the same file, outside functions, sees the value as it is by then.
        beside = not scope.names and module in (scope.module, scope.module.outer)
        line = getattr(node, "lineno", 0) if beside else 0
        return self._remember((id(unclear), line), lambda: self._runner.value(module, unclear, line), node, scope)

    def _remember(self, key: tuple[int, int], work: Callable[[], Any], node: ast.expr, scope: Scope) -> Any:
        if key in self._known:
            return self._known[key]
        if key in self._open:
            raise self.unknown(scope, node, "it is defined by itself")
        self._open.add(key)
        try:
            self._known[key] = result = work()
        finally:
            self._open.discard(key)
        return result

    def _eval_NamedExpr(self, node: ast.NamedExpr, scope: Scope) -> Any:
        value = self.read(node.value, scope)
        if isinstance(scope.names, dict):
            scope.names[node.target.id] = value
        return value

    def _eval_Lambda(self, node: ast.Lambda, scope: Scope) -> Any:
        return Function(node, scope.module, scope.names)

    def is_local(self, node: ast.expr, scope: Scope) -> bool:
        """Whether the first name of a dotted expression is a local one."""
        while isinstance(node, ast.Attribute):
            node = node.value
        return isinstance(node, ast.Name) and node.id in scope.names

    def _eval_Attribute(self, node: ast.Attribute, scope: Scope) -> Any:
        if not self.is_local(node, scope):
            meaning = self.project.resolve(scope.module, node.value)
            if isinstance(meaning, Local) and isinstance(meaning.binding, Defined):
                return self.class_attribute(meaning, node.attr, node, scope)
            if isinstance(meaning, (Module, External)):
                return self._meaning(self.project.resolve(scope.module, node), node, scope)
        owner = self.read(node.value, scope)
        if isinstance(owner, EnumMember) and node.attr in ("value", "_value_", "name", "_name_"):
            return owner.value if "value" in node.attr else owner.name
        if isinstance(owner, PathText):
            return path_attribute(owner, node.attr)
        if isinstance(owner, Instance):
            if node.attr in owner.fields:
                value = owner.fields[node.attr]
                if isinstance(value, Opaque):
                    raise value.reason
                return value
            if owner.owner is not None:
                return self.class_attribute(owner.owner, node.attr, node, scope)
        raise self.unknown(scope, node, "only attributes of classes, enumerations and modules are looked up")

    def class_attribute(self, owner: Local, name: str, node: ast.expr, scope: Scope) -> Any:
        """The value of a class's attribute.

        Raises:
            SchemaError: it has none, or none that can be known.
        """
        members = self.enum_members(owner)
        if members is not None:
            if name in ("__members__", "_member_map_"):
                return {member.name: member for member in members}
            for member in members:
                if member.name == name:
                    return member
            raise self.unknown(scope, node, "the enumeration has no such member")
        found = find_attribute(self.project, owner, name)
        if found is None:
            raise self.unknown(scope, node, "the class has no such attribute with a value")
        return self._meaning(found, node, scope)

    def enum_members(self, owner: Local) -> list[EnumMember] | None:
        """The members of a class in order, or None when it is no enumeration."""
        bases = external_bases(self.project, owner)
        if not any(name.startswith("enum.") for name in bases):
            return None
        textual = any(name in ("enum.StrEnum", "builtins.str") for name in bases)
        plain = textual or any(name in _NUMBERS for name in bases)
        members: list[EnumMember] = []
        for module, node in ancestry(self.project, owner):
            inside = self.project.inside(module, node)
            for statement in node.body:
                if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                    name = statement.targets[0].id
                    if not name.startswith("_"):
                        last = members[-1].value if members else 0
                        value = self._enum_value(name, inside, statement.value, textual, last)
                        members.append(EnumMember(name, value, plain))
        return members

    def _enum_value(self, name: str, module: Module, value: ast.expr, textual: bool, last: Any) -> Any:
        if isinstance(value, ast.Call) and ast.unparse(value.func).split(".")[-1] == "auto":
            return name.lower() if textual else (last if isinstance(last, int) else 0) + 1
        return self._variable(module, value, value, Scope(module))

    # Operations

    def _eval_BinOp(self, node: ast.BinOp, scope: Scope) -> Any:
        left, right = self.read(node.left, scope), self.read(node.right, scope)
        return operations.bounded(_OPERATORS[type(node.op)](left, right))

    def _eval_UnaryOp(self, node: ast.UnaryOp, scope: Scope) -> Any:
        return _OPERATORS[type(node.op)](self.read(node.operand, scope))

    def _eval_BoolOp(self, node: ast.BoolOp, scope: Scope) -> Any:
        value = None
        for operand in node.values:
            value = self.read(operand, scope)
            if bool(value) is isinstance(node.op, ast.Or):
                break
        return value

    def _eval_Compare(self, node: ast.Compare, scope: Scope) -> Any:
        left = self.read(node.left, scope)
        for kind, operand in zip(node.ops, node.comparators, strict=True):
            right = self.read(operand, scope)
            if not _OPERATORS[type(kind)](left, right):
                return False
            left = right
        return True

    def _eval_IfExp(self, node: ast.IfExp, scope: Scope) -> Any:
        return self.read(node.body if self.read(node.test, scope) else node.orelse, scope)

    def _eval_Subscript(self, node: ast.Subscript, scope: Scope) -> Any:
        value = self._caller.environment_variable(node, scope)
        if value is not None:
            return value
        members = self._enumeration(node.value, scope)
        if members is not None:
            owner: Any = {member.name: member for member in members}
        else:
            owner = self.read(node.value, scope)
        value = owner[self.read(node.slice, scope)]
        if isinstance(value, Opaque):
            raise value.reason
        return value

    def _eval_Slice(self, node: ast.Slice, scope: Scope) -> Any:
        parts = (node.lower, node.upper, node.step)
        return slice(*(None if part is None else self.read(part, scope) for part in parts))

    # Comprehensions

    def _eval_ListComp(self, node: ast.ListComp, scope: Scope) -> Any:
        return operations.bounded([self.lenient(node.elt, inner) for inner in self._loop(node.generators, scope)])

    _eval_GeneratorExp = _eval_ListComp

    def _eval_SetComp(self, node: ast.SetComp, scope: Scope) -> Any:
        return dict.fromkeys(self.read(node.elt, inner) for inner in self._loop(node.generators, scope)).keys()

    def _eval_DictComp(self, node: ast.DictComp, scope: Scope) -> Any:
        pairs = self._loop(node.generators, scope)
        return {self.read(node.key, inner): self.lenient(node.value, inner) for inner in pairs}

    def _loop(self, generators: list[ast.comprehension], scope: Scope) -> list[Scope]:
        scopes = [scope]
        for generator in generators:
            grown = []
            for outer in scopes:
                for item in self.iterable(generator.iter, outer):
                    self.count_step(outer, generator.iter)
                    inner = Scope(outer.module, {**outer.names, **self.unpack(generator.target, item, outer)})
                    if all(self.read(test, inner) for test in generator.ifs):
                        grown.append(inner)
            scopes = grown
        return scopes

    def iterable(self, node: ast.expr, scope: Scope) -> list[Any]:
        """The items of an expression: a container's, an enumeration's members, an open file's lines."""
        members = self._enumeration(node, scope)
        return list(members) if members is not None else self.items(self.read(node, scope))

    def items(self, value: Any) -> list[Any]:
        """The items of a value."""
        return read_lines(self.project, value) if isinstance(value, OpenFile) else operations.iterate(value)

    def _enumeration(self, node: ast.expr, scope: Scope) -> list[EnumMember] | None:
        if not isinstance(node, (ast.Name, ast.Attribute)) or self.is_local(node, scope):
            return None
        meaning = self.project.resolve(scope.module, node)
        if isinstance(meaning, Local) and isinstance(meaning.binding, Defined):
            return self.enum_members(meaning)
        return None

    def unpack(self, target: ast.expr, item: Any, scope: Scope) -> dict[str, Any]:
        """The names that assigning ``item`` to ``target`` binds."""
        if isinstance(target, ast.Name):
            return {target.id: item}
        if isinstance(target, (ast.Tuple, ast.List)):
            names: dict[str, Any] = {}
            for element, value in zip(target.elts, self.items(item), strict=True):
                names.update(self.unpack(element, value, scope))
            return names
        raise self.unknown(scope, target, "only names can be loop variables here")

    def _eval_Call(self, node: ast.Call, scope: Scope) -> Any:
        return self._caller.call(node, scope)

    def run_body(self, function: Function, names: dict[str, Any], node: ast.AST, scope: Scope) -> Any:
        """What a function returns when its parameters are ``names``."""
        inner = Scope(function.module, {**function.names, **names})
        if isinstance(function.node, ast.Lambda):
            return self.read(function.node.body, inner)
        return self._runner.returned(function.node, inner, node, scope)


def _name_of(value: Any) -> str:
    kinds = {Function: "a function", Builtin: "a function", OpenFile: "an open file", Instance: "an object",
             InputCall: "Input(...)", complex: "a complex number"}  # fmt: skip
    return kinds.get(type(value), type(value).__name__)


def _kind(node: ast.AST) -> str:
    names = {"Await": "an `await`", "Yield": "a `yield`", "YieldFrom": "a `yield`"}
    return names.get(type(node).__name__, "such an expression")
