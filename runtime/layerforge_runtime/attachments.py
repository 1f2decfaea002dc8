"""Output files that are too large for memory: data URLs in files, put where they belong while an answer is sent.

In the JSON of a prediction a token that nobody else can write stands for each of them.
"""

from __future__ import annotations

import asyncio
import binascii
import os
import re
import weakref
from collections.abc import Iterator
from typing import Any

from layerforge_runtime.answers import JSON
from layerforge_runtime.media import guess_type

_NONCE = os.urandom(12).hex()
_TOKEN = re.compile(rb'"(@layerforge-attachment-%b-\d+@)"' % _NONCE.encode())
_ENCODED = 3 << 18  # bytes that are encoded at a time; a multiple of three, so that no padding comes in between
_SENT = 1 << 18  # bytes that are sent at a time
_OPENED_BY = 30.0  # seconds after which granian has the file of an answer open for sure


class Attachments:
    """Those of one prediction. Their files are removed when nobody has this object any more.

    Args:
        folder: an existing folder for the files.
        least: files of fewer bytes are not taken.
    """

    def __init__(self, folder: str, least: int) -> None:
        self.least = least
        self._folder = folder
        self._files: dict[bytes, tuple[str, int]] = {}

    def __len__(self) -> int:
        return len(self._files)

    def add(self, path: str) -> bytes:
        """Take the content of a file, as it is now; what stands for it in JSON. Blocking.

        Raises:
            OSError: it cannot be read, or there is no room for it.
        """
        token = f"@layerforge-attachment-{_NONCE}-{len(self._files)}@".encode()
        target = self.new_path()
        try:
            with open(path, "rb") as source, open(target, "xb") as file:
                file.write(b'"data:%b;base64,' % guess_type(path).encode())
                while part := source.read(_ENCODED):
                    file.write(binascii.b2a_base64(part, newline=False))
                file.write(b'"')
                size = file.tell()
        except OSError:
            _remove(target)
            raise
        weakref.finalize(self, _remove, target)
        self._files[token] = target, size
        return b'"%b"' % token

    def new_path(self) -> str:
        """Where another file can be."""
        return os.path.join(self._folder, f"attachment-{os.urandom(8).hex()}")

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        return sum(size for _, size in self._files.values())

    def fill(self, body: bytes) -> Content:
        """``body`` with the files in their places."""
        parts: list[bytes | tuple[str, int]] = []
        for index, part in enumerate(_TOKEN.split(body)):
            found = self._files.get(part) if index % 2 else None
            parts.append(found or (b'"%b"' % part if index % 2 else part))
        return Content(self, parts)


class Content:
    """Bytes that come a part at a time, as often as they are asked for; ``size`` of them."""

    def __init__(self, owner: Attachments, parts: list[bytes | tuple[str, int]]) -> None:
        self._owner = owner  # keeps the files
        self._parts = parts
        self.size = sum(len(part) if isinstance(part, bytes) else part[1] for part in parts)

    def __iter__(self) -> Iterator[bytes]:
        for part in self._parts:
            if isinstance(part, bytes):
                yield part
                continue
            with open(part[0], "rb") as file:
                while data := file.read(_SENT):
                    yield data

    def write(self, path: str) -> None:
        """Write it to the new file ``path``. Blocking."""
        with open(path, "xb") as target:
            for part in self._parts:
                if isinstance(part, bytes):
                    target.write(part)
                    continue
                target.flush()
                with open(part[0], "rb") as source:
                    while os.sendfile(target.fileno(), source.fileno(), None, 1 << 30):
                        pass
                target.seek(0, os.SEEK_END)


async def send_body(protocol: Any, status: int, body: bytes, attachments: Attachments | None) -> None:
    """Answer with JSON and what is attached to it."""
    if not attachments:
        protocol.response_bytes(status, JSON, body)
        return
    # In one file, which granian sends at the client's pace; what is sent to its streams piles up in memory.
    content = attachments.fill(body)
    path = attachments.new_path()
    loop = asyncio.get_running_loop()
    try:
        await loop.run_in_executor(None, content.write, path)
        protocol.response_file(status, [*JSON, ("content-length", str(content.size))], path)
    finally:
        loop.call_later(_OPENED_BY, _remove, path)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:  # the folder is gone already
        pass
