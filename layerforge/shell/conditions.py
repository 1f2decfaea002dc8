"""``test`` and ``[``, with three answers: yes, no, not known (POSIX.1-2017, XCU test)."""

from __future__ import annotations

import re
from collections.abc import Callable

from layerforge.shell.streams import Files
from layerforge.shell.values import equals, is_empty, is_known, negate

_NUMBERS: dict[str, Callable[[int, int], bool]] = {
    "-eq": lambda a, b: a == b,
    "-ne": lambda a, b: a != b,
    "-lt": lambda a, b: a < b,
    "-le": lambda a, b: a <= b,
    "-gt": lambda a, b: a > b,
    "-ge": lambda a, b: a >= b,
}
_BINARY = frozenset((*_NUMBERS, "=", "==", "!=", "<", ">", "-nt", "-ot", "-ef"))
_UNARY = frozenset("-" + letter for letter in "bcdefghknoprstuwxzGLNOS")


class TestError(Exception):
    """The arguments are no condition; ``test`` says so with status 2."""

    __test__ = False


class Condition:
    """One condition over ``arguments``; ``path`` makes paths absolute."""

    def __init__(self, arguments: tuple[str, ...], files: Files, path: Callable[[str], str]) -> None:
        self._arguments = list(arguments)
        self._files, self._path = files, path
        self._position = 0

    def value(self) -> bool | None:
        """The answer.

        Raises:
            TestError: the arguments are no condition.
        """
        arguments = self._arguments
        if not arguments:
            return False
        if len(arguments) == 1:
            return negate(is_empty(arguments[0]))
        if len(arguments) == 2 and arguments[0] == "!":
            return is_empty(arguments[1])
        if len(arguments) == 3 and arguments[1] in _BINARY:
            return self._binary(*arguments)
        if len(arguments) == 4 and arguments[0] == "!" and arguments[2] in _BINARY:
            return negate(self._binary(*arguments[1:]))
        result = self._or()
        if self._position < len(arguments):
            raise TestError(f"unexpected {arguments[self._position]!r}")
        return result

    def _peek(self, ahead: int = 0) -> str | None:
        position = self._position + ahead
        return self._arguments[position] if position < len(self._arguments) else None

    def _or(self) -> bool | None:
        result = self._and()
        while self._peek() == "-o":
            self._position += 1
            other = self._and()
            result = True if result or other else (None if None in (result, other) else False)
        return result

    def _and(self) -> bool | None:
        result = self._not()
        while self._peek() == "-a":
            self._position += 1
            other = self._not()
            result = False if False in (result, other) else (None if None in (result, other) else True)
        return result

    def _not(self) -> bool | None:
        if self._peek() == "!" and self._peek(1) is not None:
            self._position += 1
            return negate(self._not())
        return self._primary()

    def _primary(self) -> bool | None:
        first = self._peek()
        if first is None:
            raise TestError("an argument is missing")
        second = self._peek(1)
        if second in _BINARY and self._peek(2) is not None:
            self._position += 3
            return self._binary(first, str(second), self._arguments[self._position - 1])
        if first == "(":
            self._position += 1
            result = self._or()
            if self._peek() != ")":
                raise TestError("')' is missing")
            self._position += 1
            return result
        if first in _UNARY and second is not None:
            self._position += 2
            return self._unary(first, second)
        self._position += 1
        return negate(is_empty(first))

    def _binary(self, left: str, operator: str, right: str) -> bool | None:
        if operator in ("=", "=="):
            return equals(left, right)
        if operator == "!=":
            return negate(equals(left, right))
        if not is_known(left, right):
            return None
        if operator in _NUMBERS:
            numbers = [value.strip() for value in (left, right)]
            if not all(re.fullmatch(r"[-+]?[0-9]+", value) for value in numbers):
                raise TestError(f"not a number: {left!r} or {right!r}")
            return _NUMBERS[operator](int(numbers[0]), int(numbers[1]))
        if operator in ("<", ">"):
            return left < right if operator == "<" else left > right
        if operator == "-ef":
            return self._files.real(self._path(left)) == self._files.real(self._path(right))
        kinds = [self._files.kind(self._path(value)) for value in (left, right)]
        if None in kinds:
            return None
        return False  # everything in an image has the same time

    def _unary(self, operator: str, value: str) -> bool | None:
        if operator == "-z":
            return is_empty(value)
        if operator == "-n":
            return negate(is_empty(value))
        if operator == "-t":
            return False
        path = self._path(value)
        if not value:
            return False
        if operator in ("-L", "-h"):
            kind = self._files.kind(path, follow=False)
            return None if kind is None else kind == "symlink"
        if value.startswith("/dev/"):
            return operator in ("-e", "-r", "-w", "-c") and value in ("/dev/null", "/dev/stdin", "/dev/stdout")
        kind = self._files.kind(path)
        if kind is None:
            return None
        if operator in ("-e", "-r", "-w", "-O", "-G"):
            return bool(kind)
        if operator == "-f":
            return kind == "file"
        if operator == "-d":
            return kind == "dir"
        if not kind or operator in "-b -c -p -S":
            return False
        mode = self._files.mode(path)
        if operator == "-x":
            return bool(mode & 0o111)
        if operator in ("-u", "-g", "-k"):
            return bool(mode & {"-u": 0o4000, "-g": 0o2000, "-k": 0o1000}[operator])
        size = self._files.size(path) if kind == "file" else 4096
        return None if size is None else size > 0
