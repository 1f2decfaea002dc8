"""The Python of a base image as a lock names it, or why it is not the one that is wanted. Pure."""

from __future__ import annotations

from layerforge.lock import LockedPython
from layerforge.sources.base.facts import BaseFacts
from layerforge.sources.debian.control import Package
from layerforge.sources.debian.locking import upstream_version


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


def describe_added_python(wanted: str, candidate: Package | None, facts: BaseFacts) -> LockedPython | str:
    """The Python ``wanted`` of the base's own release, whose package is ``candidate``; else why it will not do."""
    minor = ".".join(wanted.split(".")[:2])
    if candidate is None:
        return f"{facts.distribution.capitalize()} {facts.release} has no Python {minor}"
    version = upstream_version(candidate.version)
    if wanted not in (minor, version):
        return f"{facts.distribution.capitalize()} {facts.release} has Python {version}"
    reason = f"{facts.distribution.capitalize()} {facts.release}, which the base is, ships Python {version}"
    return LockedPython(minor, version, "debian", "/usr/bin", reason)
