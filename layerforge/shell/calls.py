"""What the shell and its commands are to each other: a call, who answers it, and how a script leaves what it is in."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import msgspec

from layerforge.shell.streams import Files
from layerforge.shell.values import Status

if TYPE_CHECKING:
    from layerforge.shell.evaluate import Shell


class Call(msgspec.Struct, frozen=True):
    """One command as it is called: its name, arguments after expansion, and the shell that calls it."""

    shell: Shell
    name: str
    arguments: tuple[str, ...]
    text: str

    def write(self, text: str) -> None:
        """To standard output."""
        self.shell.sink(1).write(text)

    def read(self) -> str:
        """All of standard input."""
        return self.shell.source.read()

    @property
    def files(self) -> Files:
        """The model of the files."""
        return self.shell.files

    def path(self, argument: str) -> str:
        """An argument as an absolute path."""
        return self.shell.path(argument)

    def unsure(self, why: str) -> None:
        """Report that this call was not done, or not in full."""
        self.shell.host.report(self.text, why)


Command = Callable[[Call], Status]
"""An emulated command."""


class Host(Protocol):
    """What the shell is embedded in."""

    def command(self, name: str) -> Command | None:
        """The emulation of a command."""

    def run_missing(self, call: Call) -> Status:
        """What to do about a command without an emulation."""

    def locate(self, name: str) -> str | None:
        """The path of the program ``name``; empty if there is none, None if that is not known."""

    def source(self, shell: Shell, path: str) -> Status:
        """Take the commands of a file into ``shell`` (the ``.`` command)."""

    def report(self, text: str, why: str) -> None:
        """Something was not done: the command's text, and why."""


class Exit(Exception):
    """The script, or the subshell, ends; ``text`` is the command that failed, if one did."""

    def __init__(self, status: Status, text: str = "") -> None:
        self.status, self.text = status, text


class Return(Exception):
    """``return``: the function ends."""

    def __init__(self, status: Status) -> None:
        self.status = status


class Loop(Exception):
    """``break`` and ``continue``, with the number of loops that it concerns."""

    def __init__(self, count: int, again: bool) -> None:
        self.count, self.again = count, again
