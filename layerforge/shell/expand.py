"""Expands words: parameters, substitutions, arithmetic, field splitting, path names (POSIX.1-2017, XCU 2.6)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from layerforge.shell.arithmetic import calculate
from layerforge.shell.patterns import Segment, compile_pattern, has_pattern
from layerforge.shell.syntax import Arithmetic, Literal, Parameter, Substitution, Word
from layerforge.shell.values import LIMIT, UNKNOWN, Exhausted, is_empty, is_known
from layerforge.shell.words import ScriptError

if TYPE_CHECKING:
    from layerforge.shell.evaluate import Shell

_Token = tuple[str, str]
"""Text and what it is: ``quoted``, ``plain`` (a literal of the script), ``split`` (to be split), ``break``."""

_BREAK: _Token = ("", "break")


def expand_fields(shell: Shell, word: Word) -> list[str]:
    """The fields that ``word`` becomes: split, and its patterns replaced by the paths that match."""
    if len(word) == 1 and isinstance(word[0], Literal) and (word[0].quoted or not re.search(r"[*?\[~]", word[0].text)):
        return [word[0].text]
    found: list[str] = []
    for field in _split(_tokens(shell, word, assignment=False), shell.get("IFS", " \t\n")):
        text = "".join(part for part, _ in field)
        if has_pattern(field) and is_known(text) and not shell.is_set("f"):
            found += shell.glob(field) or [text]
        else:
            found.append(text)
    return found


def expand_text(shell: Shell, word: Word) -> str:
    """The one text that ``word`` becomes where nothing is split: assignments, redirections, here-documents."""
    if len(word) == 1 and isinstance(word[0], Literal):
        return word[0].text
    return "".join(" " if kind == "break" else text for text, kind in _tokens(shell, word, assignment=True))


def expand_pattern(shell: Shell, word: Word) -> list[Segment]:
    """``word`` as a pattern."""
    return [(text, kind == "quoted") for text, kind in _tokens(shell, word, assignment=True)]


def _tokens(shell: Shell, word: Word, *, assignment: bool) -> list[_Token]:
    tokens: list[_Token] = []
    for number, part in enumerate(word):
        if isinstance(part, Literal):
            text = part.text
            if number == 0 and not part.quoted and re.match(r"~(/|$)", text):
                text = shell.get("HOME", "/root") + text[1:]
            tokens.append((text, "quoted" if part.quoted else "plain"))
        elif isinstance(part, Parameter):
            tokens += _parameter(shell, part, assignment)
        elif isinstance(part, Substitution):
            tokens.append((shell.substitute(part.body), "quoted" if part.quoted else "split"))
        else:
            tokens.append((_arithmetic(shell, part), "quoted" if part.quoted else "split"))
    if sum(len(text) for text, _ in tokens) > LIMIT:
        raise Exhausted("a value of more than four million characters")
    return tokens


def _arithmetic(shell: Shell, part: Arithmetic) -> str:
    text = expand_text(shell, part.word)
    if not is_known(text):
        return UNKNOWN
    names = re.findall(r"[A-Za-z_]\w*", text)
    if not is_known(*(shell.get(name, "") for name in names)):
        return UNKNOWN
    return str(calculate(text, lambda name: shell.get(name, ""), shell.assign))


def _parameter(shell: Shell, part: Parameter, assignment: bool) -> list[_Token]:
    kind = "quoted" if part.quoted else "split"
    operator = part.operator
    if part.name in "@*" and operator in ("", ":-", "-", ":+", "+"):
        arguments = shell.arguments
        if operator in (":-", "-") and not arguments:
            return _nested(shell, part)
        if operator in (":+", "+"):
            return _nested(shell, part) if arguments else [("", kind)]
        if (part.name == "*" and part.quoted) or assignment:
            separator = shell.get("IFS", " \t\n")[:1] if part.name == "*" else " "
            return [(separator.join(arguments), kind)]
        tokens: list[_Token] = []
        for argument in arguments:
            tokens += [(argument, kind), _BREAK]
        return tokens[:-1] if tokens else ([("", "nothing")] if part.quoted else [])
    value = shell.lookup(part.name)
    if operator == "length":
        text = value or ""
        return [(str(len(text)) if is_known(text) else UNKNOWN, kind)]
    if operator in ("#", "##", "%", "%%"):
        return [(_trim(value or "", operator, expand_pattern(shell, part.word)), kind)]
    if operator:
        missing: bool | None = value is None
        if operator[0] == ":" and value is not None:
            missing = is_empty(value)
        tail = operator[-1]
        if tail == "+":
            if missing is None:
                return [(UNKNOWN, kind)]
            return [("", kind)] if missing else _nested(shell, part)
        if missing:
            if tail == "-":
                return _nested(shell, part)
            if tail == "=":
                value = expand_text(shell, part.word)
                shell.assign(part.name, value)
            elif tail == "?":
                shell.fail(expand_text(shell, part.word) or f"{part.name}: parameter not set")
    elif value is None and shell.is_set("u") and part.name not in "@*":
        shell.fail(f"{part.name}: parameter not set")
    return [(value or "", kind)]


def _nested(shell: Shell, part: Parameter) -> list[_Token]:
    """The word of ``${name:-word}``: outside quotes, what it has of plain text is split like a value."""
    inner = _tokens(shell, part.word, assignment=False)
    if part.quoted:
        return [(text, "break" if kind == "break" else "quoted") for text, kind in inner] or [("", "quoted")]
    return [(text, "split" if kind == "plain" else kind) for text, kind in inner]


def _trim(value: str, operator: str, pattern: list[Segment]) -> str:
    """``value`` without its shortest or longest beginning (``#``) or end (``%``) that matches ``pattern``."""
    if not is_known(value, *(text for text, _ in pattern)):
        return UNKNOWN
    expression = compile_pattern(tuple(pattern))
    size = len(value)
    if operator == "##":
        ends = range(size, -1, -1)
    elif operator == "#" or operator == "%%":
        ends = range(size + 1)
    else:
        ends = range(size, -1, -1)
    for position in ends:
        if operator[0] == "#" and expression.fullmatch(value, 0, position):
            return value[position:]
        if operator[0] == "%" and expression.fullmatch(value, position):
            return value[:position]
    return value


def _split(tokens: list[_Token], separators: str) -> list[list[Segment]]:
    """Fields, each as segments."""
    fields: list[list[Segment]] = []
    current: list[Segment] | None = None
    blanks = "".join(char for char in separators if char in " \t\n")
    others = "".join(char for char in separators if char not in " \t\n")
    for text, kind in tokens:
        if kind == "nothing":
            continue
        if kind == "break":
            if current is not None:
                fields.append(current)
            current = None
            continue
        if kind != "split" or not separators:
            if text or kind == "quoted":
                current = [*(current or []), (text, kind == "quoted")]
            continue
        # White space around another separator belongs to it; white space alone separates; none of it makes a field.
        soft = f"[{re.escape(blanks)}]" if blanks else "(?:(?!))"
        hard = f"[{re.escape(others)}]" if others else "(?!)"
        pieces = re.split(f"({soft}*{hard}{soft}*|{soft}+)", text)
        for number, piece in enumerate(pieces):
            if number % 2:
                if current is not None or any(char in others for char in piece):
                    fields.append(current or [])
                current = None
            elif piece:
                current = [*(current or []), (piece, False)]
    if current is not None:
        fields.append(current)
    return fields


__all__ = ["ScriptError", "expand_fields", "expand_pattern", "expand_text"]
