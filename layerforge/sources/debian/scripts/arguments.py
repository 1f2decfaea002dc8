"""Programs that make something of their arguments, or call others with them: basename, expr, seq, xargs, env."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from layerforge.shell.arithmetic import calculate
from layerforge.shell.calls import Call
from layerforge.shell.values import UNKNOWN, Status, is_known
from layerforge.shell.words import ScriptError
from layerforge.sources.debian.scripts.calls import Emulation
from layerforge.sources.debian.scripts.editing import translate_expression
from layerforge.sources.debian.scripts.text import print_lines

if TYPE_CHECKING:
    from layerforge.sources.debian.scripts.machine import Machine


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
    print_lines(call, [str(number) for number in range(first, min(last, first + 10_000) + 1, step or 1)])
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


def _env(_: Machine, call: Call) -> Status:
    words = list(call.arguments)
    while words and (words[0].startswith("-") or "=" in words[0]):
        words.pop(0)
    return call.shell.call(words[0], tuple(words[1:]), call.text, functions=False) if words else 0


COMMANDS: dict[str, Emulation] = {
    "basename": _basename,
    "dirname": _basename,
    "expr": _expr,
    "seq": _seq,
    "xargs": _xargs,
    "env": _env,
    "nice": _env,
    "ionice": _env,
}
