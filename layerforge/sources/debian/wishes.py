"""The packages that a model asks for by name, and what is said of each with the place where it stands."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from layerforge.errors import ConfigError, Problem, ResolveError
from layerforge.progress import Reporter
from layerforge.sources.debian.index import Index
from layerforge.sources.debian.names import choose_names

Locate = Callable[[str], tuple[str, int]]
"""The file and line of an entry, by its text."""


def settle_names(index: Index, names: Sequence[str], locate: Locate, reporter: Reporter) -> tuple[str, ...]:
    """What to install for ``names``: those that the release has, and what replaces the others, with a warning.

    Raises:
        ConfigError: one or more can be neither found nor replaced; every one of them is told.
    """
    problems: list[Problem] = []
    settled: dict[str, None] = {}
    for chosen in choose_names(index, names):
        problem = Problem(*locate(chosen.asked), f"system_packages: {chosen.message}", chosen.hint)
        if not chosen.names:
            problems.append(problem)
        elif chosen.message:
            reporter.warn(str(problem), problem.hint)
        settled |= dict.fromkeys(chosen.names)
    if problems:
        raise ConfigError(tuple(problems))
    return tuple(settled)


@contextmanager
def placing_errors(names: Sequence[str], locate: Locate) -> Iterator[None]:
    """Give an error of the resolver the place of the entry that it came about by."""
    try:
        yield
    except ResolveError as error:
        if not error.where:
            error.where = _find_place(error.message, names, locate)
        raise


def _find_place(message: str, names: Sequence[str], locate: Locate) -> str:
    """The resolver names the entry first where it tells along which path it went, else anywhere."""
    words = re.findall(r"[a-z0-9][a-z0-9+.-]+", message.partition("required by ")[2]) or re.findall(
        r"[a-z0-9][a-z0-9+.-]+", message
    )
    by_name = {re.split(r"[:=/]", name, maxsplit=1)[0]: name for name in reversed(names)}
    found = next((by_name[word] for word in words if word in by_name), None)
    if found is None:
        return ""
    path, line = locate(found)
    return f"{path}:{line}" if line else path
