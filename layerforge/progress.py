"""What a long piece of work says while it runs.

The library speaks to a :class:`Reporter`; the command line shows it (``cli/terminal.py``), tests collect it.
A Reporter is called from several threads at once and must not raise.
"""

from __future__ import annotations

from typing import Protocol


class Reporter(Protocol):
    """Where news goes. ``task`` is a step's or a transfer's name, the same from start to end."""

    def start(self, task: str, total: int | None = None) -> None:
        """``task`` begins; ``total`` is its size in bytes where that is known."""

    def advance(self, task: str, amount: int) -> None:
        """``amount`` more bytes of ``task`` are done."""

    def finish(self, task: str, outcome: str) -> None:
        """``task`` ended well, or was done before it began; ``outcome`` is a word or two (``cached``, ``12.3 MB``)."""

    def note(self, text: str) -> None:
        """Something people want to know."""

    def warn(self, text: str, hint: str = "") -> None:
        """Something people should act upon, though the work goes on."""


class Silence:
    """A Reporter that says nothing."""

    def start(self, task: str, total: int | None = None) -> None:
        """Nothing."""

    def advance(self, task: str, amount: int) -> None:
        """Nothing."""

    def finish(self, task: str, outcome: str) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""

    def warn(self, text: str, hint: str = "") -> None:
        """Nothing."""


SILENCE = Silence()


def format_size(size: int) -> str:
    """``size`` in bytes for people, in decimal units: ``12.3 MB``."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
