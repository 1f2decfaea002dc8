"""The inputs and the output of a model: its function's parameters, defaults and ``Input(...)`` calls.

Meaning of the arguments of ``Input``: Cog's ``python/cog/input.py`` and ``docs/python.md``.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from typing import Any

import msgspec

from layerforge.errors import SchemaError
from layerforge.schema.classes import ancestry, find_attribute
from layerforge.schema.constants import Evaluator, Opaque, Scope
from layerforge.schema.faults import fault, shown
from layerforge.schema.inputs import Input, check_input
from layerforge.schema.modules import Assigned, Defined, External, Local, Module, Nothing, Project
from layerforge.schema.resolve import TypeResolver, unwrap
from layerforge.schema.target import Callable
from layerforge.schema.types import Choice, Nullable, Stream, Type

_ARGUMENTS = {"default", "description", "ge", "le", "min_length", "max_length", "regex", "choices", "deprecated",
              "accept"}  # fmt: skip
_TEXTS = {"description", "regex", "accept"}


class Signature(msgspec.Struct, frozen=True):
    """What a model takes and gives. ``streaming`` tells that clients may ask for server-sent events."""

    inputs: tuple[Input, ...]
    output: Type
    streaming: bool


class SignatureReader:
    """Reads signatures of one project."""

    def __init__(self, project: Project, evaluator: Evaluator) -> None:
        self._project = project
        self._evaluator = evaluator
        self._types = TypeResolver(project, evaluator)

    def read(self, target: Callable) -> Signature:
        """The signature of ``target``.

        Raises:
            SchemaError: some part of it cannot be known, or is not allowed.
        """
        node, module = target.node, target.module
        for decorator in node.decorator_list:
            self._check_decorator(decorator, target)
        inputs = self._inputs(target)
        if node.returns is None:
            hint = "annotate what is returned, such as `-> str` or `-> Path`"
            raise fault(module, node, f"{node.name}() has no return annotation", hint)
        output = self._types.output_type(node.returns, module)
        streaming = any(self._is_cog(decorator, module, "streaming") for decorator in node.decorator_list)
        if streaming and not isinstance(output, Stream):
            hint = "return Iterator[...] or ConcatenateIterator[str], or remove the decorator"
            raise fault(module, node, "@streaming is for methods that return an iterator", hint)
        return Signature(inputs, output, streaming)

    def _inputs(self, target: Callable) -> tuple[Input, ...]:
        node, module = target.node, target.module
        arguments = node.args
        positional = [*arguments.posonlyargs, *arguments.args]
        missing: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults))
        defaults: list[ast.expr | None] = [*missing, *arguments.defaults]
        pairs = list(zip(positional, defaults, strict=True))[1 if target.bound else 0 :]
        pairs += zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        for variadic in (arguments.vararg, arguments.kwarg):
            if variadic is not None and variadic.annotation is not None:
                hint = "name every input as a parameter of its own"
                raise fault(module, variadic, f"{node.name}() takes any number of arguments in {variadic.arg}", hint)
        return tuple(self._input(order, *pair, target) for order, pair in enumerate(pairs))

    def _input(self, order: int, parameter: ast.arg, default: ast.expr | None, target: Callable) -> Input:
        module = target.module
        if parameter.annotation is None:
            message = f"the input {parameter.arg} of {target.node.name}() has no type"
            raise fault(module, parameter, message, f"annotate it, such as `{parameter.arg}: str`")
        kind = self._types.input_type(parameter.annotation, module)
        described = self._described(default, Scope(module), 0) if default is not None else {}
        if default is not None and described is None:
            described = {"default": self._evaluator.evaluate(default, Scope(module))}
        kind, choices = _split_choices(kind, (described or {}).get("choices"))
        fields = {**(described or {}), "choices": choices}
        found = Input(name=parameter.arg, order=order, type=kind, **fields)
        check_input(found, module, default if default is not None else parameter)
        return found

    def _described(self, node: ast.expr, scope: Scope, depth: int) -> dict[str, Any] | None:
        """The arguments of the ``Input(...)`` that ``node`` leads to, or None when it leads to none."""
        if depth > 10:
            return None
        if isinstance(node, ast.Call):
            if self._is_input(node.func, scope.module):
                return self._input_call(node, scope)
            function = self._function(node.func, scope.module)
            if function is None:
                return None
            returned = _returned(function.node)
            if returned is None:
                return None
            return self._described(returned, self._call_scope(node, function, scope), depth + 1)
        meaning = self._project.resolve(scope.module, node)
        if isinstance(meaning, Local) and isinstance(meaning.binding, Assigned):
            return self._described(meaning.binding.value, Scope(meaning.module), depth + 1)
        if isinstance(node, ast.Attribute):
            owner = self._project.resolve(scope.module, node.value)
            if isinstance(owner, Local) and isinstance(owner.binding, Defined):
                found = find_attribute(self._project, owner, node.attr)
                if found is not None:
                    return self._described(found[1], Scope(found[0]), depth + 1)
        return None

    def _is_input(self, function: ast.expr, module: Module) -> bool:
        meaning = self._project.resolve(module, function)
        if isinstance(meaning, External):
            return meaning.name in ("cog.Input", "cog.input.Input")
        return isinstance(meaning, Nothing) and meaning.name == "Input" and meaning.maybe_star

    def _input_call(self, node: ast.Call, scope: Scope) -> dict[str, Any]:
        values: dict[str, Any] = {}
        if len(node.args) > 1:
            raise fault(scope.module, node, "Input() takes one positional argument, the default", "name the arguments")
        given: list[tuple[str | None, ast.expr]] = [("default", argument) for argument in node.args]
        given += [(keyword.arg, keyword.value) for keyword in node.keywords]
        for name, expression in given:
            if name is None:
                spread = self._evaluator.evaluate(expression, scope)
                if not isinstance(spread, dict):
                    raise fault(scope.module, expression, f"`**{shown(expression)}` is not a dict of constants")
                values.update({str(key): value for key, value in spread.items()})
            elif name == "default_factory":
                hint = "give a constant with default=, or None and make the value in the method"
                raise fault(scope.module, expression, "default_factory is not supported in Input()", hint)
            else:
                values[name] = self._evaluator.evaluate(expression, scope)
        for name in values:
            if name not in _ARGUMENTS:
                hint = f"there are {', '.join(sorted(_ARGUMENTS))}"
                raise fault(scope.module, node, f"Input() has no argument {name}", hint)
        return _checked_arguments(values, node, scope.module)

    def _function(self, expression: ast.expr, module: Module) -> Callable | None:
        """The project's function or static method that ``expression`` names."""
        meaning = self._project.resolve(module, expression)
        if isinstance(meaning, Local) and isinstance(meaning.binding, Defined):
            node = meaning.binding.node
            return None if isinstance(node, ast.ClassDef) else Callable(node, meaning.module, False)
        if not isinstance(expression, ast.Attribute):
            return None
        owner = self._project.resolve(module, expression.value)
        if not isinstance(owner, Local):
            return None
        for place, node in ancestry(self._project, owner):
            for statement in node.body:
                if isinstance(statement, ast.FunctionDef) and statement.name == expression.attr:
                    names = [shown(decorator) for decorator in statement.decorator_list]
                    return Callable(statement, place, "classmethod" in names)
        return None

    def _call_scope(self, call: ast.Call, function: Callable, scope: Scope) -> Scope:
        """The names inside ``function`` when it is called by ``call``."""
        arguments = function.node.args
        parameters = [parameter.arg for parameter in (*arguments.posonlyargs, *arguments.args)]
        names: dict[str, Any] = {}
        inside = Scope(function.module)
        for parameter, default in zip(reversed(parameters), reversed(arguments.defaults), strict=False):
            names[parameter] = self._lenient(default, inside)
        for keyword_only, keyword_default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
            if keyword_default is not None:
                names[keyword_only.arg] = self._lenient(keyword_default, inside)
        free = parameters[1:] if function.bound else parameters
        known = {*free, *(parameter.arg for parameter in arguments.kwonlyargs)}
        extra: dict[str, Any] = {}
        for parameter, argument in zip(free, call.args, strict=False):
            names[parameter] = self._lenient(argument, scope)
        for keyword in call.keywords:
            value = self._lenient(keyword.value, scope)
            if keyword.arg in known:
                names[keyword.arg] = value
            elif keyword.arg is not None:
                extra[keyword.arg] = value
        if arguments.kwarg is not None:
            names[arguments.kwarg.arg] = extra
        return Scope(function.module, names)

    def _lenient(self, node: ast.expr, scope: Scope) -> Any:
        try:
            return self._evaluator.evaluate(node, scope)
        except SchemaError as error:
            return Opaque(error)

    def _is_cog(self, decorator: ast.expr, module: Module, name: str) -> bool:
        plain = decorator.func if isinstance(decorator, ast.Call) else decorator
        meaning = self._project.resolve(module, plain)
        return isinstance(meaning, External) and meaning.name == f"cog.{name}"

    def _check_decorator(self, decorator: ast.expr, target: Callable) -> None:
        if not (isinstance(decorator, ast.Call) and self._is_cog(decorator, target.module, "concurrent")):
            return
        if decorator.args:
            raise fault(target.module, decorator, "@concurrent takes max as a keyword only", "write max=4")
        for keyword in decorator.keywords:
            maximum = self._evaluator.evaluate(keyword.value, Scope(target.module))
            if not isinstance(maximum, int) or isinstance(maximum, bool) or maximum < 1:
                raise fault(target.module, decorator, "@concurrent needs max, a whole number from 1", "write max=4")
            if maximum > 1 and not isinstance(target.node, ast.AsyncFunctionDef):
                hint = f"write `async def {target.node.name}`, or remove the decorator"
                raise fault(target.module, decorator, "@concurrent with max above 1 needs an async method", hint)


