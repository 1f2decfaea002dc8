"""debconf without its database: questions have the defaults of the packages' templates, and nobody is asked.

That is what the frontend ``noninteractive`` does on a new system. Source: debconf-devel(7).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from layerforge.shell.calls import Call
from layerforge.shell.values import Status
from layerforge.sources.debian.control import parse_fields
from layerforge.sources.debian.rootstate import DebFacts
from layerforge.sources.debian.scripts.calls import Emulation

if TYPE_CHECKING:
    from layerforge.sources.debian.scripts.machine import Machine

_NOT_SHOWN = 30
"""db_input's status for a question that is not asked."""
_NO_SUCH = 10

_COMPUTED = {"libpaper/defaultpaper": "a4"}
"""Defaults that a package's ``config`` works out: the paper of the locale C is 210 by 297 mm (locale(5))."""


class Answers:
    """The questions that are known, with their fields, values and flags."""

    def __init__(self) -> None:
        self._templates: dict[str, dict[str, str]] = {}
        self._values: dict[str, str] = {}
        self._flags: dict[tuple[str, str], str] = {}
        self._words: dict[tuple[str, str], str] = {}
        self._loaded: set[str] = set()

    def load(self, facts: DebFacts) -> bool:
        """Take the questions of a package; False if that was done before."""
        if facts.record in self._loaded:
            return False
        self._loaded.add(facts.record)
        member = facts.control.get("templates")
        self.add(member.content.decode("utf-8", "replace") if member else "")
        return True

    def add(self, templates: str) -> None:
        """Take the questions of a templates file."""
        for stanza in templates.split("\n\n"):
            fields = {name.lower(): value for name, value in parse_fields(stanza.strip("\n")).items()}
            if "template" in fields:
                self._templates.setdefault(fields["template"], fields)

    def register(self, template: str, question: str) -> None:
        """A question like a template."""
        self._templates.setdefault(question, dict(self._templates.get(template, {})))

    def get(self, question: str) -> str | None:
        """The value of a question; None if there is no such question."""
        if question in self._values:
            return self._values[question]
        fields = self._templates.get(question)
        return None if fields is None else fields.get("default", "") or _COMPUTED.get(question, "")

    def set(self, question: str, value: str) -> None:
        """Answer a question."""
        self._values[question] = value

    def reset(self, question: str) -> None:
        """Back to the default."""
        self._values.pop(question, None)

    def field(self, question: str, name: str) -> str | None:
        """A field of a question's template."""
        fields = self._templates.get(question)
        if fields is None:
            return None
        text = self.get(question) or "" if name == "value" else fields.get(name.lower(), "")
        return re.sub(r"\$\{(\w+)\}", lambda match: self._words.get((question, match[1]), ""), text)

    def substitute(self, question: str, word: str, text: str) -> None:
        """Put ``text`` for ``${word}`` in the question's fields."""
        self._words[question, word] = text

    def flag(self, question: str, name: str, value: str | None = None) -> str:
        """A flag's value, after setting it if one is given."""
        if value is not None:
            self._flags[question, name] = value
        return self._flags.get((question, name), "false")


def _db(machine: Machine, call: Call) -> Status:
    name = call.name.removeprefix("db_")
    arguments = (*call.arguments, "", "", "")
    answers = machine.answers
    status: Status = 0
    result: str | None = ""
    if name == "get":
        result = answers.get(arguments[0])
    elif name == "set":
        answers.set(arguments[0], " ".join(call.arguments[1:]))
    elif name == "reset":
        answers.reset(arguments[0])
    elif name == "metaget":
        result = answers.field(arguments[0], arguments[1])
    elif name == "fget":
        result = answers.flag(arguments[0], arguments[1])
    elif name == "fset":
        answers.flag(arguments[0], arguments[1], arguments[2])
    elif name == "subst":
        answers.substitute(arguments[0], arguments[1], " ".join(call.arguments[2:]))
    elif name == "register":
        answers.register(arguments[0], arguments[1])
    elif name == "input":
        status = _NOT_SHOWN
    elif name == "version":
        result = "2.0"
    elif name == "x_loadtemplatefile":
        text = machine.world.read_text(call.path(arguments[0]))
        answers.add(text or "")
    call.shell.assign("RET", result or "")
    return _NO_SUCH if result is None else status


COMMANDS: dict[str, Emulation] = {
    f"db_{name}": _db
    for name in (
        *("get", "set", "reset", "metaget", "fget", "fset", "register", "unregister", "input", "go", "stop", "purge"),
        *("subst", "title", "settitle", "version", "capb", "beginblock", "endblock", "progress", "info", "clear"),
        *("x_loadtemplatefile", "data", "visible", "exist", "text", "error"),
    )
}
