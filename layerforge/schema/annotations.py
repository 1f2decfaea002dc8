"""Annotations with every name resolved: strings parsed, aliases followed, ``Optional`` and ``|`` made one thing."""

from __future__ import annotations

import ast
import warnings

import msgspec

from layerforge.schema.faults import fault, nearest, shown
from layerforge.schema.modules import Assigned, Defined, External, Local, Module, Nothing, Project, Unclear

MAX_DEPTH = 40


class Named(msgspec.Struct, frozen=True):
    """A type by its dotted name outside the project, and its arguments (``typing.List``, ``(str,)``)."""

    name: str
    arguments: tuple[Annotation, ...]
    node: ast.expr
    module: Module


class Class(msgspec.Struct, frozen=True):
    """A class of the project. ``module`` and ``node`` are where the annotation stands."""

    definition: Local
    arguments: tuple[Annotation, ...]
    node: ast.expr
    module: Module


class Either(msgspec.Struct, frozen=True):
    """A union; ``nullable`` when ``None`` is one of its members, which then is not among ``members``."""

    members: tuple[Annotation, ...]
    nullable: bool
    node: ast.expr
    module: Module


class Values(msgspec.Struct, frozen=True):
    """``Literal[...]``, its expressions not evaluated yet."""

    expressions: tuple[ast.expr, ...]
    node: ast.expr
    module: Module


Annotation = Named | Class | Either | Values

NONE = "builtins.None"

_SAME_AS = {
    "builtins.list": "list", "typing.List": "list", "typing.Sequence": "list", "typing.MutableSequence": "list",
    "builtins.dict": "dict", "typing.Dict": "dict", "typing.Mapping": "dict", "typing.MutableMapping": "dict",
    "typing.OrderedDict": "dict", "typing.DefaultDict": "dict", "collections.OrderedDict": "dict",
    "collections.defaultdict": "dict",
    "builtins.str": "str", "typing.Text": "str", "builtins.int": "int", "builtins.float": "float",
    "builtins.bool": "bool", "typing.Any": "Any", "builtins.object": "Any",
    "cog.Path": "Path", "pathlib.Path": "Path", "pathlib.PosixPath": "Path", "pathlib.PurePath": "Path",
    "os.PathLike": "Path", "cog.URLPath": "Path", "cog.File": "File", "cog.URLFile": "File", "cog.Secret": "Secret",
    "typing.Iterator": "Iterator", "typing.AsyncIterator": "Iterator", "typing.Iterable": "Iterator",
    "typing.AsyncIterable": "Iterator", "typing.Generator": "Iterator", "typing.AsyncGenerator": "Iterator",
    "cog.Iterator": "Iterator", "cog.AsyncIterator": "Iterator",
    "cog.ConcatenateIterator": "ConcatenateIterator", "cog.AsyncConcatenateIterator": "ConcatenateIterator",
    "typing.Annotated": "Annotated", "cog.Opaque": "Opaque", "typing.ClassVar": "ClassVar",
    "typing.Required": "Required", "typing.NotRequired": "NotRequired", "typing.ReadOnly": "ReadOnly",
    "typing.Final": "Final",
}  # fmt: skip
_BY_LAST_NAME = {name.rpartition(".")[2]: same for name, same in _SAME_AS.items() if name[:3] in ("typ", "cog")}
"""For names that an external ``import *``, or another package under the same name, brings."""


def canonical(name: str) -> str:
    """One short word for each type that has several names; other names stay as they are."""
    module, _, last = name.rpartition(".")
    if module in ("typing_extensions", "collections.abc", "_collections_abc"):
        name = f"typing.{last}"
    elif module.startswith("cog."):
        name = f"cog.{last}"
    if name in _SAME_AS:
        return _SAME_AS[name]
    # Cog knows these five by their last name alone, wherever they come from (``PrimitiveFromName``).
    if module not in ("", "builtins", "typing") and last in ("Path", "File", "Secret", "Any"):
        return last
    return name