def _returned(function: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.expr | None:
    """What a function returns, when its body is one ``return`` after documentation."""
    body = [statement for statement in function.body if not isinstance(statement, ast.Expr)]
    if len(body) == 1 and isinstance(body[0], ast.Return):
        return body[0].value
    return None


def _split_choices(kind: Type, choices: Any) -> tuple[Type, tuple[Any, ...] | None]:
    """Turn a ``Literal`` into its values' type and choices."""
    inner, nullable = unwrap(kind)
    if isinstance(inner, Choice):
        plain: Type = Nullable(inner.scalar) if nullable else inner.scalar
        return plain, tuple(choices) if choices is not None else inner.values
    return kind, None if choices is None else tuple(choices)


def _checked_arguments(values: Mapping[str, Any], node: ast.Call, module: Module) -> dict[str, Any]:
    """The arguments of one ``Input()``, each of its own type; those that are None count as not given."""
    kept = {name: value for name, value in values.items() if name == "default" or value is not None}
    for name, value in kept.items():
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if name in ("ge", "le") and not (number and math.isfinite(value)):
            raise fault(module, node, f"{name}={value!r} is not a finite number", "leave the bound out")
        if name in ("min_length", "max_length") and not (number and value == int(value) and value >= 0):
            raise fault(module, node, f"{name}={value!r} is not a length", "write a whole number from 0")
        if name in _TEXTS and not isinstance(value, str):
            raise fault(module, node, f"{name}={value!r} is not a text", "write a string")
        if name == "deprecated" and not isinstance(value, bool):
            raise fault(module, node, f"deprecated={value!r} is not True or False", "write True or leave it out")
        if name == "choices" and not isinstance(value, (list, tuple)):
            raise fault(module, node, "choices is not a list", "write a list of strings or numbers")
    return kept
