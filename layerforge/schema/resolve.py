"""From annotations to the types that inputs and outputs can have, with the rules of each.

Rules: Cog's ``docs/python.md`` ("Input and output types"), ``pkg/schema/types.go`` and ``pkg/schema/schema_type.go``.
"""

from __future__ import annotations

import ast
from typing import Any

import msgspec

from layerforge.errors import SchemaError
from layerforge.schema.annotations import NONE, Annotation, AnnotationReader, Class, Either, Named, Values
from layerforge.schema.classes import ancestry, external_bases
from layerforge.schema.constants import Evaluator
from layerforge.schema.faults import fault, shown
from layerforge.schema.modules import Defined, External, Local, Module, Nothing, Project
from layerforge.schema.types import (
    Anything,
    Array,
    Choice,
    Dictionary,
    Field,
    Nullable,
    Record,
    Scalar,
    Stream,
    Type,
    Unchecked,
    Union,
)
from layerforge.schema.values import Scope

_SCALARS = {"str", "int", "float", "bool", "Path", "File", "Secret"}
_OPAQUE_HINT = (
    "describe it as a class with `cog.BaseModel`, or, if its values are JSON objects, "
    "write `Annotated[{name}, Opaque]` (from typing and cog)"
)
_KNOWN_PACKAGES = {"builtins", "typing", "collections", "Opaque", "Annotated", *_SCALARS}
_QUALIFIERS = {"Required", "NotRequired", "ReadOnly", "Final"}


