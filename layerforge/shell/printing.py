"""``printf`` formats and ``echo`` escapes, as dash has them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from layerforge.shell.values import UNKNOWN

_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\"}
_ESCAPE = re.compile(r"\\(0[0-7]{0,3}|[1-7][0-7]{0,2}|.)", re.DOTALL)
_DIRECTIVE = re.compile(r"%([-+ 0#]*)(\*|[0-9]*)(?:\.(\*|[0-9]*))?([a-zA-Z%])")


def unescape(text: str, *, octal: str = "0") -> tuple[str, bool]:
    """``text`` with its escapes replaced, and whether ``\\c`` cut it off. ``octal`` is what may begin a number."""
    if "\\" not in text:
        return text, False
    found: list[str] = []
    position = 0
    for match in _ESCAPE.finditer(text):
        found.append(text[position : match.start()])
        position = match.end()
        code = match[1]
        if code == "c":
            return "".join(found), True
        if code[0] in octal and code[0] in "01234567":
            found.append(chr(int(code, 8) & 0xFF) if code != "0" else "")
        else:
            found.append(_ESCAPES.get(code, match[0]))
    return "".join([*found, text[position:]]), False


def format_text(form: str, arguments: Sequence[str]) -> str:
    """What ``printf form arguments…`` prints. The format is used again while there are arguments."""
    template = _ESCAPE.sub(lambda match: unescape(match[0], octal="01234567")[0], form)
    rest = list(arguments)
    printed: list[str] = []
    while True:
        before = len(rest)
        text, cut = _apply(template, rest)
        printed.append(text)
        if cut or not rest or len(rest) == before:
            return "".join(printed)


def _apply(template: str, rest: list[str]) -> tuple[str, bool]:
    found: list[str] = []
    position = 0
    for match in _DIRECTIVE.finditer(template):
        found.append(template[position : match.start()])
        position = match.end()
        flags, width, precision, kind = match.groups()
        if kind == "%":
            found.append("%")
            continue
        width = (rest.pop(0) if rest else "0") if width == "*" else width
        precision = (rest.pop(0) if rest else "0") if precision == "*" else precision
        value = rest.pop(0) if rest else ("" if kind in "sbc" else "0")
        if UNKNOWN in value:
            found.append(UNKNOWN)
            continue
        if kind == "b":
            value, cut = unescape(value, octal="01234567")
            if cut:
                return "".join([*found, value]), True
        spec = f"%{flags}{width}{'' if precision is None else f'.{precision}'}"
        if kind in "sb":
            found.append(f"{spec}s" % value)
        elif kind == "c":
            found.append(value[:1])
        else:
            found.append(f"{spec}{kind if kind in 'dixXo' else 'd'}" % _integer(value))
    return "".join([*found, template[position:]]), False


def _integer(value: str) -> int:
    if value[:1] in ("'", '"'):
        return ord(value[1]) if len(value) > 1 else 0
    try:
        return int(value, 16 if value.lower().startswith("0x") else 8 if re.fullmatch("0[0-7]+", value) else 10)
    except ValueError:
        return 0
