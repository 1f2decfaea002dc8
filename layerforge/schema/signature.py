"""The inputs and the output of a model: its function's parameters, defaults and ``Input(...)`` calls.

Meaning of the arguments of ``Input``: Cog's ``python/cog/input.py`` and ``docs/python.md``.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from layerforge.schema.constants import Evaluator
from layerforge.schema.faults import brief, fault, nearest
from layerforge.schema.inputs import Input, check_input
from layerforge.schema.modules import External, Module, Project
from layerforge.schema.resolve import TypeResolver, unwrap
from layerforge.schema.target import Callable
from layerforge.schema.types import Choice, Nullable, Stream, Type
from layerforge.schema.values import InputCall, Scope

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
            hint = f"annotate it, such as `{parameter.arg}: str`"
            if any(self._is_cog(decorator, module, "input") for decorator in target.node.decorator_list):
                hint = (
                    f"`@cog.input` is of Cog before 0.1: write `{parameter.arg}: str = Input(...)` in the `def` instead"
                )
            raise fault(module, parameter, message, hint)
        kind = self._types.input_type(parameter.annotation, module)
        described: dict[str, Any] = {}
        if default is not None:
            value = self._evaluator.evaluate(default, Scope(module))
            described = self._described(value) if isinstance(value, InputCall) else {"default": value}
        kind, choices = _split_choices(kind, described.get("choices"))
        fields = {**described, "choices": choices}
        found = Input(name=parameter.arg, order=order, type=kind, **fields)
        return check_input(found, self._project, module, default if default is not None else parameter)

    def _described(self, call: InputCall) -> dict[str, Any]:
        """The arguments of an ``Input(...)``, each of its own type."""
        place = Scope(call.module)
        values: dict[str, Any] = {}
        for name, value in call.arguments.items():
            if name == "default_factory":
                hint = "give a constant with default=, or None and make the value in the method"
                raise fault(call.module, call.node, "default_factory is not supported in Input()", hint)
            if name not in _ARGUMENTS:
                hint = nearest(name, _ARGUMENTS, f"there are {', '.join(sorted(_ARGUMENTS))}")
                raise fault(call.module, call.node, f"Input() has no argument {name}", hint)
            values[name] = self._evaluator.settle(value, call.node, place)
        return _checked_arguments(values, call.node, call.module)

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


def _split_choices(kind: Type, choices: Any) -> tuple[Type, tuple[Any, ...] | None]:
    """Turn a ``Literal`` into its values' type and choices."""
    inner, nullable = unwrap(kind)
    if isinstance(inner, Choice):
        plain: Type = Nullable(inner.scalar) if nullable else inner.scalar
        return plain, _distinct(choices) if choices is not None else inner.values
    return kind, None if choices is None else _distinct(choices)


def _distinct(values: Iterable[Any]) -> tuple[Any, ...]:
    """Each value once, as JSON Schema's ``enum`` has them; True and 1 are two values."""
    return tuple({(type(value), repr(value)): value for value in values}.values())


def _checked_arguments(values: Mapping[str, Any], node: ast.Call, module: Module) -> dict[str, Any]:
    """The arguments of one ``Input()``, each of its own type; those that are None count as not given."""
    kept = {name: value for name, value in values.items() if name == "default" or value is not None}
    for name, value in kept.items():
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if name in ("ge", "le") and not (number and (abs(value) < 1 << 1000 or abs(value) == math.inf)):
            raise fault(
                module, node, f"{name}={brief(value)} is not a number", "write a number, or leave the bound out"
            )
        if (name, value) in (("ge", math.inf), ("le", -math.inf)) or value != value:
            raise fault(module, node, f"{name}={brief(value)} allows no number", "leave the bound out")
        if name in ("min_length", "max_length") and not (number and 0 <= value < 1 << 63 and value == int(value)):
            raise fault(module, node, f"{name}={brief(value)} is not a length", "write a whole number from 0")
        if name in _TEXTS and not isinstance(value, str):
            raise fault(module, node, f"{name}={brief(value)} is not a text", "write a string")
        if name == "deprecated" and not isinstance(value, bool):
            raise fault(module, node, f"deprecated={brief(value)} is not True or False", "write True or leave it out")
        if name == "choices" and not isinstance(value, (list, tuple)):
            raise fault(module, node, "choices is not a list", "write a list of strings or numbers")
    # Every number is below infinity: such a bound says nothing, and JSON cannot hold it.
    return {name: value for name, value in kept.items() if name == "default" or value not in (math.inf, -math.inf)}
