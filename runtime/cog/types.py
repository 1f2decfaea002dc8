"""Types of inputs and outputs: files, secrets and iterators."""

from __future__ import annotations

import io
import os
import pathlib
from abc import abstractmethod
from collections.abc import AsyncIterator as _AsyncIterator
from collections.abc import Iterator as _Iterator
from typing import Any, Generic, NoReturn, TypeVar

FILENAME_ILLEGAL_CHARS = frozenset("\0/")
FILENAME_MAX_LENGTH = 200
"""In bytes of UTF-8. File systems allow 255, and a temporary file's name gets a prefix."""

_TIMEOUT = 10  # seconds that a server may stay silent


class Secret:
    """A string that ``str()`` and ``repr()`` do not show; :meth:`get_secret_value` does."""

    __slots__ = ("secret_value",)

    secret_value: str | None

    def __init__(self, secret_value: str | None = None) -> None:
        object.__setattr__(self, "secret_value", secret_value)

    def get_secret_value(self) -> str | None:
        """The string itself."""
        return self.secret_value

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"cannot assign to field {name!r}")

    def __str__(self) -> str:
        return "" if self.secret_value is None else "**********"

    def __repr__(self) -> str:
        return f"Secret({self})"

    def __eq__(self, other: object) -> bool:
        return self.secret_value == other.secret_value if isinstance(other, Secret) else NotImplemented

    def __hash__(self) -> int:
        return hash((Secret, self.secret_value))

    def __reduce__(self) -> tuple[type[Secret], tuple[str | None]]:
        return Secret, (self.secret_value,)


class URLFile(io.IOBase):
    """A file that is opened at its URL when it is first read. It can be pickled.

    Raises:
        ValueError: the URL is neither http nor https.
    """

    def __init__(self, url: str, filename: str | None = None) -> None:
        from urllib.parse import urlsplit

        parts = urlsplit(url)
        if parts.scheme not in ("http", "https"):
            raise ValueError("URLFile requires URL to conform to HTTP or HTTPS protocol")
        self.name = filename or os.path.basename(parts.path)
        self._url = url
        self._response: Any = None

    @property
    def __wrapped__(self) -> Any:
        if self._response is None:
            self._response = _open_url(self._url)
        return self._response

    def __getstate__(self) -> dict[str, Any]:
        return {"name": self.name, "url": self._url}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.name, self._url, self._response = state["name"], state["url"], None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.__wrapped__, name)

    # What IOBase defines itself has to be passed on by name.
    def __iter__(self) -> _Iterator[bytes]:
        return iter(self.__wrapped__)

    def __next__(self) -> bytes:
        return bytes(next(self.__wrapped__))

    def readable(self) -> bool:
        return True

    def readline(self, size: int | None = -1) -> bytes:
        return bytes(self.__wrapped__.readline(-1 if size is None else size))

    def readlines(self, hint: int = -1) -> list[bytes]:
        return list(self.__wrapped__.readlines(hint))

    def close(self) -> None:
        response = self.__dict__.get("_response")
        if response is not None:
            response.close()
        super().close()

    def __repr__(self) -> str:
        state = f"for {self._url!r}" if self._response is None else f"wrapping {self._response!r}"
        return f"<{type(self).__name__} at 0x{id(self):x} {state}>"


class File(io.IOBase):
    """The old type of file inputs: an open file. New models use :class:`Path`."""

    @classmethod
    def validate(cls, value: Any) -> io.IOBase:
        """Open ``value``: a file as it is, a data URL, or an http(s) URL.

        Raises:
            ValueError: it is a URL of another kind.
        """
        if isinstance(value, io.IOBase):
            return value
        scheme = value.partition(":")[0].lower() if ":" in value else ""
        if scheme == "data":
            from urllib.request import urlopen

            with urlopen(value) as response:
                return io.BytesIO(response.read())
        if scheme in ("http", "https"):
            return URLFile(value)
        raise ValueError(f"'{scheme}' is not a valid URL scheme. 'data', 'http', or 'https' is supported.")


class URLPath(pathlib.PosixPath):
    """A path of something at a URL, which :meth:`convert` downloads."""

    _path: Path | None

    def __new__(cls, *, source: str, filename: str, fileobj: io.IOBase) -> URLPath:  # noqa: ARG004
        return super().__new__(cls, _truncate(filename))

    def __init__(self, *, source: str, filename: str, fileobj: io.IOBase) -> None:
        if hasattr(pathlib.PurePath, "with_segments"):  # Python 3.12 and later take the segments here
            super().__init__(_truncate(filename))  # type: ignore[call-arg]
        self.source = source
        self.filename = _truncate(filename)
        self.fileobj = fileobj
        self._path = None

    def with_segments(self, *segments: str | os.PathLike[str]) -> pathlib.PosixPath:
        """Paths made from this one are ordinary."""
        return pathlib.PosixPath(*segments)

    def convert(self) -> Path:
        """Download it to a temporary file, once, and return that file's path."""
        if self._path is None:
            import shutil
            import tempfile

            with tempfile.NamedTemporaryFile(suffix=self.filename, delete=False) as copy:
                shutil.copyfileobj(self.fileobj, copy)
            self._path = Path(copy.name)
        return self._path

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the temporary file, if there is one."""
        if self._path is not None:
            self._path.unlink(missing_ok=missing_ok)

    def __str__(self) -> str:
        return self.source


class Path(pathlib.PosixPath):
    """A file of an input or an output."""

    @classmethod
    def validate(cls, value: Any) -> pathlib.Path:
        """``value`` as a path: URLs (http, https, data) become a :class:`URLPath`, other strings a plain path."""
        if isinstance(value, pathlib.Path):
            return value
        if value.partition(":")[0].lower() in ("data", "http", "https"):
            return URLPath(source=value, filename=get_filename(value), fileobj=File.validate(value))
        return cls(value)


def get_filename(url: str) -> str:
    """A name for the file at ``url``: the last part of its path, or ``file`` and an extension for a data URL."""
    from urllib.parse import unquote_plus, urlsplit

    parts = urlsplit(url)
    if parts.scheme == "data":
        from mimetypes import guess_extension

        return "file" + (guess_extension(parts.path.partition(",")[0].partition(";")[0] or "text/plain") or "")
    name = _truncate(unquote_plus(os.path.basename(parts.path)))
    return "".join("_" if character in FILENAME_ILLEGAL_CHARS else character for character in name)


def _truncate(filename: str) -> str:
    if len(filename.encode()) <= FILENAME_MAX_LENGTH:
        return filename
    stem, extension = os.path.splitext(filename)
    kept = stem.encode()[: max(0, FILENAME_MAX_LENGTH - len(extension.encode()) - 1)]
    return f"{kept.decode(errors='ignore')}~{extension}"


def _open_url(url: str) -> Any:
    from urllib.request import Request, urlopen

    agent = os.environ.get("COG_USER_AGENT")
    return urlopen(Request(url, headers={"User-Agent": agent} if agent else {}), timeout=_TIMEOUT)


Item = TypeVar("Item")


class ConcatenateIterator(_Iterator[Item], Generic[Item]):
    """The return type of a function that yields parts of one text."""

    @abstractmethod
    def __next__(self) -> Item: ...


class AsyncConcatenateIterator(_AsyncIterator[Item], Generic[Item]):
    """The return type of an asynchronous function that yields parts of one text."""

    @abstractmethod
    async def __anext__(self) -> Item: ...
