"""The streams that redirections make."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layerforge.shell.expand import expand_text
from layerforge.shell.streams import FileSink, Nowhere, Sink, Source
from layerforge.shell.syntax import Redirect, Word
from layerforge.shell.values import is_known

if TYPE_CHECKING:
    from layerforge.shell.evaluate import Shell


def open_redirects(shell: Shell, redirects: tuple[Redirect, ...]) -> tuple[dict[int, Sink], Source | None] | None:
    """The streams that redirections make; None if one of them fails."""
    sinks: dict[int, Sink] = {}
    source: Source | None = None
    for redirect in redirects:
        target = expand_text(shell, redirect.target)
        if redirect.operator == "<<":
            source = Source(target)
        elif redirect.operator in (">&", "<&"):
            if redirect.operator == ">&" and target.isdigit():
                sinks[redirect.descriptor] = sinks.get(int(target)) or shell.sink(int(target))
            elif target == "-":
                sinks[redirect.descriptor] = Nowhere()
        elif redirect.operator == "<":
            text = "" if target == "/dev/null" else shell.files.read_text(shell.path(target))
            if text is None:
                return None
            if redirect.descriptor == 0:
                source = Source(text)
        else:
            sink = _open_file(shell, target, redirect)
            if sink is None:
                return None
            sinks[redirect.descriptor] = sink
    return sinks, source


def _open_file(shell: Shell, target: str, redirect: Redirect) -> Sink | None:
    if target.startswith("/dev/"):
        return shell.sink(1 if target == "/dev/stdout" else 2) if target != "/dev/null" else Nowhere()
    if not is_known(target):
        shell.host.report(f"{redirect.operator} {_describe(redirect.target)}", "which file that is is not known")
        return Nowhere()
    path = shell.path(target)
    kind = shell.files.kind(path)
    if kind == "dir":
        return None
    if (redirect.operator != ">>" or kind != "file") and not shell.files.write_text(path, "", 0o666 & ~shell.umask):
        return None
    return FileSink(shell.files, path)


def _describe(word: Word) -> str:
    return "".join(getattr(part, "text", None) or f"${{{getattr(part, 'name', '…')}}}" for part in word)
