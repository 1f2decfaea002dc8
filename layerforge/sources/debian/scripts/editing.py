"""sed's language, as far as scripts use it: addresses, blocks, and the commands ``s d p q y a i c``."""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from layerforge.shell.words import ScriptError


def translate_expression(text: str, extended: bool) -> str:
    """A POSIX regular expression, basic or extended (GNU's), for Python's ``re``."""
    found: list[str] = []
    position = 0
    while position < len(text):
        char = text[position]
        following = text[position + 1 : position + 2]
        if char == "\\":
            position += 2
            if following in "(){}|+?" and following:
                found.append(re.escape(following) if extended else following)
            elif following in "<>":
                found.append(r"\b")
            elif following in ("n", "t", "w", "W", "s", "S", "b", "B") or following.isdigit():
                found.append(f"\\{following}")
            else:
                found.append(re.escape(following))
            continue
        if char == "[":
            match = re.compile(r"\[\^?\]?(?:\[:\w+:\]|[^\]])*\]").match(text, position)
            if match is None:
                raise ScriptError(f"not a regular expression: {text!r}")
            found.append(_translate_set(match[0]))
            position = match.end()
            continue
        if char == "*" and (not found or found[-1] in ("(", "|", "^")):
            found.append(r"\*")
        elif char in "(){}|+?" and not extended:
            found.append(re.escape(char))
        elif char == "^" and not extended and found and found[-1] not in ("(", "|"):
            found.append(r"\^")
        elif char == "$" and not extended and following and not text.startswith(("\\)", "\\|"), position + 1):
            found.append(r"\$")
        elif char == "$":
            found.append(r"(?!.)")
        else:
            found.append(char)
        position += 1
    return "".join(found)


def _translate_set(text: str) -> str:
    names = {"alpha": "a-zA-Z", "digit": "0-9", "alnum": "a-zA-Z0-9", "space": r"\s", "blank": r" \t"}
    names |= {"upper": "A-Z", "lower": "a-z", "punct": r"!-/:-@\[-`{-~", "xdigit": "0-9a-fA-F"}
    inner = text[1:-1]
    negated = inner.startswith("^")
    inner = inner[negated:]
    pieces = re.split(r"\[:(\w+):\]", inner)
    plain = [re.sub(r"([\\\[\]^])", r"\\\1", piece).replace("\\\\n", "\\n").replace("\\\\t", "\\t") for piece in pieces]
    plain = [names.get(pieces[number], "") if number % 2 else piece for number, piece in enumerate(plain)]
    return f"[{'^' if negated else ''}{''.join(plain)}]"


class _Address(msgspec.Struct, frozen=True):
    """A line number, the last line, or lines that match."""

    number: int = 0
    is_last: bool = False
    pattern: str | None = None

    def selects(self, line: str, number: int, is_last: bool) -> bool:
        """Whether this line is meant."""
        if self.pattern is not None:
            return re.search(self.pattern, line) is not None
        return is_last if self.is_last else number == self.number


class _Command(msgspec.Struct):
    first: _Address | None
    last: _Address | None
    negated: bool
    letter: str
    pattern: str = ""
    replacement: str = ""
    flags: str = ""
    text: str = ""
    block: list[_Command] = []
    active: bool = False


