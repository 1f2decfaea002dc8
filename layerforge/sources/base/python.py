"""The Python of a base image as a lock names it, or why it is not the one that is wanted. Pure."""

from __future__ import annotations

from layerforge.lock import LockedPython
from layerforge.sources.base.facts import BaseFacts


def find_base_python(wanted: str, facts: BaseFacts) -> LockedPython | str:
    """The base's own Python ``wanted`` (``3.12`` or ``3.12.4``); else what it has, as a clause.

    Of several that fit, the one that PATH finds first.
    """
    for python in facts.pythons:
        if python.version == wanted or f"{python.version}.".startswith(f"{wanted}."):
            reason = f"the base has it in {python.home}"
            return LockedPython(python.minor, python.version, "base", python.home, reason)
    if not facts.pythons:
        return "it has none"
    return "it has " + ", ".join(f"Python {python.version} in {python.home}" for python in facts.pythons)
