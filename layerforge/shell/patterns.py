"""Shell patterns (POSIX.1-2017, XCU 2.13): made into regular expressions, matched against known and unknown text."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable

from layerforge.shell.values import UNKNOWN

Segment = tuple[str, bool]
"""Text, and whether it is quoted."""

_CLASS = re.compile(r"\[([!^]?)(\]?(?:\[:\w+:\]|[^\]])*)\]", re.DOTALL)
_NAMED = {
    "alnum": "a-zA-Z0-9",
    "alpha": "a-zA-Z",
    "blank": r" \t",
    "digit": "0-9",
    "lower": "a-z",
    "space": r"\s",
    "upper": "A-Z",
    "xdigit": "0-9a-fA-F",
    "punct": r"!-/:-@\[-`{-~",
}


def translate(segments: Iterable[Segment], *, shortest: bool = False) -> str:
    """The regular expression for a pattern; with ``shortest``, ``*`` takes as little as it can."""
    star = ".*?" if shortest else ".*"
    found: list[str] = []
    for text, quoted in segments:
        if quoted:
            found.append(re.escape(text))
            continue
        position = 0
        while position < len(text):
            char = text[position]
            match = _CLASS.match(text, position) if char == "[" else None
            if match:
                found.append(_translate_class(match))
                position = match.end()
                continue
            if char == "\\" and position + 1 < len(text):
                position += 1
                found.append(re.escape(text[position]))
            else:
                found.append({"*": star, "?": "."}.get(char) or re.escape(char))
            position += 1
    return "".join(found)


def _translate_class(match: re.Match[str]) -> str:
    inner = match[2].replace("\\", "\\\\").replace("[", "\\[").replace("^", "\\^")
    if inner.startswith("]"):
        inner = "\\" + inner
    inner = re.sub(r"\\\[:(\w+):", lambda named: _NAMED.get(named[1], ""), inner)
    inner = re.sub(r"(?<=[A-Za-z0-9])\](?=.)", r"\\]", inner) if "[:" not in match[2] else inner.replace("]", "")
    return f"[{'^' if match[1] else ''}{inner}]" if inner else "(?!)"


def matches(segments: Iterable[Segment], text: str) -> bool | None:
    """Whether the whole ``text`` matches; None if that depends on what is not known."""
    listed = list(segments)
    if all(segment == ("*", False) for segment in listed) and listed:
        return True
    if UNKNOWN in text or any(UNKNOWN in segment for segment, _ in listed):
        literal = all(quoted or not re.search(r"[*?\[]", segment) for segment, quoted in listed)
        if literal and all(UNKNOWN not in segment for segment, _ in listed):
            wanted = "".join(segment for segment, _ in listed)
            parts = (re.escape(part) for part in re.split(f"{UNKNOWN}+", text))
            return None if re.fullmatch(".*".join(parts), wanted, re.DOTALL) else False
        return None
    return compile_pattern(tuple(listed)).fullmatch(text) is not None


@functools.lru_cache(maxsize=1024)
def compile_pattern(segments: tuple[Segment, ...]) -> re.Pattern[str]:
    """The pattern as a compiled expression."""
    return re.compile(translate(segments), re.DOTALL)


def has_pattern(segments: Iterable[Segment]) -> bool:
    """Whether something in it is special, so that it may stand for several paths."""
    return any(not quoted and re.search(r"[*?\[]", text) for text, quoted in segments)
