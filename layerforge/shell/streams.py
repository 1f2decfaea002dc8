"""Where a command's words go and come from: captured text, files of the model, nowhere."""

from __future__ import annotations

from typing import Protocol

from layerforge.shell.values import LIMIT, UNKNOWN, Exhausted


class Files(Protocol):
    """The model of the files that a script sees. Paths are absolute and may hold unknown parts."""

    def kind(self, path: str, *, follow: bool = True) -> str | None:
        """``file``, ``dir``, ``symlink``; empty if there is nothing; None if that is not known."""

    def size(self, path: str) -> int | None:
        """The size in bytes of a file; None if it is not known."""

    def mode(self, path: str) -> int:
        """The permission bits of what is there."""

    def owner(self, path: str) -> tuple[int, int]:
        """User and group of what is there, as numbers."""

    def target(self, path: str) -> str:
        """The text of a symbolic link."""

    def real(self, path: str) -> str:
        """``path`` with every link resolved."""

    def read_text(self, path: str) -> str | None:
        """A file's text, UNKNOWN if its content is not known; None if there is no such file."""

    def write_text(self, path: str, text: str, mode: int = 0o644) -> bool:
        """Replace a file's content, or make it with ``mode``; False if its folder is missing."""

    def names(self, folder: str) -> list[str]:
        """The names in a folder, sorted; none if it is not a folder."""


class Sink(Protocol):
    """What can be written to."""

    def write(self, text: str) -> None:
        """Add ``text``."""


class Nowhere:
    """Forgets what it is told."""

    def write(self, text: str) -> None:
        """Nothing."""


class Buffer:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._size = 0

    def write(self, text: str) -> None:
        """Add ``text``."""
        self._size += len(text)
        if self._size > LIMIT:
            raise Exhausted("more than four million characters of output")
        self._parts.append(text)

    def text(self) -> str:
        """All of it."""
        return "".join(self._parts)


class FileSink:
    """Writes to a file of the model."""

    def __init__(self, files: Files, path: str) -> None:
        self._files, self._path = files, path

    def write(self, text: str) -> None:
        """Add ``text`` to the file."""
        known = self._files.read_text(self._path) or ""
        if len(known) + len(text) > LIMIT:
            raise Exhausted("a file of more than four million characters")
        self._files.write_text(self._path, known + text)


class Source:
    """Text that is read once, by one command after another."""

    def __init__(self, text: str = "") -> None:
        self._text = text

    def read(self) -> str:
        """All that is left."""
        text, self._text = self._text, ""
        return text

    def read_line(self) -> str | None:
        """The next line with its end; None at the end; UNKNOWN from where nothing is known."""
        if not self._text:
            return None
        line, end, rest = self._text.partition("\n")
        if UNKNOWN in line:
            self._text = ""
            return UNKNOWN
        self._text = rest
        return line + end
