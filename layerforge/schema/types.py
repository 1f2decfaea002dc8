"""What inputs and outputs can be, as values."""

from __future__ import annotations

from typing import Any

import msgspec


class Scalar(msgspec.Struct, frozen=True):
    """``str``, ``int``, ``float``, ``bool``, ``Path``, ``File`` or ``Secret``."""

    name: str


class Anything(msgspec.Struct, frozen=True):
    """A JSON object that is passed on as it is: ``dict``, ``Any``, opaque types."""


class Unchecked(msgspec.Struct, frozen=True):
    """Any JSON value: the items of a bare ``list``."""


class Array(msgspec.Struct, frozen=True):
    """A list."""

    items: Type


class Dictionary(msgspec.Struct, frozen=True):
    """A mapping from strings to ``values``."""

    values: Type


class Field(msgspec.Struct, frozen=True):
    """One member of a Record."""

    name: str
    type: Type
    required: bool


class Record(msgspec.Struct, frozen=True):
    """A class with named fields: ``BaseModel``, dataclass or ``TypedDict``."""

    fields: tuple[Field, ...]


class Stream(msgspec.Struct, frozen=True):
    """An iterator. ``concatenate`` tells that its pieces form one text."""

    items: Type
    concatenate: bool = False


class Union(msgspec.Struct, frozen=True):
    """Any of several types."""

    variants: tuple[Type, ...]


class Choice(msgspec.Struct, frozen=True):
    """One of fixed values, all of the Scalar type ``scalar``: ``Literal["a", "b"]``."""

    scalar: Scalar
    values: tuple[Any, ...]


class Nullable(msgspec.Struct, frozen=True):
    """A type whose value may be left out."""

    type: Type


Type = Scalar | Anything | Unchecked | Array | Dictionary | Record | Stream | Union | Choice | Nullable
