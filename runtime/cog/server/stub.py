"""``python -m cog.server.stub FILE:NAME MODE``: imports a model and writes its signature as source with literals only.

``layerforge schema --execute`` runs it in the model's image, and derives the OpenAPI document from what it writes: so
there is one place that knows what the document looks like. Standard library only; runs with the model's packages.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import importlib.util
import inspect
import os
import sys
import types
import typing
from typing import Any

from .. import AsyncConcatenateIterator, ConcatenateIterator, File, Opaque, Secret
from .. import input as inputs
from ..input import FieldInfo
from ..predictor import overrides

BEGIN, END = "=== layerforge stub begins ===", "=== layerforge stub ends ==="

_PLAIN = (str, int, float, bool, dict, list)
_COG = (File, Secret, ConcatenateIterator, AsyncConcatenateIterator)
_ITERATORS = {
    collections.abc.Iterator, collections.abc.AsyncIterator, collections.abc.Iterable, collections.abc.AsyncIterable,
    collections.abc.Generator, collections.abc.AsyncGenerator,
}  # fmt: skip
_UNIONS = (typing.Union, getattr(types, "UnionType", typing.Union))
_HEAD = "import typing\nfrom typing import *\nimport cog\nfrom cog import *\n"
_QUALIFIERS = ("Required", "NotRequired", "ReadOnly", "Final")
_DEPTH = 30


_without_default: list[FieldInfo] = []
"""``Input()`` that were given no default: afterwards they look like those with ``default=None``."""


def _record_defaults() -> None:
    original = inputs.Input

    def record(*arguments: Any, **keywords: Any) -> Any:
        made = original(*arguments, **keywords)
        if not arguments and "default" not in keywords:
            _without_default.append(made)
        return made

    inputs.Input = sys.modules["cog"].Input = record  # type: ignore[attr-defined]


class Stub:
    """Source that grows by the classes and imports that annotations need."""

    def __init__(self) -> None:
        self._classes: dict[type, str] = {}
        self._lines: list[str] = []

    def text(self, name: str, target: Any, method: str) -> str:
        """The whole source of a model whose class or function is called ``name``."""
        function = inspect.unwrap(getattr(target, method) if isinstance(target, type) else target)
        signature = inspect.signature(getattr(target, method) if isinstance(target, type) else target)
        hints = self._hints(function)
        parameters = list(signature.parameters.values())
        if isinstance(target, type) and parameters and parameters[0].name == "self":
            del parameters[0]
        shown = [self._parameter(parameter, hints) for parameter in parameters]
        output = hints.get("return", signature.return_annotation)
        returns = "" if output is inspect.Signature.empty else f" -> {self._type(output, 0)}"
        head = self._head(function)
        if isinstance(target, type):
            lines = [f"class {name}:", *(f"    {line}" for line in head[:-1])]
            lines.append(f"    {head[-1]}def {method}({', '.join(['self', *shown])}){returns}: ...")
        else:
            lines = [*head[:-1], f"{head[-1]}def {name}({', '.join(shown)}){returns}: ..."]
        return "\n".join([_HEAD, *self._lines, *lines, ""])

    def _hints(self, owner: Any) -> dict[str, Any]:
        names = getattr(owner, "__globals__", None)
        if names is not None:
            # Without its defaults: Python 3.10 makes `x: str = None` an Optional.
            owner = types.SimpleNamespace(__annotations__=owner.__annotations__)
        try:
            return typing.get_type_hints(owner, names, include_extras=True)
        except Exception:  # an annotation that cannot be evaluated is written down as it stands
            return dict(getattr(owner, "__annotations__", {}))

    def _head(self, function: Any) -> list[str]:
        head = ["@cog.streaming"] if getattr(function, "__cog_streaming__", False) else []
        if maximum := getattr(function, "__cog_concurrent_max__", 0):
            head.append(f"@cog.concurrent(max={maximum!r})")
        coroutine = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
        return [*head, "async " if coroutine else ""]

    def _parameter(self, parameter: inspect.Parameter, hints: dict[str, Any]) -> str:
        stars = {inspect.Parameter.VAR_POSITIONAL.value: "*", inspect.Parameter.VAR_KEYWORD.value: "**"}
        text = str(stars.get(parameter.kind.value, "")) + parameter.name
        if parameter.name in hints:
            text += f": {self._type(hints[parameter.name], 0)}"
        default = parameter.default
        if isinstance(default, FieldInfo):
            given = {name: getattr(default, name) for name in FieldInfo.__slots__}
            if any(default is each for each in _without_default):
                del given["default"]
            shown = [
                f"{name}={self._value(value)}"
                for name, value in given.items()
                if value is not None or name == "default"
            ]
            text += f" = cog.Input({', '.join(shown)})"
        elif default is not inspect.Parameter.empty:
            text += f" = {self._value(default)}"
        return text

    def _value(self, value: Any) -> str:
        if isinstance(value, enum.Enum):
            return self._value(value.value)
        if isinstance(value, bool) or value is None or type(value) in (str, int):
            return repr(value)
        if isinstance(value, float):
            return repr(float(value)) if value - value == 0 else f"float({str(float(value))!r})"
        if isinstance(value, (str, int)):
            return repr(str(value) if isinstance(value, str) else int(value))
        if isinstance(value, os.PathLike):
            return repr(os.fspath(value))
        if isinstance(value, dict):
            return f"{{{', '.join(f'{self._value(key)}: {self._value(item)}' for key, item in value.items())}}}"
        if isinstance(
            value, (list, tuple, set, frozenset, range, collections.abc.KeysView, collections.abc.ValuesView)
        ):
            return f"[{', '.join(map(self._value, value))}]"
        return f"{type(value).__name__}_has_no_literal"

    def _type(self, hint: Any, depth: int) -> str:
        if depth > _DEPTH:
            return "Any"
        if isinstance(hint, str):
            return repr(hint)
        if isinstance(hint, typing.ForwardRef):
            return repr(hint.__forward_arg__)
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if hint is None or hint is type(None):
            return "None"
        if origin is None:
            return self._plain(hint)
        if origin is typing.Annotated:
            inner = self._type(arguments[0], depth + 1)
            return f"Annotated[{inner}, Opaque]" if Opaque in arguments[1:] else inner
        if origin is typing.Literal:
            return f"Literal[{', '.join(map(self._value, arguments))}]"
        if origin in _UNIONS:
            return f"Union[{', '.join(self._type(argument, depth + 1) for argument in arguments)}]"
        shown = [self._type(argument, depth + 1) for argument in arguments if not isinstance(argument, list)]
        if origin in _ITERATORS:
            return f"typing.Iterator[{shown[0]}]"
        name = {collections.abc.Sequence: "list", collections.abc.Mapping: "dict"}.get(origin) or self._plain(origin)
        return f"{name}[{', '.join(shown)}]"

    def _plain(self, hint: Any) -> str:
        if hint is Any or hint is object:
            return "Any"
        if hint in _PLAIN:
            return str(hint.__name__)
        if hint in _COG:
            return f"cog.{hint.__name__}"
        if hint in _ITERATORS:
            return "typing.Iterator"
        if not isinstance(hint, type):
            supertype = getattr(hint, "__supertype__", None) or getattr(hint, "__value__", None)
            return self._type(supertype, 1) if supertype is not None else str(hint).replace("typing.", "")
        if issubclass(hint, os.PathLike) or hint is os.PathLike:
            return "cog.Path"
        if hint not in self._classes:
            self._classes[hint] = name = f"{hint.__name__}_{len(self._classes)}"
            self._define(name, hint)
        return repr(self._classes[hint])

    def _define(self, name: str, kind: type) -> None:
        if issubclass(kind, enum.Enum):
            members = [f"    {member.name} = {self._value(member.value)}" for member in kind]
            self._lines += ["import enum", f"class {name}(enum.Enum):", *(members or ["    pass"])]
            return
        total = getattr(kind, "__total__", None)
        pydantic = getattr(kind, "model_fields", None) or getattr(kind, "__fields__", None)
        if total is None and not dataclasses.is_dataclass(kind) and not isinstance(pydantic, dict):
            self._lines.append(f"from {kind.__module__} import {kind.__qualname__.partition('.')[0]} as {name}")
            return
        required = getattr(kind, "__required_keys__", None)
        fields: list[str] = []
        for field, hint in self._hints(kind).items():
            if field.startswith("_") or typing.get_origin(hint) is typing.ClassVar or hint is typing.ClassVar:
                continue
            needed = required is not None and field in required
            while (word := getattr(typing.get_origin(hint), "_name", "")) in _QUALIFIERS:
                # Where annotations are texts, Python itself does not see these words (`__required_keys__`).
                needed = word == "Required" or (word != "NotRequired" and needed)
                hint = typing.get_args(hint)[0]
            shown = self._type(hint, 1)
            if required is not None:
                fields.append(f"    {field}: {'Required' if needed else 'NotRequired'}[{shown}]")
            else:
                fields.append(f"    {field}: {shown}{self._default(kind, field, pydantic)}")
        base = "typing.TypedDict" if total is not None else "cog.BaseModel"
        self._lines += [f"class {name}({base}):", *(fields or ["    pass"])]

    def _default(self, kind: type, field: str, pydantic: Any) -> str:
        if isinstance(pydantic, dict) and field in pydantic:
            default = getattr(pydantic[field], "default", None)
        else:
            default = getattr(kind, field, dataclasses.MISSING)
        shown = self._value(default)
        unknown = default is dataclasses.MISSING or shown.endswith("_has_no_literal")
        return "" if unknown or "Undefined" in type(default).__name__ else f" = {shown}"


def load(reference: str) -> tuple[str, Any]:
    """The name and the class or function of ``FILE:NAME``, from the working directory."""
    path, _, name = reference.partition(":")
    sys.path.insert(0, os.getcwd())
    module_name = os.path.basename(path).removesuffix(".py")
    spec = importlib.util.spec_from_file_location(module_name, os.path.abspath(path))
    if spec is None or spec.loader is None:
        sys.exit(f"error: {path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    spec.loader.exec_module(module)
    return name, getattr(module, name)


def main(arguments: list[str]) -> None:
    """Write the source between two lines that tell it from what the model prints."""
    reference, mode = arguments
    _record_defaults()
    name, target = load(reference)
    method = "train"
    if mode == "run" and isinstance(target, type):
        method = "run" if overrides(target, "run") else "predict"
    text = Stub().text(name, target, method)
    sys.stdout.write(f"\n{BEGIN}\n{text}\n{END}\n")
    sys.stdout.flush()
    os._exit(0)  # what the model has started does not hold it up


if __name__ == "__main__":
    main(sys.argv[1:])
