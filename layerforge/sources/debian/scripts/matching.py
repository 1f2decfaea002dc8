"""Programs that find and change text by expressions: grep, sed, and what scripts mostly use awk for."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

from layerforge.shell.calls import Call
from layerforge.shell.values import UNKNOWN, Status, is_known
from layerforge.shell.words import ScriptError
from layerforge.sources.debian.scripts.calls import Emulation, split_options
from layerforge.sources.debian.scripts.editing import Editing, edit, translate_expression
from layerforge.sources.debian.scripts.text import print_lines, read_all, split_lines

if TYPE_CHECKING:
    from layerforge.sources.debian.scripts.machine import Machine


def _grep(machine: Machine, call: Call) -> Status:
    options, paths = split_options(call.arguments, "e regexp f file m max-count A B C color")
    pattern = options.get("e", options.get("regexp"))
    if pattern is None:
        if not paths:
            return 2
        pattern, paths = paths[0], paths[1:]
    if {"f", "r", "R", "A", "B", "C"} & options.keys():
        call.write(UNKNOWN)
        return None
    is_quiet = bool({"q", "quiet", "silent"} & options.keys())
    text, status = read_all(machine, call, paths)
    if status and not text:
        return 2
    if not is_known(text, pattern):
        if not is_quiet:
            call.write(UNKNOWN)
        return None
    kind = "F" if call.name.endswith("fgrep") else "E" if call.name.endswith("egrep") else ""
    kind = next((letter for letter in "FEP" if letter in options), kind)
    try:
        expressions = [
            re.compile(
                re.escape(one) if kind == "F" else one if kind == "P" else translate_expression(one, kind == "E"),
                re.IGNORECASE if "i" in options else 0,
            )
            for one in pattern.split("\n")
        ]
    except re.error:
        return None
    found: list[str] = []
    numbered = bool({"n", "line-number"} & options.keys())
    for number, line in enumerate(split_lines(text), 1):
        prefix = f"{number}:" if numbered else ""
        if "x" in options or "line-regexp" in options:
            hits = [match for each in expressions if (match := each.fullmatch(line))]
        elif "w" in options:
            hits = [match for each in expressions if (match := re.search(rf"\b(?:{each.pattern})\b", line))]
        else:
            hits = [match for each in expressions if (match := each.search(line))]
        if bool(hits) != bool({"v", "invert-match"} & options.keys()):
            if "o" in options or "only-matching" in options:
                found += [prefix + match[0] for each in expressions for match in each.finditer(line) if match[0]]
            else:
                found.append(prefix + line)
    limit = options.get("m", options.get("max-count", ""))
    found = found[: int(limit)] if limit.isdigit() else found
    if {"l", "files-with-matches"} & options.keys():
        print_lines(call, paths[:1] if found else [])
    elif {"c", "count"} & options.keys():
        print_lines(call, [str(len(found))])
    elif not is_quiet:
        print_lines(call, found)
    return 0 if found else 1


def _sed(machine: Machine, call: Call) -> Status:
    arguments = tuple("--in-place" if re.match(r"-i|--in-place", argument) else argument for argument in call.arguments)
    scripts = [b for a, b in pairwise(arguments) if a in ("-e", "--expression")]
    scripts += [argument.split("=", 1)[1] for argument in arguments if argument.startswith("--expression=")]
    options, paths = split_options(arguments, "e expression f file")
    if not scripts:
        match = next(
            (name for name in options if name not in ("n", "E", "r", "in-place", "quiet", "silent", "s")), None
        )
        scripts, paths = ([options["e"]], paths) if match == "e" else (paths[:1], paths[1:])
    extended = bool({"E", "r", "regexp-extended"} & options.keys())
    silent = bool({"n", "quiet", "silent"} & options.keys())
    texts = [read_all(machine, call, [path])[0] for path in paths] if "in-place" in options else []
    if "in-place" in options and any(machine.world.kind(call.path(path)) == "" for path in paths):
        return 4
    try:
        if "f" in options or not is_known(*scripts):
            raise ScriptError("the commands are not known")
        program = Editing("\n".join(scripts), extended)
        if "in-place" in options:
            for path, text in zip(paths, texts, strict=True):
                machine.world.write_text(call.path(path), edit(program, text, silent) if is_known(text) else UNKNOWN)
                if not is_known(text):
                    call.unsure("the content of the file is not known")
            return 0
        text, status = read_all(machine, call, paths)
        call.write(edit(program, text, silent) if is_known(text) else UNKNOWN)
        return 2 if status else 0
    except (ScriptError, re.error) as error:
        call.write(UNKNOWN)
        call.unsure(str(error))
        return None


_AWK = re.compile(r"\s*(?:/((?:[^/\\]|\\.)*)/)?\s*\{\s*print\s*(\$(?:\d+|NF))?\s*;?\s*\}\s*")


def _awk(machine: Machine, call: Call) -> Status:
    """One field of each line, or of those that match: what scripts mostly use awk for."""
    options, words = split_options(call.arguments, "F v f")
    program, paths = (words[0] if words else ""), words[1:]
    match = _AWK.fullmatch(program)
    text, status = read_all(machine, call, paths)
    if match is None or "f" in options or not is_known(text):
        call.write(UNKNOWN)
        if match is None:
            call.unsure("this use of awk is not emulated")
        return None if match is None else status
    pattern, field = match.groups()
    found: list[str] = []
    for line in split_lines(text):
        if pattern and not re.search(translate_expression(pattern, True), line):
            continue
        parts = re.split(options["F"], line) if len(options.get("F", "")) > 1 else line.split(options.get("F") or None)
        number = len(parts) if field == "$NF" else int((field or "$0")[1:])
        found.append(line if number == 0 else parts[number - 1] if number <= len(parts) else "")
    print_lines(call, found)
    return status


COMMANDS: dict[str, Emulation] = {
    "grep": _grep,
    "egrep": _grep,
    "fgrep": _grep,
    "sed": _sed,
    "awk": _awk,
    "gawk": _awk,
    "mawk": _awk,
}
