"""Statements that make constants: loops that fill a list, helper functions, ``with open(...)``. Nothing else is run."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from layerforge.errors import SchemaError
from layerforge.schema import operations
from layerforge.schema.conditions import decide
from layerforge.schema.modules import MUTATORS, Module, Unclear
from layerforge.schema.values import Function, Opaque, Scope

if TYPE_CHECKING:
    from layerforge.schema.constants import Evaluator

MAX_CALLS = 20
MAX_COPIED = 20_000


class _Returned(Exception):
    def __init__(self, value: Any) -> None:
        self.value = value


class _Break(Exception):
    pass


class _Continue(Exception):
    pass


class Runner:
    """Runs the few kinds of statements that constants are made with, on the evaluator's budget."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        self._calls = 0

    def value(self, module: Module, unclear: Unclear, line: int = 0) -> Any:
        """The value of a module's name after every statement that binds or changes it, or those before ``line``.

        Raises:
            SchemaError: it cannot be known.
        """
        scope = Scope(module, {})
        place = ast.Name(unclear.name, ast.Load(), lineno=unclear.line)
        try:
            for statement in module.body:
                if (not line or statement.lineno < line) and _touches(statement, unclear.name):
                    self._statement(statement, scope)
        except _Returned:
            raise self._evaluator.unknown(scope, place, f"its value {unclear.reason}") from None
        except SchemaError as error:
            if "too many steps" in error.message:
                raise
            reason = f"its value {unclear.reason}, and there {error.message}"
            raise self._evaluator.unknown(scope, place, reason) from None
        if unclear.name not in scope.names:
            raise self._evaluator.unknown(scope, place, f"its value {unclear.reason}")
        value = scope.names[unclear.name]
        if isinstance(value, Opaque):
            raise value.reason
        return value

    def returned(self, function: ast.FunctionDef | ast.AsyncFunctionDef, scope: Scope, node: ast.AST, at: Scope) -> Any:
        """What a function returns when its parameters are ``scope.names``.

        Raises:
            SchemaError: it cannot be known; ``node`` in ``at`` is the call.
        """
        if self._calls >= MAX_CALLS:
            raise self._evaluator.unknown(at, node, "functions call each other too deeply")
        generator = any(isinstance(inner, (ast.Yield, ast.YieldFrom)) for inner in _own_nodes(function.body))
        if generator or isinstance(function, ast.AsyncFunctionDef):
            raise self._evaluator.unknown(at, node, "generators and coroutines are not run here")
        self._calls += 1
        try:
            self._block(function.body, scope)
        except _Returned as done:
            return done.value
        except (_Break, _Continue):
            raise self._evaluator.unknown(at, node, "a loop ends outside of it") from None
        finally:
            self._calls -= 1
        return None

    def _block(self, body: list[ast.stmt], scope: Scope) -> None:
        for statement in body:
            self._statement(statement, scope)

    def _statement(self, statement: ast.stmt, scope: Scope) -> None:
        self._evaluator.count_step(scope, statement)
        try:
            self._run(statement, scope)
        except (SchemaError, RecursionError, _Returned, _Break, _Continue):
            raise
        except Exception as error:
            # As in the evaluator: the model's code would fail alike.
            why = f"{type(error).__name__}: {str(error)[:100]}"
            raise self._unknown(scope, statement, why) from None

    def _run(self, statement: ast.stmt, scope: Scope) -> None:
        evaluator = self._evaluator
        names: Any = scope.names
        match statement:
            case ast.Return(value=value):
                raise _Returned(None if value is None else evaluator.read(value, scope))
            case ast.Assign(targets=targets, value=value):
                result = _copied(evaluator.lenient(value, scope))
                for target in targets:
                    self._assign(target, result, scope)
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                self._assign(target, _copied(evaluator.lenient(value, scope)), scope)
            case ast.AugAssign(target=target, op=operation, value=value):
                read = ast.copy_location(ast.BinOp(_loaded(target), operation, value), statement)
                self._assign(target, evaluator.read(read, scope), scope)
            case ast.Delete(targets=targets):
                for target in targets:
                    self._delete(target, scope)
            case ast.Expr(value=ast.Call(func=ast.Attribute(value=owner, attr=method)) as call) if method in MUTATORS:
                changed = evaluator.read(owner, scope)
                operations.change(changed, method, evaluator.elements(call.args, scope), self._keywords(call, scope))
            case ast.If(test=test, body=body, orelse=orelse):
                decided = decide(test, scope.module.python)
                holds = bool(evaluator.read(test, scope)) if decided is None else decided
                self._block(body if holds else orelse, scope)
            case ast.For(target=target, iter=iterator, body=body, orelse=orelse):
                self._for(target, iterator, body, orelse, scope)
            case ast.With(items=items, body=body):
                for item in items:
                    opened = evaluator.read(item.context_expr, scope)
                    if item.optional_vars is not None:
                        self._assign(item.optional_vars, opened, scope)
                self._block(body, scope)
            case ast.Try(body=body, orelse=orelse, finalbody=final):
                if any(isinstance(inner, (ast.Import, ast.ImportFrom)) for inner in body):
                    raise self._unknown(scope, statement, "it depends on whether an import succeeds")
                self._block([*body, *orelse, *final], scope)
            case ast.FunctionDef(name=name):
                names[name] = Function(statement, scope.module, names)
            case ast.Break():
                raise _Break
            case ast.Continue():
                raise _Continue
            case ast.Expr() | ast.Pass() | ast.AnnAssign() | ast.Assert() | ast.Global() | ast.Nonlocal():
                pass
            case ast.Import() | ast.ImportFrom() | ast.ClassDef():
                pass  # a name that it binds cannot be known, unless the module knows it
            case _:
                raise self._unknown(scope, statement, "such a statement is not run here")

    def _for(
        self, target: ast.expr, iterator: ast.expr, body: list[ast.stmt], orelse: list[ast.stmt], scope: Scope
    ) -> None:
        for item in list(self._evaluator.iterable(iterator, scope)):
            self._assign(target, item, scope)
            try:
                self._block(body, scope)
            except _Break:
                return
            except _Continue:
                continue
        self._block(orelse, scope)

    def _assign(self, target: ast.expr, value: Any, scope: Scope) -> None:
        names: Any = scope.names
        match target:
            case ast.Name(id=name):
                names[name] = value
            case ast.Tuple() | ast.List():
                if isinstance(value, Opaque):
                    raise value.reason
                names.update(self._evaluator.unpack(target, value, scope))
            case ast.Subscript(value=owner, slice=key):
                operations.change(
                    self._evaluator.read(owner, scope), "__setitem__", [self._evaluator.read(key, scope), value], {}
                )
            case _:
                raise self._unknown(scope, target, "only names and items are assigned here")

    def _delete(self, target: ast.expr, scope: Scope) -> None:
        names: Any = scope.names
        match target:
            case ast.Name(id=name):
                names.pop(name, None)
            case ast.Subscript(value=owner, slice=key):
                operations.change(
                    self._evaluator.read(owner, scope), "__delitem__", [self._evaluator.read(key, scope)], {}
                )

    def _keywords(self, call: ast.Call, scope: Scope) -> dict[str, Any]:
        return {str(keyword.arg): self._evaluator.read(keyword.value, scope) for keyword in call.keywords}

    def _unknown(self, scope: Scope, node: ast.stmt | ast.expr, why: str) -> SchemaError:
        return self._evaluator.unknown(scope, node, why)


