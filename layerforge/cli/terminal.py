"""What people see on stderr: progress, notes, errors. Bars on a terminal, plain lines elsewhere.

rich is imported when a bar is first needed: a build that finds everything done has no time for it.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from layerforge.errors import ConfigError, LayerforgeError
from layerforge.progress import format_size

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_PATIENCE = 10.0
"""Without a terminal, long work says so every this many seconds."""

_COLOURS = {"dim": "2", "green": "32", "error": "1;31", "warning": "1;33", "hint": "1;36"}


class Terminal:
    """A Reporter for people. Use it as a context manager; ``stream`` is stderr unless a test says otherwise."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._bars = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._plain = not self._bars or bool(os.environ.get("NO_COLOR") or os.environ.get("COG_NO_COLOR"))
        self._lock = threading.RLock()
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._begun: dict[str, float] = {}
        self._done: dict[str, int] = {}
        self._said: dict[str, float] = {}
        self._downloads: list[int] = []

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            if self._progress is not None:
                self._progress.stop()
                self._progress = None
            self._tell_downloads()

    def start(self, task: str, total: int | None = None) -> None:
        """Show ``task`` as running."""
        with self._lock:
            self._begun[task] = self._said[task] = time.monotonic()
            self._done[task] = 0
            if self._bars:
                self._tasks[task] = self._open_progress().add_task(task, total=total)

    def advance(self, task: str, amount: int) -> None:
        """Move the bar; without bars, say something now and then."""
        with self._lock:
            self._done[task] = self._done.get(task, 0) + amount
            if self._progress is not None and task in self._tasks:
                self._progress.advance(self._tasks[task], amount)
            elif not self._bars and time.monotonic() - self._said.get(task, 0) > _PATIENCE:
                self._said[task] = time.monotonic()
                self._say(f"{'…':>12}  {task}: {format_size(self._done[task])} so far")

    def finish(self, task: str, outcome: str) -> None:
        """One line about what became of ``task``; downloads are many, so one line tells of all of them later."""
        with self._lock:
            seconds = time.monotonic() - self._begun.pop(task, time.monotonic())
            done = self._done.pop(task, 0)
            if self._progress is not None and task in self._tasks:
                self._progress.remove_task(self._tasks.pop(task))
            if task.startswith("download "):
                self._downloads.append(done)
                return
            took = self._paint(f" {seconds:.1f} s", "dim") if seconds >= 0.05 else ""
            self._say(self._paint(f"{outcome:>12}", "dim" if outcome == "cached" else "green") + f"  {task}{took}")

    def note(self, text: str) -> None:
        """A line."""
        self._tell_downloads()
        self._say(text)

    def warn(self, text: str, hint: str = "") -> None:
        """A warning, with its hint."""
        self._say(f"{self._paint('warning:', 'warning')} {text}")
        if hint:
            self._say(f"{self._paint('hint:', 'hint')} {hint}")

    def show_error(self, text: str, hint: str = "") -> None:
        """An error, with its hint."""
        self._say(f"{self._paint('error:', 'error')} {text}")
        if hint:
            self._say(f"{self._paint('hint:', 'hint')} {hint}")

    def _tell_downloads(self) -> None:
        if not self._downloads:
            return
        count, size = len(self._downloads), sum(self._downloads)
        self._downloads.clear()
        files = "file" if count == 1 else "files"
        self._say(self._paint(f"{format_size(size):>12}", "green") + f"  downloaded, {count} {files}")

    def _open_progress(self) -> Progress:
        if self._progress is None:
            from rich.console import Console
            from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

            console = Console(file=self._stream, no_color=self._plain or None, highlight=False, soft_wrap=True)
            columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=24), DownloadColumn())
            self._progress = Progress(*columns, console=console, transient=True)
            self._progress.start()
        return self._progress

    def _paint(self, text: str, style: str) -> str:
        return text if self._plain else f"\033[{_COLOURS[style]}m{text}\033[0m"

    def _say(self, text: str) -> None:
        with self._lock:
            if self._progress is not None:
                from rich.text import Text

                self._progress.console.print(Text.from_ansi(text))
            else:
                self._stream.write(text + "\n")
                self._stream.flush()


def show_error(error: LayerforgeError) -> None:
    """``error:`` and ``hint:`` lines on stderr; one pair for each problem of a ConfigError."""
    terminal = Terminal()
    if isinstance(error, ConfigError):
        for problem in error.problems:
            terminal.show_error(str(problem), problem.hint)
        return
    terminal.show_error(str(error), error.hint)


def print_data(text: str) -> None:
    """``text`` and a line feed on stdout, which carries data only."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