class Editing:
    """A parsed sed script.

    Raises:
        ScriptError: it uses something that is not known here.
    """

    def __init__(self, script: str, extended: bool) -> None:
        self._script, self._extended = script, extended
        self._position = 0
        self.commands = self._block(end=False)

    def _block(self, *, end: bool) -> list[_Command]:
        commands: list[_Command] = []
        while True:
            while self._position < len(self._script) and self._script[self._position] in " \t\n;":
                self._position += 1
            if self._position >= len(self._script):
                if end:
                    raise ScriptError("sed: a block without end")
                return commands
            if self._script[self._position] == "#":
                self._until("\n")
                continue
            if self._script[self._position] == "}":
                self._position += 1
                return commands
            commands.append(self._command())

    def _command(self) -> _Command:
        first = self._address()
        last = None
        if first is not None and self._peek() == ",":
            self._position += 1
            last = self._address()
        self._spaces()
        negated = self._peek() == "!"
        self._position += negated
        self._spaces()
        letter = self._peek()
        self._position += 1
        command = _Command(first, last, negated, letter)
        command.active = first == _Address(0)  # GNU's 0,/x/: x may be on the first line already
        if letter == "{":
            command.block = self._block(end=True)
        elif letter in "sy" and letter:
            separator = self._peek()
            self._position += 1
            pattern = self._until(separator, escapes=True)
            replacement = self._until(separator, escapes=True, keep=True)
            command.flags = self._flags() if letter == "s" else ""
            command.replacement = replacement.replace(f"\\{separator}", separator)
            command.pattern = pattern if letter == "y" else translate_expression(pattern, self._extended)
        elif letter in "aic" and letter:
            text = self._until("\n")
            while text.endswith("\\"):
                text = text[:-1] + "\n" + self._until("\n")
            command.text = re.sub(r"^\s*(?:\\?\n)?\s*", "", text, count=1) + "\n"
        elif not letter or letter not in "dpq":
            raise ScriptError(f"sed: the command {letter!r} is not emulated")
        return command

    def _flags(self) -> str:
        start = self._position
        while self._position < len(self._script) and self._script[self._position] in "gpiIme0123456789":
            self._position += 1
        return self._script[start : self._position]

    def _address(self) -> _Address | None:
        self._spaces()
        match = re.compile(r"\d+").match(self._script, self._position)
        if match:
            self._position = match.end()
            return _Address(int(match[0]))
        if self._peek() == "$":
            self._position += 1
            return _Address(is_last=True)
        if self._peek() == "/" or self._script.startswith("\\", self._position):
            if self._peek() == "\\":
                self._position += 1
            separator = self._peek()
            self._position += 1
            return _Address(pattern=translate_expression(self._until(separator, escapes=True), self._extended))
        return None

    def _peek(self) -> str:
        return self._script[self._position : self._position + 1]

    def _spaces(self) -> None:
        while self._peek() in (" ", "\t"):
            self._position += 1

    def _until(self, separator: str, *, escapes: bool = False, keep: bool = False) -> str:
        """The text up to ``separator``, outside of sets and not escaped."""
        start = position = self._position
        while position < len(self._script) and self._script[position] != separator:
            match = re.compile(r"\[\^?\]?(?:\[:\w+:\]|[^\]\n])*\]").match(self._script, position)
            if escapes and self._script[position] == "\\":
                position += 2
            elif escapes and not keep and match:
                position = match.end()
            else:
                position += 1
        self._position = position + 1
        text = self._script[start:position]
        return text.replace(f"\\{separator}", separator) if escapes and not keep and separator != "|" else text


def edit(program: Editing, text: str, silent: bool) -> str:
    """``text`` after the program; ``silent`` as with ``-n``."""
    lines = text.removesuffix("\n").split("\n") if text else []
    printed: list[str] = []
    for number, line in enumerate(lines, 1):
        after: list[str] = []
        current, ended = _apply(program.commands, line, number, number == len(lines), printed, after)
        if current is not None and not silent:
            printed.append(f"{current}\n")
        printed += after
        if ended:
            break
    return "".join(printed)


def _apply(
    commands: list[_Command], line: str, number: int, is_last: bool, printed: list[str], after: list[str]
) -> tuple[str | None, bool]:
    current = line
    for command in commands:
        if _is_selected(command, current, number, is_last) == command.negated:
            continue
        letter = command.letter
        if letter == "{":
            inner, ended = _apply(command.block, current, number, is_last, printed, after)
            if inner is None or ended:
                return inner, ended
            current = inner
        elif letter == "d":
            return None, False
        elif letter == "p":
            printed.append(f"{current}\n")
        elif letter == "q":
            return current, True
        elif letter == "i":
            printed.append(command.text)
        elif letter == "a":
            after.append(command.text)
        elif letter == "c":
            printed.append(command.text)
            return None, False
        elif letter == "y":
            current = current.translate(str.maketrans(command.pattern, command.replacement))
        elif letter == "s":
            changed, count = _substitute(command, current)
            current = changed
            if count and "p" in command.flags:
                printed.append(f"{current}\n")
        else:
            raise ScriptError(f"sed: the command {letter!r} is not emulated")
    return current, False


def _is_selected(command: _Command, line: str, number: int, is_last: bool) -> bool:
    if command.first is None:
        return True
    if command.last is None:
        return command.first.selects(line, number, is_last)
    if command.active:
        command.active = not command.last.selects(line, number, is_last)
        return True
    if command.first.selects(line, number, is_last):
        command.active = not (command.last.number and command.last.number <= number) and not is_last
        return True
    return False


def _substitute(command: _Command, line: str) -> tuple[str, int]:
    flags = re.IGNORECASE if set("iI") & set(command.flags) else 0
    which = re.search(r"\d+", command.flags)
    if which:
        count = 0

        def replace(match: re.Match[str]) -> str:
            nonlocal count
            count += 1
            return _replacement(command.replacement)(match) if count == int(which[0]) else match[0]

        return re.sub(command.pattern, replace, line, flags=flags), 1
    return re.subn(
        command.pattern, _replacement(command.replacement), line, count=0 if "g" in command.flags else 1, flags=flags
    )


def _replacement(text: str) -> Callable[[re.Match[str]], str]:
    def build(match: re.Match[str]) -> str:
        def one(part: re.Match[str]) -> str:
            if part[0] == "&":
                return match[0]
            letter = part[1]
            if letter.isdigit():
                return match[int(letter)] or ""
            return {"n": "\n", "t": "\t"}.get(letter, letter)

        return re.sub(r"\\(.)|&", one, text, flags=re.DOTALL)

    return build
