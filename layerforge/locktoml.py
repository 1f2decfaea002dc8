"""TOML as the lock is written in: one value has one encoding. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any


def format_string(text: str) -> str:
    """``text`` as a basic string."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def format_strings(texts: Iterable[str]) -> str:
    """An array of strings, on one line."""
    return f"[{', '.join(map(format_string, texts))}]"


def format_table(fields: Mapping[str, Any]) -> str:
    """An inline table of strings, numbers, booleans and tables."""
    return "{ " + ", ".join(f"{name} = {_format_value(value)}" for name, value in fields.items()) + " }"


def format_array(name: str, items: Iterable[str]) -> str:
    """The key ``name`` with an array of encoded ``items``, one a line."""
    lines = [f"    {item},\n" for item in items]
    return f"{name} = [\n{''.join(lines)}]" if lines else f"{name} = []"


def _format_value(value: Any) -> str:
    if isinstance(value, Mapping):
        return format_table(value)
    if isinstance(value, tuple):
        return format_strings(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return format_string(value) if isinstance(value, str) else str(value)
