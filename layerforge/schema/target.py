"""Finds the method or function that a target names, through re-exports and inheritance."""

from __future__ import annotations

import ast

import msgspec

from layerforge.errors import SchemaError
from layerforge.schema.classes import ancestry, external_bases
from layerforge.schema.conditions import decide
from layerforge.schema.constants import Evaluator
from layerforge.schema.faults import fault, nearest, shown
from layerforge.schema.modules import Assigned, Defined, External, Local, Module, Nothing, Project, Unclear
from layerforge.schema.values import Scope

METHODS = {"run": ("run", "predict"), "train": ("train",)}


class Callable(msgspec.Struct, frozen=True):
    """A function, the module or class it stands in, and whether its first parameter is the object."""

    node: ast.FunctionDef | ast.AsyncFunctionDef
    module: Module
    bound: bool


def find_callable(evaluator: Evaluator, file: str, name: str, mode: str) -> Callable:
    """The function that runs one prediction (``mode`` "run") or training ("train").

    ``evaluator`` decides conditions in class bodies.

    Raises:
        SchemaError: the file, the name or the method does not exist, or cannot be followed.
    """
    project = evaluator.project
    module = _stub(project, file, name) or project.open(file)
    if module is None:
        hint = f"name an existing file in cog.yaml's `{mode}:`"
        raise SchemaError(f"{file} does not exist in the project", where=file, hint=hint)
    expression = ast.Name(name, ast.Load(), lineno=0)
    meaning = project.resolve(module, expression)
    match meaning:
        case Local(module=owner, binding=Defined(node=ast.ClassDef())):
            return _find_method(evaluator, meaning, name, mode)
        case Local(module=owner, binding=Defined(node=(ast.FunctionDef() | ast.AsyncFunctionDef()) as node)):
            arguments = [*node.args.posonlyargs, *node.args.args]
            return Callable(node, owner, bool(arguments) and arguments[0].arg == "self")
        case Local(module=owner, binding=Assigned(value=value)):
            # `Runner = decorate(Original)`, `runner = Runner()`: whatever is called may change the signature.
            hint = f"define the class {name} with a `class` statement, and name that in cog.yaml"
            raise fault(owner, value, f"{name} is made by `{shown(value)}`, which is not run here", hint)
        case Local(module=owner, binding=Unclear(reason=reason, line=line)):
            hint = f"define {name} once, and decide inside of it"
            place = f"{owner.path}:{line}" if line else owner.path
            raise SchemaError(f"what {name} is {reason}", where=place, hint=hint)
        case Nothing():
            known = [key for key, bound in module.bindings.items() if isinstance(bound, Defined)]
            hint = nearest(name, known, f"define it, or name in cog.yaml one of: {', '.join(sorted(known)) or 'none'}")
            raise SchemaError(f"{file} defines no class or function {name}", where=file, hint=hint)
        case External(name=source):
            hint = f"define a class in {file} that inherits from it, with its run() method written out"
            raise SchemaError(f"{name} comes from {source}, outside the project", where=file, hint=hint)
    raise SchemaError(f"{name} in {file} is not a class or function", where=file, hint="name a class in cog.yaml")


def _stub(project: Project, file: str, name: str) -> Module | None:
    """The stub beside ``file`` if it tells of ``name``: what its author wrote for readers counts more than the code."""
    module = project.open(f"{file}i") if file.endswith(".py") else None
    return module if module is not None and name in module.bindings else None


def _find_method(evaluator: Evaluator, owner: Local, name: str, mode: str) -> Callable:
    assert isinstance(owner.binding, Defined)
    project = evaluator.project
    classes = ancestry(project, owner)
    for wanted in METHODS[mode]:
        for module, node in classes:
            method = _method(evaluator, module, node, wanted)
            if method is not None:
                return method
    known = [inner.name for _, node in classes for inner in node.body if isinstance(inner, ast.FunctionDef)]
    outside = sorted(
        base for base in external_bases(project, owner)
        if base.partition(".")[0] not in ("cog", "builtins", "abc", "typing")
    )  # fmt: skip
    message = f"the class {name} has no {METHODS[mode][0]}() method"
    if outside:
        message += f"; its base {outside[0]} lies outside the project"
    hint = nearest(METHODS[mode][0], known, f"add `def {METHODS[mode][0]}(self, ...)` to the class")
    raise fault(owner.module, owner.binding.node, message, hint)