class TypeResolver:
    """Resolves the annotations of one project."""

    def __init__(self, project: Project, evaluator: Evaluator) -> None:
        self._project = project
        self._evaluator = evaluator
        self._reader = AnnotationReader(project)

    # Inputs

    def input_type(self, node: ast.expr, module: Module) -> Type:
        """The type of a parameter annotated with ``node``.

        Raises:
            SchemaError: the type cannot be an input, or cannot be known.
        """
        return self._input(self._reader.read(node, module))

    def _input(self, annotation: Annotation) -> Type:
        match annotation:
            case Values():
                return self._choice(annotation)
            case Either(members=members, nullable=nullable):
                return self._input_union(annotation, members, nullable)
            case Class():
                return self._input_class(annotation)
            case Named(name="Opaque", arguments=(inner,)):
                return _opaque(inner)
            case Named(name=name) if name in _SCALARS:
                return Scalar(name)
            case Named(name="Any" | "dict"):
                return Anything()
            case Named(name="list", arguments=()):
                return Array(Unchecked())
            case Named(name="list" | "Iterator", arguments=(inner,)):
                items = self._input(inner)
                if isinstance(items, (Nullable, Array, Union)):
                    hint = "only lists of plain values are inputs; take a JSON text or a dict instead"
                    raise _refuse(annotation, f"`{shown(annotation.node)}` nests what an input list cannot hold", hint)
                return Array(items)
        raise self._unsupported(annotation, "an input")

    def _input_union(self, annotation: Either, members: tuple[Annotation, ...], nullable: bool) -> Type:
        variants = tuple(dict.fromkeys(self._input(member) for member in members))
        if not variants:
            raise _refuse(annotation, "None alone cannot be an input", "write the type of the value that may be given")
        if len(variants) == 1:
            return Nullable(variants[0]) if nullable else variants[0]
        for variant in variants:
            inner = variant.items if isinstance(variant, Array) else variant
            if isinstance(inner, Scalar) and inner.name in ("Path", "File", "Secret"):
                hint = "use two inputs, one of each type"
                raise _refuse(annotation, f"{inner.name} cannot be part of a union input", hint)
            if isinstance(inner, Choice):
                raise _refuse(annotation, "Literal cannot be part of a union input", "use one Literal, or choices=")
        return Nullable(Union(variants)) if nullable else Union(variants)

    def _input_class(self, annotation: Class) -> Type:
        bases = external_bases(self._project, annotation.definition)
        if any(base.endswith("TypedDict") for base in bases):
            return Anything()
        if any(base in ("pathlib.Path", "cog.Path", "pathlib.PosixPath", "os.PathLike") for base in bases):
            return Scalar("Path")
        name = shown(annotation.node)
        if any(base.startswith("enum.") for base in bases):
            hint = f"annotate the values' type, with `choices=[item.value for item in {name}]` in Input()"
            raise _refuse(annotation, f"the enumeration `{name}` cannot be an input", hint)
        hint = "take its fields as inputs, or a dict"
        raise _refuse(annotation, f"the class `{name}` cannot be an input", hint)

    # Outputs

    def output_type(self, node: ast.expr, module: Module) -> Type:
        """The type of a return annotation.

        Raises:
            SchemaError: the type cannot be an output, or cannot be known.
        """
        annotation = self._reader.read(node, module)
        if isinstance(annotation, Named) and annotation.name == "Iterator":
            items = self._output(annotation.arguments[0], ()) if annotation.arguments else Unchecked()
            return Stream(items)
        if isinstance(annotation, Named) and annotation.name == "ConcatenateIterator":
            for argument in annotation.arguments:
                if not (isinstance(argument, Named) and argument.name == "str"):
                    message = f"ConcatenateIterator yields text, not `{shown(argument.node)}`"
                    raise _refuse(annotation, message, "write ConcatenateIterator[str], or Iterator of the type")
            return Stream(Scalar("str"), concatenate=True)
        return self._output(annotation, ())

    def _output(self, annotation: Annotation, open_classes: tuple[ast.AST, ...]) -> Type:
        match annotation:
            case Values():
                return self._choice(annotation)
            case Either(nullable=True, members=(_,)):
                hint = "return a value or raise an error; or return a BaseModel with an optional field"
                raise _refuse(annotation, f"the output `{shown(annotation.node)}` is optional", hint)
            case Either():
                hint = "return one type, such as a BaseModel with optional fields"
                raise _refuse(annotation, f"the output `{shown(annotation.node)}` is a union", hint)
            case Class():
                return self._output_class(annotation, open_classes)
            case Named(name="Opaque", arguments=(inner,)):
                opaque = _opaque(inner)
                if isinstance(opaque, Nullable):
                    raise _refuse(
                        annotation, "an optional type cannot be an output", "return a value or raise an error"
                    )
                return opaque
            case Named(name=name) if name in _SCALARS:
                return Scalar(name)
            case Named(name="Any") | Named(name="dict", arguments=()):
                return Anything()
            case Named(name="dict", arguments=(_, values)):
                return Dictionary(self._output(values, open_classes))
            case Named(name="list", arguments=()):
                return Array(Anything())
            case Named(name="list", arguments=(items,)):
                return Array(self._output(items, open_classes))
            case Named(name="Iterator", arguments=(items,)):
                return Stream(self._output(items, open_classes))
            case Named(name="ConcatenateIterator"):
                return Stream(Scalar("str"), concatenate=True)
            case Named(name=name) if name == NONE:
                hint = "annotate what is returned, such as `-> str`"
                raise _refuse(annotation, "the output is None: there is nothing to return to a client", hint)
        raise self._unsupported(annotation, "an output")

    def _output_class(self, annotation: Class, open_classes: tuple[ast.AST, ...]) -> Type:
        definition = annotation.definition
        assert isinstance(definition.binding, Defined)
        if definition.binding.node in open_classes:
            return Anything()
        bases = external_bases(self._project, definition)
        if any(base.startswith("enum.") for base in bases):
            return self._enum(annotation)
        if any(base in ("pathlib.Path", "cog.Path", "pathlib.PosixPath") for base in bases):
            return Scalar("Path")
        typed_dict = any(base.endswith("TypedDict") for base in bases)
        model = any(base.rpartition(".")[2] == "BaseModel" for base in bases)
        if not (typed_dict or model or self._is_dataclass(definition)):
            name = shown(annotation.node)
            hint = "let it inherit from cog.BaseModel, or return a dict"
            raise _refuse(
                annotation, f"the class `{name}` has no known fields: no BaseModel, dataclass, TypedDict", hint
            )
        fields: dict[str, Field] = {}
        for module, node in reversed(ancestry(self._project, definition)):
            total = not any(k.arg == "total" and shown(k.value) == "False" for k in node.keywords)
            for statement in node.body:
                if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                    place = (*open_classes, definition.binding.node)
                    field = self._field(statement, statement.target.id, module, place, total if typed_dict else None)
                    if field is not None:
                        fields[field.name] = field
        return Record(tuple(fields.values()))

    def _field(
        self, statement: ast.AnnAssign, name: str, module: Module, place: tuple[ast.AST, ...], total: bool | None
    ) -> Field | None:
        annotation = self._reader.read(statement.annotation, module)
        required = total
        while isinstance(annotation, Named) and annotation.name in _QUALIFIERS and len(annotation.arguments) == 1:
            if annotation.name in ("Required", "NotRequired"):
                if total is None:
                    message = f"`{shown(annotation.node)}` has a meaning in a TypedDict only"
                    raise _refuse(annotation, message, "write Optional[...] for a field that may be left out")
                required = annotation.name == "Required"
            annotation = annotation.arguments[0]
        if isinstance(annotation, Named) and annotation.name == "ClassVar":
            return None
        resolved = self._field_type(annotation, place)
        if required is None:
            required = not isinstance(resolved, Nullable)
        if statement.value is not None and is_literal(statement.value):
            required = False
        return Field(name, resolved, required)

    def _field_type(self, annotation: Annotation, place: tuple[ast.AST, ...]) -> Type:
        if isinstance(annotation, Either) and annotation.nullable and len(annotation.members) == 1:
            return Nullable(self._output(annotation.members[0], place))
        if isinstance(annotation, Named) and annotation.name == "Opaque" and annotation.arguments:
            return _opaque(annotation.arguments[0])
        return self._output(annotation, place)

    def _is_dataclass(self, definition: Local) -> bool:
        for module, node in ancestry(self._project, definition):
            for decorator in node.decorator_list:
                plain = decorator.func if isinstance(decorator, ast.Call) else decorator
                meaning = self._project.resolve(module, plain)
                if isinstance(meaning, (External, Nothing)) and meaning.name.rpartition(".")[2] == "dataclass":
                    return True
        return False

    # Both

    def _enum(self, annotation: Class) -> Type:
        members = self._evaluator.enum_members(annotation.definition) or []
        return _choice([member.value for member in members], annotation)

    def _choice(self, annotation: Values) -> Type:
        scope = Scope(annotation.module)
        values: list[Any] = []
        for expression in annotation.expressions:
            values.append(self._evaluator.evaluate(expression, scope))
        nullable = None in values
        choice = _choice([value for value in values if value is not None], annotation)
        return Nullable(choice) if nullable else choice

    def _unsupported(self, annotation: Annotation, what: str) -> SchemaError:
        name = shown(annotation.node)
        if isinstance(annotation, Named) and annotation.name.partition(".")[0] not in _KNOWN_PACKAGES:
            module, _, last = annotation.name.rpartition(".")
            message = f"cannot resolve type '{last}' (imported from '{module}'): it lies outside the project"
            return _refuse(annotation, message, _OPAQUE_HINT.format(name=name))
        hint = "there are str, int, float, bool, Path, Secret, list, dict, Optional and Literal"
        return _refuse(annotation, f"`{name}` cannot be {what}", hint)


