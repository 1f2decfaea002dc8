"""What every emulated command gets besides its arguments: the machine of this root that scripts talk to."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from layerforge.shell.calls import Call, Command
from layerforge.shell.values import Status

if TYPE_CHECKING:
    from layerforge.sources.debian.scripts.machine import Machine

Emulation = Callable[["Machine", Call], Status]
"""One command of the table: does to the machine's world what the program would do, and answers its exit status."""


def bind(machine: Machine, emulation: Emulation) -> Command:
    """``emulation`` as a shell's command."""
    return lambda call: emulation(machine, call)


def done(machine: Machine, call: Call) -> Status:
    """A program with nothing to do in a root that is new."""
    del machine, call
    return 0


def split_options(arguments: tuple[str, ...], with_value: str = "") -> tuple[dict[str, str], list[str]]:
    """Options and other arguments, GNU style. ``with_value`` names options that take one: ``"m mode o owner"``.

    Short options may be joined, values may follow after ``=``; a later option replaces an earlier one.
    """
    valued = set(with_value.split())
    options: dict[str, str] = {}
    rest: list[str] = []
    waiting = list(arguments)
    while waiting:
        argument = waiting.pop(0)
        if argument == "--":
            rest += waiting
            break
        if argument.startswith("--"):
            name, equal, value = argument[2:].partition("=")
            if not equal and name in valued and waiting:
                value = waiting.pop(0)
            options[name] = value
        elif argument.startswith("-") and len(argument) > 1:
            letters = argument[1:]
            while letters:
                letter, letters = letters[0], letters[1:]
                options[letter] = ""
                if letter in valued:
                    options[letter] = letters or (waiting.pop(0) if waiting else "")
                    break
        else:
            rest.append(argument)
    return options, rest
