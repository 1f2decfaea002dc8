"""The lines of a requirements file, and the options in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import msgspec


class Option(msgspec.Struct, frozen=True):
    """An option under its long name; ``value`` is empty for a flag."""

    name: str
    value: str = ""


class Words(msgspec.Struct, frozen=True):
    """A line taken apart: the requirement, the options, and an option that is not known, if there is one."""

    text: str
    options: tuple[Option, ...]
    unknown: str = ""


def split_lines(text: str) -> Iterator[tuple[str, int]]:
    """Logical lines, with continuations joined and comments removed, each with the line that it begins on."""
    pending, start = "", 0
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        if not pending:
            start = number
        is_comment = line.lstrip().startswith("#")
        if line.endswith("\\") and not is_comment:
            pending += line[:-1]
            continue
        whole = pending + (" " + line if pending and is_comment else line)
        pending = ""
        if stripped := strip_comment(whole):
            yield stripped, start
    if stripped := strip_comment(pending):
        yield stripped, start


def strip_comment(line: str) -> str:
    """``line`` without the comment at its end, if it has one."""
    return re.sub(r"(^|\s+)#.*$", "", line).strip()


_TAKES_VALUE = {
    "-i": "--index-url", "--pypi-url": "--index-url", "--index-url": "--index-url",
    "--extra-index-url": "--extra-index-url",
    "-f": "--find-links", "--find-links": "--find-links",
    "-r": "--requirement", "--requirement": "--requirement",
    "-c": "--constraint", "--constraint": "--constraint",
    "-e": "--editable", "--editable": "--editable",
    "--trusted-host": "--trusted-host", "--hash": "--hash",
    "--no-binary": "--no-binary", "--only-binary": "--only-binary",
    "--use-feature": "--use-feature", "--config-settings": "--config-settings", "-C": "--config-settings",
    "--config-setting": "--config-settings", "--global-option": "--global-option",
}  # fmt: skip
FLAGS = frozenset({"--pre", "--no-index", "--require-hashes", "--prefer-binary", "--no-deps"})


def split_options(line: str) -> Words:
    """Take ``line`` apart. What stands in quotes is one word of an option's value, quotes removed."""
    words = line.split()
    kept: list[str] = []
    options: list[Option] = []
    while words:
        word = words.pop(0)
        if not word.startswith("-"):
            kept.append(word)
            continue
        name, equals, value = word.partition("=")
        if not equals and name[:2] in _TAKES_VALUE and len(name) > 2 and not name.startswith("--"):
            name, value, equals = name[:2], name[2:], "="  # -rfile
        if name in FLAGS and not equals:
            options.append(Option(name))
        elif name in _TAKES_VALUE:
            value = value if equals else (words.pop(0) if words else "")
            while value[:1] in ("'", '"') and (len(value) == 1 or value[0] != value[-1]) and words:
                value += " " + words.pop(0)
            options.append(Option(_TAKES_VALUE[name], _unquote(value)))
        else:
            return Words(" ".join(kept), tuple(options), name)
    return Words(" ".join(kept), tuple(options))


def _unquote(value: str) -> str:
    try:
        return " ".join(shlex.split(value)) if value[:1] in ("'", '"') else value.strip("\"'")
    except ValueError:  # no closing quotation mark
        return value.strip("\"'")