def _method(evaluator: Evaluator, module: Module, owner: ast.ClassDef, wanted: str) -> Callable | None:
    project = evaluator.project
    found: Callable | None = None
    for statement in _class_statements(evaluator, project.inside(module, owner), owner.body):
        match statement:
            case ast.If() if _binds(statement, wanted):
                message = f"what {wanted} is depends on the condition on line {statement.lineno}"
                raise fault(module, statement, message, "write one `def`, and decide inside of it")
            case ast.FunctionDef() | ast.AsyncFunctionDef() if statement.name == wanted:
                static = any(shown(decorator) == "staticmethod" for decorator in statement.decorator_list)
                found = Callable(statement, project.inside(module, owner), not static)
            case ast.Assign(targets=[ast.Name(id=target)], value=value) if target == wanted:
                found = _rebound(evaluator, module, owner, value)
            case ast.Assign(targets=[ast.Attribute(value=ast.Name(id=target), attr=attribute)]):
                if target == wanted and attribute in ("__signature__", "__annotations__"):
                    raise _rewritten(module, statement, wanted)
            case ast.Assign(targets=[ast.Subscript(value=ast.Attribute(value=ast.Name(id=target)))]):
                if target == wanted:
                    raise _rewritten(module, statement, wanted)
    return found


def _class_statements(evaluator: Evaluator, inside: Module, body: list[ast.stmt]) -> list[ast.stmt]:
    """The statements that take effect. A condition that cannot be decided stays, with all that depends on it."""
    found: list[ast.stmt] = []
    for statement in body:
        if isinstance(statement, ast.If):
            holds = _decide(evaluator, inside, statement.test)
            if holds is None:
                found.append(statement)
            else:
                found += _class_statements(evaluator, inside, statement.body if holds else statement.orelse)
        elif isinstance(statement, (ast.With, ast.Try)):
            found += _class_statements(evaluator, inside, statement.body)
        else:
            found.append(statement)
    return found


def _decide(evaluator: Evaluator, inside: Module, test: ast.expr) -> bool | None:
    decided = decide(test, inside.python)
    if decided is None:
        try:
            return bool(evaluator.evaluate(test, Scope(inside)))
        except SchemaError:
            return None
    return decided


def _binds(statement: ast.stmt, name: str) -> bool:
    for node in ast.walk(statement):
        match node:
            case ast.FunctionDef(name=bound) | ast.AsyncFunctionDef(name=bound) | ast.Name(id=bound, ctx=ast.Store()):
                if bound == name:
                    return True
            case ast.Attribute(value=ast.Name(id=owner), attr="__signature__" | "__annotations__", ctx=ast.Store()):
                if owner == name:
                    return True
    return False


def _rebound(evaluator: Evaluator, module: Module, owner: ast.ClassDef, value: ast.expr) -> Callable:
    """``run = predict`` in the class body, or ``run = other_function``."""
    project = evaluator.project
    if isinstance(value, ast.Name):
        method = _method(evaluator, module, owner, value.id)
        if method is not None:
            return method
        meaning = project.resolve(module, value)
        if isinstance(meaning, Local) and isinstance(meaning.binding, Defined):
            node = meaning.binding.node
            if not isinstance(node, ast.ClassDef):
                return Callable(node, meaning.module, True)
    raise _rewritten(module, value, "method")


def _rewritten(module: Module, node: ast.AST, name: str) -> SchemaError:
    message = f"the signature of {name} is changed by `{shown(node)}`, so what stands in `def` is not what is called"
    return fault(module, node, message, "write the parameters into the `def` line")
