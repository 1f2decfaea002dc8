"""What expressions can be worth besides numbers, texts and containers of them."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

import msgspec

from layerforge.errors import SchemaError
from layerforge.schema.modules import Local, Module


class Opaque(msgspec.Struct, frozen=True):
    """A value inside a container that is not constant itself: ``{"DDIM": DDIMScheduler}`` has constant keys."""

    reason: SchemaError


class EnumMember(msgspec.Struct, frozen=True):
    """A member of one of the project's enumerations. ``plain``: it is a ``str`` or a number itself."""

    name: str
    value: Any
    plain: bool = False


class InputCall(msgspec.Struct, frozen=True):
    """What ``Input(...)`` gives: its arguments by name, and where it stands."""

    arguments: Mapping[str, Any]
    node: ast.Call
    module: Module


class PathText(msgspec.Struct, frozen=True):
    """A ``pathlib.Path``."""

    text: str


class OpenFile(msgspec.Struct, frozen=True):
    """What ``open(path)`` gives: a file of the project, by its path from the root."""

    path: str


class Instance(msgspec.Struct, frozen=True):
    """An object with attributes: of one of the project's classes (``owner``), or a namespace of values."""

    owner: Local | None
    fields: Mapping[str, Any]


class Function(msgspec.Struct, frozen=True):
    """A function or lambda of the project. ``names`` are those of its surroundings; ``given`` come first in a call."""

    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    module: Module
    names: Mapping[str, Any] = {}
    given: tuple[Any, ...] = ()
    named: Mapping[str, Any] = {}


class Builtin(msgspec.Struct, frozen=True):
    """A function or type of Python itself, by its dotted name."""

    name: str


class Scope(msgspec.Struct, frozen=True):
    """Where an expression stands: its module, and the values of names that are local to it."""

    module: Module
    names: Mapping[str, Any] = {}
