"""Integer arithmetic of ``$((…))`` (POSIX.1-2017, XCU 2.6.4)."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable

from layerforge.shell.words import ScriptError

_TOKEN = re.compile(
    r"\s*(0[xX][0-9a-fA-F]+|[0-9]+|[A-Za-z_]\w*|<<=|>>=|&&|\|\||<<|>>|[-+*/%&|^<>=!]=|[-+*/%&|^<>=!~?:()])"
)
_LEVELS: tuple[dict[str, Callable[[int, int], int]], ...] = (
    {"||": lambda a, b: int(bool(a or b))},
    {"&&": lambda a, b: int(bool(a and b))},
    {"|": operator.or_},
    {"^": operator.xor},
    {"&": operator.and_},
    {"==": lambda a, b: int(a == b), "!=": lambda a, b: int(a != b)},
    {
        "<": lambda a, b: int(a < b),
        ">": lambda a, b: int(a > b),
        "<=": lambda a, b: int(a <= b),
        ">=": lambda a, b: int(a >= b),
    },
    {"<<": lambda a, b: _wrap(a << (b & 63)), ">>": lambda a, b: a >> (b & 63)},
    {"+": lambda a, b: _wrap(a + b), "-": lambda a, b: _wrap(a - b)},
    {"*": lambda a, b: _wrap(a * b), "/": lambda a, b: _divide(a, b), "%": lambda a, b: a - b * _divide(a, b)},
)


def _wrap(value: int) -> int:
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


def _divide(left: int, right: int) -> int:
    if right == 0:
        raise ScriptError("division by zero")
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


def calculate(text: str, get: Callable[[str], str], assign: Callable[[str, str], None]) -> int:
    """The value of the expression ``text``; variables through ``get`` and ``assign``.

    Raises:
        ScriptError: it is not an expression.
    """
    return _Expression(text, get, assign).value()


class _Expression:
    def __init__(self, text: str, get: Callable[[str], str], assign: Callable[[str, str], None]) -> None:
        self._tokens: list[str] = []
        self._get, self._assign = get, assign
        position, stripped = 0, text.rstrip()
        while position < len(stripped):
            match = _TOKEN.match(stripped, position)
            if match is None:
                raise ScriptError(f"not an arithmetic expression: {text[:40]!r}")
            self._tokens.append(match[1])
            position = match.end()
        self._tokens = self._tokens or ["0"]
        self._tokens.reverse()

    def value(self) -> int:
        result = self._ternary()
        if self._tokens:
            raise ScriptError(f"not an arithmetic expression: at {self._tokens[-1]!r}")
        return result

    def _peek(self) -> str:
        return self._tokens[-1] if self._tokens else ""

    def _ternary(self) -> int:
        if len(self._tokens) > 1 and re.fullmatch(r"(?:[-+*/%&|^]|<<|>>)?=", self._tokens[-2]):
            name, kind = self._tokens.pop(), self._tokens.pop()
            value = self._ternary()
            if kind != "=":
                table = next(level for level in _LEVELS if kind[:-1] in level)
                value = table[kind[:-1]](self._number(name), value)
            self._assign(name, str(value))
            return value
        condition = self._level(0)
        if self._peek() != "?":
            return condition
        self._tokens.pop()
        first = self._ternary()
        if not self._tokens or self._tokens.pop() != ":":
            raise ScriptError("not an arithmetic expression: '?' without ':'")
        second = self._ternary()
        return first if condition else second

    def _level(self, number: int) -> int:
        if number == len(_LEVELS):
            return self._unary()
        left = self._level(number + 1)
        while self._peek() in _LEVELS[number]:
            function = _LEVELS[number][self._tokens.pop()]
            left = function(left, self._level(number + 1))
        return left

    def _unary(self) -> int:
        if not self._tokens:
            raise ScriptError("not an arithmetic expression: it ends too early")
        token = self._tokens.pop()
        if token == "-":
            return -self._unary()
        if token == "+":
            return self._unary()
        if token == "!":
            return int(not self._unary())
        if token == "~":
            return ~self._unary()
        if token == "(":
            value = self._ternary()
            if not self._tokens or self._tokens.pop() != ")":
                raise ScriptError("not an arithmetic expression: '(' without ')'")
            return value
        return self._number(token)

    def _number(self, token: str) -> int:
        text = token
        if re.match(r"[A-Za-z_]", token):
            text = self._get(token).strip() or "0"
        sign = -1 if text.startswith("-") else 1
        digits = text.lstrip("+-")
        try:
            if re.match(r"0[xX]", digits):
                return sign * int(digits, 16)
            return sign * int(digits, 8 if digits.startswith("0") and len(digits) > 1 else 10)
        except ValueError as error:
            raise ScriptError(f"not a number: {text!r}") from error
