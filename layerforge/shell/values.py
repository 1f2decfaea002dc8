"""What is not known, as a value: a character that no shell string can hold stands for any text.

A value with it is known in part: ``"/etc/" + UNKNOWN`` is some path below ``/etc``. An exit status that is not known
is None. Both go wherever a value goes, until something would depend on them; that is reported, never guessed.
"""

from __future__ import annotations

import re

UNKNOWN = "\0"
"""Any text, perhaps none."""

LIMIT = 4 << 20
"""Characters in one value, at most."""

Status = int | None
"""An exit status; None where it is not known."""


class Exhausted(Exception):
    """The script took more steps, or made longer values, than any maintainer script does."""


def is_known(*values: str) -> bool:
    """Whether nothing in ``values`` is unknown."""
    return not any(UNKNOWN in value for value in values)


def equals(left: str, right: str) -> bool | None:
    """Whether the two are the same text; None if that depends on what is not known."""
    if is_known(left, right):
        return left == right
    if UNKNOWN in left and UNKNOWN in right:
        return None
    pattern, text = (left, right) if UNKNOWN in left else (right, left)
    parts = (re.escape(part) for part in re.split(f"{UNKNOWN}+", pattern))
    return None if re.fullmatch(".*".join(parts), text, re.DOTALL) else False


def is_empty(value: str) -> bool | None:
    """Whether there is no text; None if that is not known."""
    if not value:
        return True
    return False if value.strip(UNKNOWN) else None


def negate(value: bool | None) -> bool | None:
    """The opposite, of what is known."""
    return None if value is None else not value


def status_of(value: bool | None) -> Status:
    """0 for what holds, 1 for what does not."""
    return None if value is None else int(not value)