def is_literal(node: ast.expr) -> bool:
    """Whether Cog's generator takes ``node`` for a default of a field (``parseDefaultValue`` in ``literals.go``)."""
    match node:
        case ast.Constant():
            return node.value is None or isinstance(node.value, (str, int, float))
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=ast.Constant(value=int() | float())):
            return True
        case ast.List() | ast.Set():
            return all(map(is_literal, node.elts))
    return isinstance(node, (ast.Dict, ast.Tuple))


def _refuse(annotation: Annotation, message: str, hint: str) -> SchemaError:
    return fault(annotation.module, annotation.node, message, hint)


def _opaque(inner: Annotation) -> Type:
    if isinstance(inner, Named) and inner.name == "Opaque" and inner.arguments:
        return _opaque(inner.arguments[0])
    if isinstance(inner, Named) and inner.name == "list":
        return Array(Anything())
    if isinstance(inner, Either) and inner.nullable and len(inner.members) == 1:
        return Nullable(_opaque(inner.members[0]))
    return Anything()


def _choice(values: list[Any], annotation: Annotation) -> Choice:
    kinds = {type(value) for value in values}
    if len(kinds) != 1 or not kinds <= {str, int, float, bool}:
        hint = "use values of one type: all str, or all int"
        raise _refuse(annotation, f"the values of `{shown(annotation.node)}` are not of one plain type", hint)
    return Choice(Scalar(kinds.pop().__name__), tuple(dict.fromkeys(values)))


def unwrap(kind: Type) -> tuple[Type, bool]:
    """A type without its outermost Nullable, and whether there was one."""
    return (kind.type, True) if isinstance(kind, Nullable) else (kind, False)


class Shape(msgspec.Struct, frozen=True):
    """The flat view of an input's type that constraints apply to: the scalar in it, and how it is wrapped."""

    scalar: str
    repeated: bool
    nullable: bool
    union: bool


def shape(kind: Type) -> Shape:
    """The flat view of ``kind``; ``scalar`` is ``Any`` where there is no single one."""
    inner, nullable = unwrap(kind)
    repeated = isinstance(inner, Array)
    item = inner.items if isinstance(inner, Array) else inner
    scalar = item.scalar.name if isinstance(item, Choice) else item.name if isinstance(item, Scalar) else "Any"
    return Shape(scalar, repeated, nullable, isinstance(inner, Union))
