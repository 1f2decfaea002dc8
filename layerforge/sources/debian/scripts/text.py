"""Programs that print and change text: grep, sed, cut and their like, as far as maintainer scripts use them."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

from layerforge.shell.arithmetic import calculate
from layerforge.shell.evaluate import Call
from layerforge.shell.values import UNKNOWN, Status, is_known
from layerforge.shell.words import ScriptError
from layerforge.sources.debian.scripts.calls import Emulation, split_options
from layerforge.sources.debian.scripts.editing import Editing, edit, translate_expression

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


def _lines(text: str) -> list[str]:
    return text.removesuffix("\n").split("\n") if text else []


def _print(call: Call, lines: list[str]) -> None:
    call.write("".join(f"{line}\n" for line in lines))


def _cat(machine: Machine, call: Call) -> Status:
    _, paths = split_options(call.arguments)
    text, status = read_all(machine, call, paths)
    call.write(text)
    return status


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
    for number, line in enumerate(_lines(text), 1):
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
        _print(call, paths[:1] if found else [])
    elif {"c", "count"} & options.keys():
        _print(call, [str(len(found))])
    elif not is_quiet:
        _print(call, found)
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
    for line in _lines(text):
        parts = line.split(delimiter) if by_field else list(line)
        if by_field and len(parts) == 1:
            found += [] if "s" in options else [line]
            continue
        kept = [part for number, part in enumerate(parts, 1) if any(a <= number <= b for a, b in ranges)]
        found.append((delimiter if by_field else "").join(kept))
    _print(call, found)
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
    lines, number = _lines(text), int(count)
    if call.name.endswith("head"):
        lines = lines[:number]
    elif count.startswith("+"):
        lines = lines[max(number - 1, 0) :]
    else:
        lines = lines[-abs(number) :] if number else []
    _print(call, lines)
    return status


def _sort(machine: Machine, call: Call) -> Status:
    options, paths = split_options(call.arguments, "k key t field-separator o output")
    text, status = read_all(machine, call, paths)
    if not is_known(text) or {"k", "key", "t", "V", "h"} & options.keys():
        call.write(UNKNOWN)
        return status
    lines = sorted(_lines(text))
    if "n" in options:
        lines.sort(key=lambda line: int(match[0]) if (match := re.match(r"\s*-?\d+", line)) else 0)
    if "u" in options or "unique" in options:
        lines = list(dict.fromkeys(lines))
    _print(call, lines[::-1] if "r" in options else lines)
    return status


def _uniq(machine: Machine, call: Call) -> Status:
    options, paths = split_options(call.arguments)
    text, status = read_all(machine, call, paths)
    if not is_known(text):
        call.write(UNKNOWN)
        return status
    counted: list[tuple[str, int]] = []
    for line in _lines(text):
        if counted and counted[-1][0] == line:
            counted[-1] = (line, counted[-1][1] + 1)
        else:
            counted.append((line, 1))
    if "d" in options:
        counted = [each for each in counted if each[1] > 1]
    if "u" in options:
        counted = [each for each in counted if each[1] == 1]
    _print(call, [f"{count:7} {line}" if "c" in options else line for line, count in counted])
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


def _basename(machine: Machine, call: Call) -> Status:
    del machine
    arguments = [argument for argument in call.arguments if argument != "--"]
    if not is_known(*arguments) or not arguments:
        call.write(f"{UNKNOWN}\n")
        return 0
    path = arguments[0].rstrip("/")
    if call.name.endswith("dirname"):
        parent, slash, _ = path.rpartition("/")
        call.write(f"{parent or ('/' if slash or arguments[0] == '/' else '.')}\n")
        return 0
    name = path.rpartition("/")[2] or "/"
    suffix = arguments[1] if len(arguments) > 1 else ""
    call.write(f"{name.removesuffix(suffix) or name}\n")
    return 0


def _expr(machine: Machine, call: Call) -> Status:
    del machine
    arguments = call.arguments
    if not is_known(*arguments):
        call.write(f"{UNKNOWN}\n")
        return None
    if len(arguments) == 3 and arguments[1] in (":", "match"):
        match = re.match(translate_expression(arguments[2], False), arguments[0])
        result = "" if match is None else (match[1] or "") if match.re.groups else str(match.end())
        result = result if match or "\\(" in arguments[2] else "0"
    elif len(arguments) == 3 and arguments[1] in ("=", "!="):
        result = str(int((arguments[0] == arguments[2]) == (arguments[1] == "=")))
    else:
        try:
            result = str(
                calculate(" ".join({"=": "=="}.get(word, word) for word in arguments), lambda _: "", _no_assign)
            )
        except ScriptError:
            call.write(f"{UNKNOWN}\n")
            return None
    call.write(f"{result}\n")
    return int(result in ("", "0"))


def _no_assign(_: str, __: str) -> None:
    raise ScriptError("expr assigns nothing")


def _seq(machine: Machine, call: Call) -> Status:
    del machine
    numbers = [int(argument) for argument in call.arguments if re.fullmatch(r"-?\d+", argument)]
    first, last = (1, numbers[0]) if len(numbers) == 1 else (numbers[0], numbers[-1]) if numbers else (1, 0)
    step = numbers[1] if len(numbers) == 3 else 1
    _print(call, [str(number) for number in range(first, min(last, first + 10_000) + 1, step or 1)])
    return 0


def _xargs(machine: Machine, call: Call) -> Status:
    del machine
    options, words = [], list(call.arguments)
    while words and words[0].startswith("-"):
        options.append(words.pop(0))
        if options[-1] in ("-n", "-I", "-P", "-L", "-d", "-s"):
            options.append(words.pop(0))
    text = call.read()
    if not is_known(text) or "-I" in options:
        call.unsure("its arguments are not known")
        return None
    arguments = text.split("\0") if "-0" in options else text.split()
    if not arguments and ("-r" in options or "--no-run-if-empty" in options):
        return 0
    name, *fixed = words or ["echo"]
    if "-n1" in options or ("-n" in options and options[options.index("-n") + 1] == "1"):
        status: Status = 0
        for argument in arguments:
            status = call.shell.call(name, (*fixed, argument)) or status
        return status
    return call.shell.call(name, (*fixed, *arguments))


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
    for line in _lines(text):
        if pattern and not re.search(translate_expression(pattern, True), line):
            continue
        parts = re.split(options["F"], line) if len(options.get("F", "")) > 1 else line.split(options.get("F") or None)
        number = len(parts) if field == "$NF" else int((field or "$0")[1:])
        found.append(line if number == 0 else parts[number - 1] if number <= len(parts) else "")
    _print(call, found)
    return status


def _env(_: Machine, call: Call) -> Status:
    words = list(call.arguments)
    while words and (words[0].startswith("-") or "=" in words[0]):
        words.pop(0)
    return call.shell.call(words[0], tuple(words[1:]), call.text, functions=False) if words else 0


COMMANDS: dict[str, Emulation] = {
    "cat": _cat,
    "grep": _grep,
    "egrep": _grep,
    "fgrep": _grep,
    "sed": _sed,
    "cut": _cut,
    "tr": _tr,
    "head": _head,
    "tail": _head,
    "sort": _sort,
    "uniq": _uniq,
    "wc": _wc,
    "basename": _basename,
    "dirname": _basename,
    "expr": _expr,
    "seq": _seq,
    "xargs": _xargs,
    "awk": _awk,
    "gawk": _awk,
    "mawk": _awk,
    "env": _env,
    "nice": _env,
    "ionice": _env,
}
