"""Programs that print text, or part of it: cat, cut, tr, head, sort and their like, as far as scripts use them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from layerforge.shell.calls import Call
from layerforge.shell.values import UNKNOWN, Status, is_known
from layerforge.sources.debian.scripts.calls import Emulation, split_options

if TYPE_CHECKING:
    from layerforge.sources.debian.scripts.machine import Machine


def read_all(machine: Machine, call: Call, paths: list[str]) -> tuple[str, Status]:
    """The text of the files, or of standard input where none is named, and 1 if a file is missing."""
    if not paths:
        return call.read(), 0
    texts: list[str] = []
    status: Status = 0
    for path in paths:
        if path in ("-", "/dev/stdin"):
            text: str | None = call.read()
        elif path == "/dev/null":
            text = ""
        elif path.startswith("/proc/"):
            text = UNKNOWN
        else:
            text = machine.world.read_text(call.path(path))
        if text is None:
            status = 1
        texts.append(text or "")
    return "".join(texts), status


def split_lines(text: str) -> list[str]:
    """The lines of ``text``, the last one with or without its end."""
    return text.removesuffix("\n").split("\n") if text else []


def print_lines(call: Call, lines: list[str]) -> None:
    """Write ``lines`` to standard output."""
    call.write("".join(f"{line}\n" for line in lines))


def _cat(machine: Machine, call: Call) -> Status:
    _, paths = split_options(call.arguments)
    text, status = read_all(machine, call, paths)
    call.write(text)
    return status


def _cut(machine: Machine, call: Call) -> Status:
    options, paths = split_options(call.arguments, "d delimiter f fields c characters b bytes output-delimiter")
    text, status = read_all(machine, call, paths)
    if not is_known(text):
        call.write(UNKNOWN)
        return status
    wanted = options.get("f", options.get("fields", options.get("c", options.get("b", "1"))))
    by_field = "f" in options or "fields" in options
    delimiter = options.get("d", options.get("delimiter", "\t"))
    ranges = []
    for piece in wanted.split(","):
        first, dash, last = piece.partition("-")
        ranges.append((int(first or 1), int(last) if last else (int(first or 1) if not dash else 1 << 30)))
    found: list[str] = []
    for line in split_lines(text):
        parts = line.split(delimiter) if by_field else list(line)
        if by_field and len(parts) == 1:
            found += [] if "s" in options else [line]
            continue
        kept = [part for number, part in enumerate(parts, 1) if any(a <= number <= b for a, b in ranges)]
        found.append((delimiter if by_field else "").join(kept))
    print_lines(call, found)
    return status


def _expand_set(text: str) -> str:
    text = re.sub(r"\\(n|t|\\)", lambda match: {"n": "\n", "t": "\t", "\\": "\\"}[match[1]], text)
    named = {"[:upper:]": "A-Z", "[:lower:]": "a-z", "[:digit:]": "0-9", "[:space:]": " \t\n", "[:alnum:]": "A-Za-z0-9"}
    named |= {"[:alpha:]": "A-Za-z", "[:blank:]": " \t"}
    for name, letters in named.items():
        text = text.replace(name, letters)
    return re.sub(r"(.)-(.)", lambda m: "".join(map(chr, range(ord(m[1]), ord(m[2]) + 1))), text, flags=re.DOTALL)


def _tr(_: Machine, call: Call) -> Status:
    options, sets = split_options(call.arguments)
    text = call.read()
    if not is_known(text, *sets) or not sets:
        call.write(UNKNOWN)
        return 0
    first = _expand_set(sets[0])
    second = _expand_set(sets[1]) if len(sets) > 1 else ""
    if {"c", "C"} & options.keys():
        first = "".join(char for char in map(chr, range(256)) if char not in first)
    if "d" in options:
        text = "".join(char for char in text if char not in first)
    elif second:
        table = str.maketrans({char: second[min(number, len(second) - 1)] for number, char in enumerate(first)})
        text = text.translate(table)
    if "s" in options:
        text = re.sub(f"([{re.escape(second or first)}])\\1+", r"\1", text)
    call.write(text)
    return 0


def _head(machine: Machine, call: Call) -> Status:
    arguments = tuple(re.sub(r"^-(\d+)$", r"-n\1", argument) for argument in call.arguments)
    options, paths = split_options(arguments, "n lines c bytes")
    text, status = read_all(machine, call, paths)
    count = options.get("n", options.get("lines", "10"))
    if not is_known(text) or "c" in options or not re.fullmatch(r"[-+]?\d+", count):
        call.write(UNKNOWN)
        return status
    lines, number = split_lines(text), int(count)
    if call.name.endswith("head"):
        lines = lines[:number]
    elif count.startswith("+"):
        lines = lines[max(number - 1, 0) :]
    else:
        lines = lines[-abs(number) :] if number else []
    print_lines(call, lines)
    return status


def _sort(machine: Machine, call: Call) -> Status:
    options, paths = split_options(call.arguments, "k key t field-separator o output")
    text, status = read_all(machine, call, paths)
    if not is_known(text) or {"k", "key", "t", "V", "h"} & options.keys():
        call.write(UNKNOWN)
        return status
    lines = sorted(split_lines(text))
    if "n" in options:
        lines.sort(key=lambda line: int(match[0]) if (match := re.match(r"\s*-?\d+", line)) else 0)
    if "u" in options or "unique" in options:
        lines = list(dict.fromkeys(lines))
    print_lines(call, lines[::-1] if "r" in options else lines)
    return status


def _uniq(machine: Machine, call: Call) -> Status:
    options, paths = split_options(call.arguments)
    text, status = read_all(machine, call, paths)
    if not is_known(text):
        call.write(UNKNOWN)
        return status
    counted: list[tuple[str, int]] = []
    for line in split_lines(text):
        if counted and counted[-1][0] == line:
            counted[-1] = (line, counted[-1][1] + 1)
        else:
            counted.append((line, 1))
    if "d" in options:
        counted = [each for each in counted if each[1] > 1]
    if "u" in options:
        counted = [each for each in counted if each[1] == 1]
    print_lines(call, [f"{count:7} {line}" if "c" in options else line for line, count in counted])
    return status


def _wc(machine: Machine, call: Call) -> Status:
    options, paths = split_options(call.arguments)
    text, status = read_all(machine, call, paths)
    if not is_known(text):
        call.write(UNKNOWN)
        return status
    count = text.count("\n") if "l" in options else len(text.split()) if "w" in options else len(text.encode())
    call.write(f"{count}\n")
    return status


COMMANDS: dict[str, Emulation] = {
    "cat": _cat,
    "cut": _cut,
    "tr": _tr,
    "head": _head,
    "tail": _head,
    "sort": _sort,
    "uniq": _uniq,
    "wc": _wc,
}
