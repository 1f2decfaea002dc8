"""What an edit of the lock file changed, and on which line. Pure."""

from __future__ import annotations

from typing import Any


def find_difference(found: Any, expected: Any, path: str) -> str:
    """The dotted path of the first thing in which two parsed documents differ, or nothing."""
    if isinstance(found, dict) and isinstance(expected, dict):
        for key in (*found, *expected):
            inner = f"{path}.{key}" if path else key
            if (key in found) != (key in expected):
                return inner
            if difference := find_difference(found[key], expected[key], inner):
                return difference
        return ""
    if isinstance(found, list) and isinstance(expected, list):
        for index, (left, right) in enumerate(zip(found, expected, strict=False)):
            if difference := find_difference(left, right, f"{path}[{_label(left, index)}]"):
                return difference
        longer = max(found, expected, key=len)
        shorter = min(len(found), len(expected))
        return "" if len(found) == len(expected) else f"{path}[{_label(longer[shorter], shorter)}]"
    return "" if (type(found), found) == (type(expected), expected) else path


def _label(item: Any, index: int) -> str:
    return repr(item["name"]) if isinstance(item, dict) and isinstance(item.get("name"), str) else str(index)


def find_line(text: str, message: str) -> int:
    """The line that ``message`` speaks about, as far as it quotes something that is on one line only; else 0."""
    quoted = message.split("'")[1::2]
    for needle in reversed(quoted):
        lines = [number for number, line in enumerate(text.split("\n"), 1) if needle and f'"{needle}"' in line]
        if lines:
            return lines[0]
    return 0
