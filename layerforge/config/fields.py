"""Reading the members of a mapping one by one: types, unknown keys, and a complaint with a line for each fault."""

from __future__ import annotations

import difflib
from collections.abc import Mapping as Table

from layerforge.config.document import Mapping, Member, Scalar, Sequence, Value
from layerforge.config.values import Entry
from layerforge.errors import Problem

_TRUE = {"true", "yes", "on", "y"}
_FALSE = {"false", "no", "off", "n"}
_MAX_PROBLEMS = 100


class Findings:
    """What was found wrong (``problems``) and what should be said anyway (``warnings``), in any order."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.lines: dict[str, int] = {}

    def refuse(self, line: int, message: str, hint: str = "") -> None:
        """Record a fault."""
        self.problems.append(Problem(self.path, line, message, hint))

    def warn(self, line: int, message: str, hint: str = "") -> None:
        """Record a remark that stops nothing."""
        self.warnings.append(Problem(self.path, line, message, hint))

    def sorted_problems(self) -> tuple[Problem, ...]:
        """The faults in file order, the first hundred."""
        found = sorted(self.problems, key=lambda problem: problem.line)
        rest = len(found) - _MAX_PROBLEMS
        if rest > 0:
            found = [*found[:_MAX_PROBLEMS], Problem(self.path, 0, f"and {rest} more problems")]
        return tuple(found)


class Section:
    """One mapping. Every ``take`` marks its key as known; :meth:`finish` complains about the keys nobody took.

    A key whose value is null counts as absent, as in files where everything below it is a comment.
    """

    def __init__(self, value: Value | None, name: str, findings: Findings, *, example: str = "") -> None:
        self.name = name
        self.findings = findings
        self._members: dict[str, Member] = {}
        self._taken: list[str] = []
        self._passed: set[str] = set()
        if isinstance(value, Mapping):
            self._members = {member.key: member for member in value.members}
            for member in value.members:
                findings.lines[self.path_of(member.key)] = member.line
        elif value is not None and not _is_null(value):
            found = describe(value)
            findings.refuse(value.line, f"{name or 'the file'}: expected a mapping, found {found}", example)

    def path_of(self, key: str) -> str:
        """The dotted name of ``key``."""
        return f"{self.name}.{key}" if self.name else key

    def line_of(self, key: str) -> int:
        """The line of ``key``, or 0."""
        member = self._members.get(key)
        return member.line if member else 0

    def take(self, key: str) -> Value | None:
        """The value of ``key``, or None when it is absent or null."""
        self._taken.append(key)
        member = self._members.get(key)
        return None if member is None or _is_null(member.value) else member.value

    def pass_over(self, key: str) -> bool:
        """Accept ``key`` whatever its value, without offering it as a known key; whether it was there."""
        self._passed.add(key)
        return key in self._members

    def text(self, key: str, *, hint: str = "") -> str:
        """A string, as written; numbers and booleans are taken by their text. Empty when absent."""
        value = self.take(key)
        if value is None:
            return ""
        if not isinstance(value, Scalar):
            self.findings.refuse(value.line, f"{self.path_of(key)}: expected a string, found {describe(value)}", hint)
            return ""
        return value.text.strip()

    def boolean(self, key: str, *, default: bool = False) -> bool:
        """True or false; ``default`` when absent."""
        value = self.take(key)
        if value is None:
            return default
        word = value.text.lower() if isinstance(value, Scalar) else ""
        if word in _TRUE | _FALSE:
            return word in _TRUE
        self.findings.refuse(
            value.line,
            f"{self.path_of(key)}: expected true or false, found {describe(value)}",
            f"write `{key}: true` or `{key}: false`",
        )
        return False

    def integer(self, key: str) -> int | None:
        """A whole number in decimal digits; None when absent."""
        value = self.take(key)
        if value is None:
            return None
        text = value.text.strip().replace("_", "") if isinstance(value, Scalar) else ""
        digits = text.removeprefix("-").removeprefix("+")
        if digits.isascii() and digits.isdigit() and len(digits) < 19:
            return int(text)
        found = describe(value)
        self.findings.refuse(value.line, f"{self.path_of(key)}: expected a whole number, found {found}")
        return None

    def entries(self, key: str, *, example: str) -> tuple[Entry, ...]:
        """A list of strings. ``example`` is an item to show when something else stands there."""
        value = self.take(key)
        if value is None:
            return ()
        name = self.path_of(key)
        if not isinstance(value, Sequence):
            found = describe(value)
            self.findings.refuse(value.line, f"{name}: expected a list, found {found}", as_list(key, value, example))
            return ()
        entries = []
        for item in value.items:
            if isinstance(item, Scalar) and item.kind != "null" and item.text.strip():
                entries.append(Entry(item.text, item.line))
            elif isinstance(item, Scalar):
                self.findings.refuse(item.line, f"{name}: an empty item", "delete the dash or write the item")
            else:
                hint = f"write an item as one string, such as `- {example}`, in quotes if it holds `: `"
                self.findings.refuse(item.line, f"{name}: expected a string, found {describe(item)}", hint)
        return tuple(entries)

    def finish(self, misplaced: Table[str, str] = {}, retired: Table[str, str] = {}) -> None:
        """Refuse the keys that were not taken.

        ``misplaced`` maps a key to the section it belongs under; ``retired`` maps a key to what to write instead.
        """
        for key, member in self._members.items():
            if key in self._taken or key in self._passed:
                continue
            name = shorten(self.path_of(key))
            if key in retired:
                self.findings.refuse(member.line, f"{name}: no longer understood", retired[key])
                continue
            near = difflib.get_close_matches(key[:60], self._taken, n=1, cutoff=0.6)
            if key in misplaced:
                where = misplaced[key]
                hint = f"move it under `{where}:`" if where else "move it to the top level of the file"
            elif near:
                hint = f"did you mean {near[0]}?"
            else:
                hint = f"known here: {', '.join(sorted(self._taken))}"
            self.findings.refuse(member.line, f"{name}: unknown key", hint)


def describe(value: Value) -> str:
    """What ``value`` is, in words for a message."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, Sequence):
        return "a list"
    if value.kind == "null":
        return "nothing"
    return repr(shorten(value.text))


def shorten(text: str) -> str:
    """``text``, cut to a length that fits a message, with nothing in it that a terminal would act on."""
    text = "".join(character if character.isprintable() else "?" for character in text[:61])
    return text if len(text) <= 60 else text[:57] + "..."


def as_list(key: str, value: Value, example: str) -> str:
    """The edit that turns ``value`` into a list of strings."""
    if isinstance(value, Mapping) and value.members and isinstance(value.members[0].value, Scalar):
        first = value.members[0]
        assert isinstance(first.value, Scalar)
        if key == "environment" and first.key.startswith(("python_", "system_", "gpu", "cuda")):
            return "move these keys under `build:`, which is what this section is called now"
        if key == "environment":
            return f'write a list of assignments, such as `- "{shorten(first.key)}={shorten(first.value.text)}"`'
    if isinstance(value, Scalar) and "\n" not in value.text:
        return f"write it as a list: `{key}:`, and below it `- {shorten(value.text)}`"
    return f"write a list, such as `- {example}`"


def _is_null(value: Value) -> bool:
    return isinstance(value, Scalar) and value.kind == "null"
