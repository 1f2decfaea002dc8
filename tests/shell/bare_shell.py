"""A shell with nothing around it but the builtins: no files, no programs."""

from __future__ import annotations

from layerforge.shell.builtins import BUILTINS
from layerforge.shell.calls import Call, Command, Exit
from layerforge.shell.evaluate import Shell
from layerforge.shell.streams import Buffer
from layerforge.shell.values import Status


class NoFiles:
    """A model with no files in it."""

    def kind(self, path: str, *, follow: bool = True) -> str | None:
        return ""

    def size(self, path: str) -> int | None:
        return None

    def mode(self, path: str) -> int:
        return 0

    def owner(self, path: str) -> tuple[int, int]:
        return 0, 0

    def target(self, path: str) -> str:
        return ""

    def real(self, path: str) -> str:
        return path

    def read_text(self, path: str) -> str | None:
        return None

    def write_text(self, path: str, text: str, mode: int = 0o644) -> bool:
        return False

    def names(self, folder: str) -> list[str]:
        return []


class BareHost:
    """``unknown`` is a command of which nothing is known, every other one is missing. Collects reports."""

    def __init__(self) -> None:
        self.reports: list[str] = []

    def command(self, name: str) -> Command | None:
        return (lambda call: self._unknown(call)) if name == "unknown" else BUILTINS.get(name)

    def _unknown(self, call: Call) -> Status:
        call.write("\0")
        return None

    def run_missing(self, call: Call) -> Status:
        return 127

    def locate(self, name: str) -> str | None:
        return ""

    def source(self, shell: Shell, path: str) -> Status:
        return 2

    def report(self, text: str, why: str) -> None:
        self.reports.append(text)


def evaluate(text: str, *arguments: str) -> tuple[str, Status, list[str]]:
    """Output, status and reports of a script."""
    host, buffer = BareHost(), Buffer()
    shell = Shell(host, NoFiles(), "sh", arguments, {"IFS": " \t\n"})
    with shell.redirected({1: buffer}):
        try:
            status = shell.run_text(text)
        except Exit as ended:
            status = ended.status
    return buffer.text(), status, host.reports
