"""What people see on stderr: progress, notes, errors. Bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
import threading
import time
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn

from layerforge.errors import ConfigError, LayerforgeError, Problem

_PATIENCE = 10.0
"""Without a terminal, long work says so every this many seconds."""


def make_console() -> Console:
    """A console on stderr that honours NO_COLOR and COG_NO_COLOR."""
    plain = bool(os.environ.get("NO_COLOR") or os.environ.get("COG_NO_COLOR"))
    return Console(stderr=True, highlight=False, no_color=plain or None, soft_wrap=True)


class Terminal:
    """A Reporter for people. Use it as a context manager."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or make_console()
        self._bars = self._console.is_terminal
        self._lock = threading.Lock()
        self._tasks: dict[str, TaskID] = {}
        self._started: dict[str, float] = {}
        self._done: dict[str, int] = {}
        self._said: dict[str, float] = {}
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            DownloadColumn(),
            console=self._console,
            transient=True,
        )

    def __enter__(self) -> Terminal:
        if self._bars:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars:
            self._progress.stop()

    def start(self, task: str, total: int | None = None) -> None:
        """Show ``task`` as running."""
        with self._lock:
            self._started[task] = self._said[task] = time.monotonic()
            self._done[task] = 0
            if self._bars:
                self._tasks[task] = self._progress.add_task(escape(task), total=total)

    def advance(self, task: str, amount: int) -> None:
        """Move the bar; without bars, say something now and then."""
        with self._lock:
            self._done[task] = self._done.get(task, 0) + amount
            if self._bars:
                if task in self._tasks:
                    self._progress.advance(self._tasks[task], amount)
            elif time.monotonic() - self._said.get(task, 0) > _PATIENCE:
                self._said[task] = time.monotonic()
                self._say(f"  {escape(task)}: {self._done[task] / 1e6:,.0f} MB so far")

    def finish(self, task: str, outcome: str) -> None:
        """One line about what became of ``task``."""
        with self._lock:
            seconds = time.monotonic() - self._started.pop(task, time.monotonic())
            if task in self._tasks:
                self._progress.remove_task(self._tasks.pop(task))
            if task.startswith("download ") and self._bars:
                return
            took = f" [dim]{seconds:.1f} s[/dim]" if seconds >= 0.05 else ""
            colour = "dim" if outcome == "cached" else "green"
            self._say(f"[{colour}]{escape(outcome):>12}[/{colour}]  {escape(task)}{took}")

    def note(self, text: str) -> None:
        """A line."""
        self._say(escape(text))

    def warn(self, text: str, hint: str = "") -> None:
        """A warning, with its hint."""
        self._say(f"[bold yellow]warning:[/bold yellow] {escape(text)}")
        if hint:
            self._say(f"[bold cyan]hint:[/bold cyan] {escape(hint)}")

    def _say(self, markup: str) -> None:
        self._console.print(markup)


def show_error(error: LayerforgeError) -> None:
    """``error:`` and ``hint:`` lines on stderr; one pair for each problem of a ConfigError."""
    console = make_console()
    if isinstance(error, ConfigError):
        for problem in error.problems:
            _show(console, str(problem), problem.hint)
        return
    _show(console, str(error), error.hint)


def show_warnings(problems: tuple[Problem, ...], terminal: Terminal) -> None:
    """Each problem as a warning."""
    for problem in problems:
        terminal.warn(str(problem), problem.hint)


def _show(console: Console, text: str, hint: str) -> None:
    console.print(f"[bold red]error:[/bold red] {escape(text)}")
    if hint:
        console.print(f"[bold cyan]hint:[/bold cyan] {escape(hint)}")


def print_data(text: str) -> None:
    """``text`` and a line feed on stdout, which carries data only."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
