"""The tree of a shell script. Names are those of the standard's grammar (POSIX.1-2017, XCU 2.10)."""

from __future__ import annotations

import msgspec


class Literal(msgspec.Struct, frozen=True, array_like=True):
    """Text as it stands. What is ``quoted`` is neither split nor a pattern."""

    text: str
    quoted: bool = False


class Parameter(msgspec.Struct, frozen=True, array_like=True):
    """``$name`` or ``${name<operator>word}``; the operator ``length`` is ``${#name}``."""

    name: str
    operator: str = ""
    word: tuple[Part, ...] = ()
    quoted: bool = False


class Substitution(msgspec.Struct, frozen=True, array_like=True):
    """``$(body)`` or the same in backquotes."""

    body: Node
    quoted: bool = False


class Arithmetic(msgspec.Struct, frozen=True, array_like=True):
    """``$((word))``."""

    word: tuple[Part, ...]
    quoted: bool = False


Part = Literal | Parameter | Substitution | Arithmetic
Word = tuple[Part, ...]
"""A word before expansion."""


class Redirect(msgspec.Struct, frozen=True, array_like=True):
    """``<descriptor><operator>target``; of a here-document (``<<``), ``target`` is the document."""

    descriptor: int
    operator: str
    target: Word


class Simple(msgspec.Struct, frozen=True, array_like=True):
    """A simple command with the assignments before it. ``text`` is how the script writes it."""

    assignments: tuple[tuple[str, Word], ...]
    words: tuple[Word, ...]
    redirects: tuple[Redirect, ...]
    text: str


class Pipeline(msgspec.Struct, frozen=True, array_like=True):
    """Commands joined by ``|``, perhaps after ``!``."""

    commands: tuple[Node, ...]
    negated: bool = False


class AndOr(msgspec.Struct, frozen=True, array_like=True):
    """``first``, then each (``&&`` or ``||``, command) from left to right."""

    first: Node
    rest: tuple[tuple[str, Node], ...]


class Sequence(msgspec.Struct, frozen=True, array_like=True):
    """Commands one after another."""

    items: tuple[Node, ...]


class If(msgspec.Struct, frozen=True, array_like=True):
    """Pairs of condition and body, and what follows ``else``. ``text`` is the first condition's."""

    clauses: tuple[tuple[Node, Node], ...]
    otherwise: Node | None
    text: str


class While(msgspec.Struct, frozen=True, array_like=True):
    """A loop while the condition holds, or ``until`` it does."""

    condition: Node
    body: Node
    until: bool
    text: str


class For(msgspec.Struct, frozen=True, array_like=True):
    """A loop over ``words``; over the positional parameters if that is None."""

    name: str
    words: tuple[Word, ...] | None
    body: Node


class Case(msgspec.Struct, frozen=True, array_like=True):
    """The first item with a pattern that ``word`` matches."""

    word: Word
    items: tuple[tuple[tuple[Word, ...], Node], ...]
    text: str


class Group(msgspec.Struct, frozen=True, array_like=True):
    """``{ body; }``, or in a ``subshell`` ``( body )``; also carries the redirections of other compound commands."""

    body: Node
    redirects: tuple[Redirect, ...] = ()
    subshell: bool = False


class Function(msgspec.Struct, frozen=True, array_like=True):
    """The definition of the function ``name``."""

    name: str
    body: Node


Node = Simple | Pipeline | AndOr | Sequence | If | While | For | Case | Group | Function
