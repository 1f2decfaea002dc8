"""The commands that are part of the shell (POSIX.1-2017, XCU 2.14, and those of dash)."""

from __future__ import annotations

import re

from layerforge.shell.calls import Call, Command, Exit
from layerforge.shell.conditions import Condition, TestError
from layerforge.shell.printing import format_text, unescape
from layerforge.shell.values import UNKNOWN, Status, is_known, status_of


def _true(_: Call) -> Status:
    return 0


def _false(_: Call) -> Status:
    return 1


def _number(call: Call, default: int | None) -> Status:
    text = call.arguments[0] if call.arguments else ""
    return int(text) % 256 if text.isdigit() else (None if text else default)


def _exit(call: Call) -> Status:
    raise Exit(_number(call, call.shell.status))


def _return(call: Call) -> Status:
    call.shell.leave_function(_number(call, call.shell.status))
    return 0


def _break(call: Call) -> Status:
    call.shell.leave_loop(_number(call, 1) or 1, again=call.name == "continue")
    return 0


def _echo(call: Call) -> Status:
    arguments = list(call.arguments)
    end = "\n"
    if arguments and arguments[0] == "-n":
        arguments, end = arguments[1:], ""
    text, cut = unescape(" ".join(arguments))
    call.write(text + ("" if cut else end))
    return 0


def _printf(call: Call) -> Status:
    arguments = call.arguments[1:] if call.arguments[:1] == ("--",) else call.arguments
    if not arguments:
        return 2
    call.write(format_text(arguments[0], arguments[1:]) if is_known(arguments[0]) else UNKNOWN)
    return 0


def _test(call: Call) -> Status:
    arguments = call.arguments
    if call.name == "[":
        if not arguments or arguments[-1] != "]":
            return 2
        arguments = arguments[:-1]
    try:
        return status_of(Condition(arguments, call.files, call.path).value())
    except TestError:
        return 2


def _cd(call: Call) -> Status:
    target = call.arguments[-1] if call.arguments else call.shell.get("HOME", "/")
    path = call.files.real(call.path(target))
    if call.files.kind(path) == "":
        return 2
    call.shell.folder = path
    return 0


def _pwd(call: Call) -> Status:
    call.write(f"{call.shell.folder}\n")
    return 0


def _set(call: Call) -> Status:
    shell, arguments = call.shell, list(call.arguments)
    while arguments and re.fullmatch(r"[-+][A-Za-z]+", arguments[0]):
        flags = arguments.pop(0)
        letters = set(flags[1:])
        if "o" in letters and arguments:
            letters = letters - {"o"} | {{"errexit": "e", "nounset": "u", "noglob": "f"}.get(arguments.pop(0), "")}
        letters.discard("")
        shell.options = shell.options | letters if flags[0] == "-" else shell.options - letters
    if arguments:
        shell.arguments = tuple(arguments[1:] if arguments[0] in ("--", "-") else arguments)
    return 0


def _shift(call: Call) -> Status:
    count = _number(call, 1) or 0
    if count > len(call.shell.arguments):
        call.shell.fail("shift: can't shift that many")
    call.shell.arguments = call.shell.arguments[count:]
    return 0


def _declare(call: Call) -> Status:
    """``export``, ``readonly``, ``local``."""
    for argument in call.arguments:
        match = re.match(r"([A-Za-z_]\w*)(=?)", argument)
        if match is None:
            continue
        if call.name == "local":
            call.shell.make_local(match[1])
        if match[2]:
            call.shell.assign(match[1], argument[match.end() :])
    return 0


def _unset(call: Call) -> Status:
    if call.arguments[:1] == ("-f",):
        for name in call.arguments[1:]:
            call.shell.functions.pop(name, None)
        return 0
    for name in call.arguments:
        call.shell.unset(name)
    return 0


def _read(call: Call) -> Status:
    raw = False
    names = list(call.arguments)
    while names and names[0].startswith("-"):
        option = names.pop(0)
        raw = raw or "r" in option
        if option.endswith(("p", "n", "t", "d")) and names:
            names.pop(0)
    names = names or ["REPLY"]
    line = call.shell.source.read_line()
    if line == UNKNOWN:
        for name in names:
            call.shell.assign(name, UNKNOWN)
        return None
    text = line or ""
    while not raw and text.endswith("\\\n"):
        text = text[:-2] + (call.shell.source.read_line() or "")
    status = 0 if text.endswith("\n") else 1
    text = text.removesuffix("\n")
    if not raw:
        text = re.sub(r"\\(.)", r"\1", text)
    separators = call.shell.get("IFS", " \t\n")
    for name, value in zip(names, _fields(text, separators, len(names)), strict=True):
        call.shell.assign(name, value)
    return status


