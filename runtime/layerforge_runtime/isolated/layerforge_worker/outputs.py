"""From what ``run()`` returns to JSON.

Files go by path: where one stands in the JSON there is a token that nobody else can write, and the frame's head maps
tokens to paths.
"""

from __future__ import annotations

import enum
import io
import itertools
import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, time
from typing import Any

_NONCE = os.urandom(12).hex()
_numbers = itertools.count()


class OutputError(Exception):
    """What a model returned cannot be sent; the message says why."""


class Encoder:
    """Encodes one output. ``files`` maps each token in the JSON to ``[path, whether it is to be removed after]``.

    With ``snapshot`` files are copied to ``folder`` first: the model goes on, and may write to them again.
    """

    def __init__(self, folder: str, *, snapshot: bool = False) -> None:
        self.files: dict[str, list[Any]] = {}
        self._folder = folder
        self._snapshot = snapshot

    def encode(self, value: Any) -> bytes:
        """The JSON of ``value``; numbers that JSON lacks (NaN and the infinities) become null, as in JavaScript.

        Raises:
            OutputError: something in it has no JSON form, or a file in it does not exist.
        """
        try:
            text = _dump_plain(value) if type(value) in _PLAIN else _dump(value, self._quick)
        except (TypeError, ValueError):
            text = ""
        if not text:  # odd keys, NaN, something that can be read only once: look at every value
            self.files.clear()
            text = _dump(self._plain(value), None)
        try:
            return text.encode()
        except UnicodeEncodeError:  # half a surrogate pair, which UTF-8 has no bytes for: U+FFFD stands for it
            return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()

    def _quick(self, value: Any) -> Any:
        if isinstance(value, Iterator):
            raise TypeError
        return self._convert(value)

    def _plain(self, value: Any) -> Any:
        if isinstance(value, enum.Enum):
            return self._plain(value.value)
        if value is None or isinstance(value, (bool, str, int)):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else None
        if isinstance(value, dict):
            return {_key(key): self._plain(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._plain(item) for item in value]
        return self._plain(self._convert(value))

    def _convert(self, value: Any) -> Any:
        """One step from ``value``, which the json module does not know, towards something that it knows."""
        if isinstance(value, os.PathLike):
            return self._file(os.path.abspath(os.fspath(value)))
        if isinstance(value, io.IOBase):
            return self._stream(value)
        if isinstance(value, Mapping):
            return dict(value)
        if isinstance(value, (set, frozenset, Iterator)):
            return list(value)
        if isinstance(value, enum.Enum):
            return value.value
        if isinstance(value, (datetime, date, time)):
            return value.isoformat()
        if not isinstance(value, type):
            if callable(dump := getattr(value, "model_dump", None)):  # Pydantic 2
                return dump()
            if (fields := getattr(value, "__dataclass_fields__", None)) is not None:
                # Class variables are among them too. (The dataclasses module itself would cost start-up time.)
                names = [name for name, field in fields.items() if field._field_type.name == "_FIELD"]
                return {name: getattr(value, name) for name in names}
            if "numpy" in sys.modules and (plain := self._array(value)) is not value:
                return plain
            if callable(dump := getattr(value, "dict", None)):  # Pydantic 1
                return dump()
        raise OutputError(f"an output of type {type(value).__name__} cannot be written as JSON")

    @staticmethod
    def _array(value: Any) -> Any:
        numpy = sys.modules["numpy"]
        return value.tolist() if isinstance(value, (numpy.generic, numpy.ndarray)) else value

    def _file(self, path: str, *, remove: bool = False) -> str:
        if not os.path.isfile(path):
            raise OutputError(f"the output file {path} does not exist")
        if self._snapshot and not remove:
            path, remove = self._copy(path), True
        token = f"@layerforge-file-{_NONCE}-{len(self.files)}@"
        self.files[token] = [path, remove]
        return token

    def _stream(self, stream: Any) -> str:
        if stream.seekable():
            stream.seek(0)
        content = stream.read()
        name = getattr(stream, "name", "")
        suffix = os.path.splitext(name)[1] if isinstance(name, str) else ""
        path = self._new_path(suffix)
        with open(path, "xb") as copy:
            copy.write(content.encode() if isinstance(content, str) else content)
        return self._file(path, remove=True)

    def _copy(self, path: str) -> str:
        target = self._new_path(os.path.splitext(path)[1])
        with open(path, "rb") as source, open(target, "xb") as copy:
            while os.sendfile(copy.fileno(), source.fileno(), None, 1 << 30):
                pass
        return target

    def _new_path(self, suffix: str) -> str:
        os.makedirs(self._folder, exist_ok=True)
        return os.path.join(self._folder, f"output-{next(_numbers)}{suffix}")


_PLAIN = (str, int, bool, type(None), float)
_dump_plain = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def _dump(value: Any, default: Callable[[Any], Any] | None) -> str:
    return json.dumps(value, default=default, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _key(key: Any) -> str:
    if isinstance(key, enum.Enum):
        key = key.value
    if isinstance(key, str):
        return key
    if key is None or isinstance(key, (bool, int, float)):
        return json.dumps(key)  # what the json module makes of such keys
    return str(key)
