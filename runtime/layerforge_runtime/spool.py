"""Large data URLs in the bodies of requests: they go to files while they arrive, so that memory stays as it is.

A body is JSON. In it ``"data:`` after an even number of backslashes can only be where a string begins (or the JSON is
broken, and stays so). Such a string is written to a file if it is long, and a short text that nobody else can write
stands for it while the JSON is parsed.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from layerforge_runtime.media import decode_base64

LONG = 64 * 1024
"""Strings of fewer bytes stay where they are."""

_START = b'"data:'
_HEAD = 1024  # bytes in which the comma of a data URL must come to be looked for
_CHUNK = 1 << 20
_NONCE = os.urandom(12).hex()
_numbers = itertools.count()
_decode = msgspec.json.Decoder(str).decode


class Spooled(str):
    """A data URL in a file: as a string its beginning, up to the comma. ``path`` has all of it, escaped as in JSON."""

    __slots__ = ("path",)

    path: str


class Spool:
    """Takes a body as it arrives. ``folder`` is made when it is needed; :meth:`close` removes it."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._kept = bytearray()
        self._tail = b""  # not looked at yet: the beginning of a string may be cut
        self._string: bytearray | None = None  # the string that we are in
        self._file: int | None = None
        self._slashes = 0  # backslashes at the end of what was taken from it
        self._paths: dict[str, str] = {}

    def feed(self, data: bytes) -> None:
        """Take the next part.

        Raises:
            OSError: there is no room for it.
        """
        data = self._tail + data
        self._tail = b""
        position = 0
        while position < len(data):
            step = self._outside if self._string is None else self._inside
            position = step(data, position)

    def _outside(self, data: bytes, start: int) -> int:
        """Keep what is before the next data URL; the position after that."""
        position = start
        while (found := data.find(_START, position)) >= 0:
            run = _count_backslashes(data, start, found)
            if run == found - start:
                run += _count_backslashes(self._kept, 0, len(self._kept))
            position = found + 1
            if run % 2 == 0:
                self._kept += data[start:position]
                self._string, self._slashes = bytearray(), 0
                return position
        cut = max(len(data) - len(_START) + 1, position)
        self._kept += data[start:cut]
        self._tail = data[cut:]
        return len(data)

    def _inside(self, data: bytes, start: int) -> int:
        """Take the string up to its end; the position of the quotation mark there."""
        position = start
        while (found := data.find(b'"', position)) >= 0:
            run = _count_backslashes(data, start, found)
            if run == found - start:
                run += self._slashes
            if run % 2 == 0:
                self._take(data[start:found])
                self._end()
                return found
            position = found + 1
        run = _count_backslashes(data, start, len(data))
        self._slashes = run + (self._slashes if run == len(data) - start else 0)
        self._take(data[start:])
        return len(data)

    def _take(self, part: bytes) -> None:
        assert self._string is not None
        if self._file is None:
            self._string += part
            if len(self._string) < LONG:
                return
            os.makedirs(self._folder, 0o700, exist_ok=True)
            token = f"@layerforge-spool-{_NONCE}-{next(_numbers)}@"
            self._paths[token] = os.path.join(self._folder, str(len(self._paths)))
            self._file = os.open(self._paths[token], os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            self._kept += token.encode()
            part = bytes(self._string)
        view = memoryview(part)
        while view:
            view = view[os.write(self._file, view) :]

    def _end(self) -> None:
        if self._file is None:
            self._kept += self._string or b""
        else:
            os.close(self._file)
        self._file = self._string = None

    def finish(self) -> bytes:
        """The body, without what lies in files."""
        if self._string is not None:  # the JSON is broken
            self._end()
        self._kept += self._tail
        kept, self._kept, self._tail = bytes(self._kept), bytearray(), b""
        return kept

    def restore(self, inputs: dict[str, Any], files: Iterable[str]) -> dict[str, Any]:
        """The inputs with :class:`Spooled` strings for those named in ``files``, and whole strings elsewhere.

        Raises:
            ValueError: a string is none in JSON.
        """
        if not self._paths:
            return inputs
        names = frozenset(files)
        restored: dict[str, Any] = {}
        for name, value in inputs.items():
            spooled = name in names
            if spooled and isinstance(value, list):
                restored[name] = [self._restore(item, spooled=isinstance(item, str)) for item in value]
            else:
                restored[self._restore(name)] = self._restore(value, spooled=spooled and isinstance(value, str))
        return restored

    def _restore(self, value: Any, *, spooled: bool = False) -> Any:
        if isinstance(value, str):
            path = self._paths.get(value)
            if path is None:
                return value
            return _open_spooled(path) if spooled else read_spooled(path)
        if isinstance(value, list):
            return [self._restore(item) for item in value]
        if isinstance(value, dict):
            return {self._restore(key): self._restore(item) for key, item in value.items()}
        return value

    def close(self) -> None:
        """Remove the files."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        for path in self._paths.values():
            try:
                os.unlink(path)
            except OSError:  # used up already
                pass
        if self._paths:
            try:
                os.rmdir(self._folder)
            except OSError:
                pass
        self._paths.clear()


def _count_backslashes(data: bytes | bytearray, start: int, end: int) -> int:
    """How many stand directly before ``end``, not counting those before ``start``."""
    position = end
    while position > start and data[position - 1] == 0x5C:
        position -= 1
    return end - position


def _open_spooled(path: str) -> str:
    with open(path, "rb") as file:
        head, comma, _ = file.read(_HEAD).partition(b",")
    if not comma or not head.lower().endswith(b";base64"):
        return read_spooled(path)
    found = Spooled(_decode(b'"%b,"' % head))
    found.path = path
    return found


def read_spooled(path: str) -> str:
    """The string in a file.

    Raises:
        ValueError: it is none in JSON.
    """
    with open(path, "rb") as file:
        return _decode(b'"%b"' % file.read())


def write_spooled(url: Spooled, target: str) -> None:
    """Decode a data URL to the new file ``target``, a part at a time, and remove its own file.

    Raises:
        ValueError: it is not base64.
    """
    with open(url.path, "rb") as source, open(target, "xb") as file:
        source.seek(source.read(_HEAD).index(b",") + 1)
        for data in _decode_parts(iter(lambda: source.read(_CHUNK), b"")):
            file.write(data)
    os.unlink(url.path)


def _decode_parts(parts: Iterator[bytes]) -> Iterator[bytes]:
    """Decode base64 as JSON holds it: ``/`` may be ``\\/``, and lines may end."""
    rest, padded = b"", False
    for part in parts:
        data = rest + part
        if b"\\" in data:
            rest = b"\\" if data.endswith(b"\\") else b""
            for escape, plain in ((rb"\/", b"/"), (rb"\n", b""), (rb"\r", b"")):
                data = data.replace(escape, plain)
            if b"\\" in data.removesuffix(b"\\"):
                raise ValueError("the data is not valid base64")
            data = data.removesuffix(rest)
        else:
            rest = b""
        data = data.translate(None, b" \t")
        whole = len(data) // 4 * 4
        data, rest = data[:whole], data[whole:] + rest
        if data:
            if padded:
                raise ValueError("the data is not valid base64")
            yield decode_base64(data)
            padded = data.endswith(b"=")
    if rest:
        if padded or len(rest) == 1:
            raise ValueError("the data is not valid base64")
        yield decode_base64(rest + b"=" * (-len(rest) % 4))