def _fields(text: str, separators: str, count: int) -> list[str]:
    """``text`` as exactly ``count`` fields; the last one takes the rest."""
    blanks = "".join(char for char in separators if char in " \t\n")
    others = "".join(char for char in separators if char not in " \t\n")
    text = text.strip(blanks) if blanks else text
    if not separators:
        return [text, *[""] * (count - 1)]
    soft = f"[{re.escape(blanks)}]" if blanks else "(?:(?!))"
    hard = f"[{re.escape(others)}]" if others else "(?!)"
    fields = re.split(f"{soft}*{hard}{soft}*|{soft}+", text, maxsplit=count - 1) if count > 1 else [text]
    if others and fields[-1][-1:] in tuple(others) and not set(others) & set(fields[-1][:-1]):
        fields[-1] = fields[-1][:-1]
    return [*fields, *[""] * (count - len(fields))]


def _eval(call: Call) -> Status:
    text = " ".join(call.arguments)
    if not is_known(text):
        call.unsure("what it evaluates is not known")
        return None
    return call.shell.run_text(text)


def _dot(call: Call) -> Status:
    return call.shell.host.source(call.shell, call.path(call.arguments[0])) if call.arguments else 2


def _exec(call: Call) -> Status:
    raise Exit(call.shell.call(call.arguments[0], call.arguments[1:], call.text, functions=False))


def _command(call: Call) -> Status:
    if call.arguments[:1] in (("-v",), ("-V",)):
        return _locate(call, call.arguments[1:])
    arguments = call.arguments[1:] if call.arguments[:1] in (("-p",), ("--",)) else call.arguments
    return call.shell.call(arguments[0], arguments[1:], call.text, functions=False) if arguments else 0


def _locate(call: Call, names: tuple[str, ...]) -> Status:
    """``command -v``, ``type``, ``which``: where the commands ``names`` are."""
    status: Status = 0
    for name in names:
        builtin = name in BUILTINS or name in call.shell.functions
        found = name if builtin and call.name != "which" else call.shell.host.locate(name)
        if found is None:
            status = None
        elif found:
            call.write(f"{found}\n")
        elif status == 0:
            status = 127 if call.name != "which" else 1
    return status


def _which(call: Call) -> Status:
    return _locate(call, tuple(argument for argument in call.arguments if not argument.startswith("-")))


def _umask(call: Call) -> Status:
    if not call.arguments:
        call.write(f"{call.shell.umask:04o}\n")
    elif re.fullmatch("[0-7]{1,4}", call.arguments[0]):
        call.shell.umask = int(call.arguments[0], 8)
    return 0


def _getopts(call: Call) -> Status:
    letters, name, *rest = (*call.arguments, "", "")[: max(2, len(call.arguments))]
    arguments = tuple(rest) if len(call.arguments) > 2 else call.shell.arguments
    index, _, inner = call.shell.get("OPTIND", "1").partition(".")
    position, offset = int(index), int(inner or 1)
    if position > len(arguments) or not re.match(r"-[^-]", arguments[position - 1]):
        call.shell.assign(name, "?")
        if position <= len(arguments) and arguments[position - 1] == "--":
            call.shell.assign("OPTIND", str(position + 1))
        return 1
    word = arguments[position - 1]
    letter = word[offset]
    following = f"{position}.{offset + 1}" if offset + 1 < len(word) else str(position + 1)
    call.shell.unset("OPTARG")
    if letter in letters and letters[letters.index(letter) + 1 :][:1] == ":":
        value = word[offset + 1 :] or (arguments[position] if position < len(arguments) else "")
        following = str(position + (1 if word[offset + 1 :] else 2))
        call.shell.assign("OPTARG", value)
    call.shell.assign("OPTIND", following)
    call.shell.assign(name, letter if letter in letters else "?")
    return 0


BUILTINS: dict[str, Command] = {
    ":": _true,
    "true": _true,
    "false": _false,
    "exit": _exit,
    "return": _return,
    "break": _break,
    "continue": _break,
    "echo": _echo,
    "printf": _printf,
    "test": _test,
    "[": _test,
    "cd": _cd,
    "pwd": _pwd,
    "set": _set,
    "shift": _shift,
    "export": _declare,
    "readonly": _declare,
    "local": _declare,
    "unset": _unset,
    "read": _read,
    "eval": _eval,
    ".": _dot,
    "exec": _exec,
    "command": _command,
    "type": _which,
    "which": _which,
    "hash": _which,
    "umask": _umask,
    "getopts": _getopts,
    # A script that is read gets no signals and has no children.
    "trap": _true,
    "wait": _true,
    "ulimit": _true,
}
"""The table. ``which`` is a program, but one that answers like ``command -v``."""