class AnnotationReader:
    """Reads annotations of one project."""

    def __init__(self, project: Project) -> None:
        self._project = project

    def read(self, node: ast.expr, module: Module, depth: int = 0) -> Annotation:
        """The annotation ``node``, which stands in ``module``.

        Raises:
            SchemaError: it is not a type, or names something that does not exist.
        """
        if depth > MAX_DEPTH:
            raise fault(module, node, f"the type `{shown(node)}` is nested too deeply or defined by itself")
        match node:
            case ast.Constant(value=None):
                return Named(NONE, (), node, module)
            case ast.Constant(value=str() as text):
                return self.read(self._parse(text, node, module), module, depth + 1)
            case ast.Constant(value=value) if value is ...:
                return Named("...", (), node, module)
            case ast.BinOp(op=ast.BitOr()):
                sides = [self.read(side, module, depth + 1) for side in (node.left, node.right)]
                return _either(sides, node, module)
            case ast.Subscript():
                return self._subscript(node, module, depth)
            case ast.Name() | ast.Attribute():
                return self._named(node, (), module, depth)
            case ast.Call(func=function) if shown(function).split(".")[-1] == "NewType" and len(node.args) == 2:
                return self.read(node.args[1], module, depth + 1)
        hint = "write a type such as str, int, float, bool, Path or list[str]"
        raise fault(module, node, f"`{shown(node)}` is not a type that can be read", hint)

    def _parse(self, text: str, node: ast.expr, module: Module) -> ast.expr:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                parsed = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise fault(module, node, f"the annotation {text[:80]!r} is not a type", "remove the quotes") from None
        for inner in ast.walk(parsed):
            if isinstance(inner, ast.expr):
                inner.lineno = node.lineno
        return parsed

    def _subscript(self, node: ast.Subscript, module: Module, depth: int) -> Annotation:
        elements = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        meaning = self._project.resolve(module, node.value)
        name = meaning.name if isinstance(meaning, (External, Nothing)) else ""
        origin, _, last = name.rpartition(".")
        if origin not in ("", "typing", "typing_extensions"):
            last = ""
        if last == "Literal":
            return Values(tuple(elements), node, module)
        if canonical(name) == "Annotated" or name == "Annotated":
            inner = self.read(elements[0], module, depth + 1)
            if any(self._is_opaque(element, module) for element in elements[1:]):
                return Named("Opaque", (inner,), node, module)
            return inner
        if canonical(name) == "Iterator" and len(elements) > 1:
            elements = elements[:1]  # Generator[yielded, sent, returned]
        arguments = [self.read(element, module, depth + 1) for element in elements]
        if last == "Optional" and len(arguments) == 1:
            return _either([*arguments, Named(NONE, (), node, module)], node, module)
        if last == "Union":
            return _either(arguments, node, module)
        return self._named(node.value, tuple(arguments), module, depth, whole=node)

    def _is_opaque(self, node: ast.expr, module: Module) -> bool:
        meaning = self._project.resolve(module, node.func if isinstance(node, ast.Call) else node)
        return isinstance(meaning, External) and canonical(meaning.name) == "Opaque"

    def _named(
        self,
        node: ast.expr,
        arguments: tuple[Annotation, ...],
        module: Module,
        depth: int,
        whole: ast.expr | None = None,
    ) -> Annotation:
        whole = whole or node
        match self._project.resolve(module, node):
            case External(name=name):
                return Named(canonical(name), arguments, whole, module)
            case Local(binding=Defined(node=ast.ClassDef())) as definition:
                return Class(definition, arguments, whole, module)
            case Local(module=owner, binding=Assigned(value=value)) if not arguments:
                return self.read(value, owner, depth + 1)
            case Local(binding=Unclear(reason=reason)):
                hint = "write the type itself"
                raise fault(module, whole, f"the type `{shown(node)}` cannot be known: it {reason}", hint)
            case Nothing(name=name, maybe_star=maybe):
                if maybe and name in _BY_LAST_NAME:
                    return Named(_BY_LAST_NAME[name], arguments, whole, module)
                known = [*_names(module), "str", "int", "float", "bool", "list", "dict"]
                hint = nearest(name, known, f"import {name}, or define it")
                if name in _BY_LAST_NAME:
                    source = "cog" if f"cog.{name}" in _SAME_AS else "typing"
                    hint = f"add `from {source} import {name}`"
                raise fault(module, whole, f"the type `{shown(node)}` is not defined", hint)
        raise fault(module, whole, f"`{shown(whole)}` is not a type", "write a type such as str or Path")


def _names(module: Module) -> list[str]:
    return [*module.bindings, *(_names(module.outer) if module.outer is not None else ())]


def _either(members: list[Annotation], node: ast.expr, module: Module) -> Annotation:
    flat: list[Annotation] = []
    nullable = False
    for member in members:
        if isinstance(member, Either):
            flat.extend(member.members)
            nullable = nullable or member.nullable
        elif isinstance(member, Named) and member.name == NONE:
            nullable = True
        else:
            flat.append(member)
    if len(flat) == 1 and not nullable:
        return flat[0]
    return Either(tuple(flat), nullable, node, module)