def _copied(value: Any) -> Any:
    """A value that may be changed without changing the one it was read from."""
    left = MAX_COPIED

    def copy(value: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise OverflowError("there are too many items")
        if isinstance(value, list):
            return [copy(item) for item in value]
        if isinstance(value, dict):
            return {key: copy(item) for key, item in value.items()}
        return value

    return copy(value)


def _loaded(target: ast.expr) -> ast.expr:
    match target:
        case ast.Name(id=name):
            return ast.copy_location(ast.Name(name, ast.Load()), target)
        case ast.Subscript(value=owner, slice=key):
            return ast.copy_location(ast.Subscript(owner, key, ast.Load()), target)
        case ast.Attribute(value=owner, attr=name):
            return ast.copy_location(ast.Attribute(owner, name, ast.Load()), target)
    return target


def _own_nodes(body: list[ast.stmt]) -> list[ast.AST]:
    """Every node of a function's body that is not inside another function."""
    found: list[ast.AST] = []
    queue: list[ast.AST] = list(body)
    while queue:
        node = queue.pop()
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            found.append(node)
            queue += ast.iter_child_nodes(node)
    return found


def _touches(statement: ast.stmt, name: str) -> bool:
    """Whether a statement binds ``name`` or changes what it is bound to."""
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return False
    for node in ast.walk(statement):
        match node:
            case ast.Name(id=bound, ctx=ast.Store() | ast.Del()) if bound == name:
                return True
            case ast.Subscript(value=ast.Name(id=owner), ctx=ast.Store() | ast.Del()) if owner == name:
                return True
            case ast.Subscript(value=ast.Subscript(value=ast.Name(id=owner)), ctx=ast.Store()) if owner == name:
                return True
            case ast.Call(func=ast.Attribute(value=ast.Name(id=owner), attr=method)):
                if owner == name and method in MUTATORS:
                    return True
    return False
