"""Reads a ``.deb`` as a stream: control files whole, data entries one after another, nothing unpacked to disk.

Format: deb(5), an ``ar`` archive of ``debian-binary``, ``control.tar.*`` and ``data.tar.*``. A package is another
party's file even when its hash is right, so what could reach outside the root is refused here and in ``entries.py``.
"""

from __future__ import annotations

import io
import re
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import BinaryIO, cast

import msgspec

from layerforge.errors import LayerError
from layerforge.oci import Digest
from layerforge.sources.debian.control import parse_fields
from layerforge.sources.debian.entries import DebEntry, read_entries
from layerforge.sources.debian.inflate import DAMAGE, INFLATERS
from layerforge.verify import VerifiedReader

__all__ = ["ControlFile", "DebEntry", "DebFile", "read_entries"]

_CONTROL_LIMIT = 64 << 20
_READ = 1 << 18
_RATIO = 500
_ALLOWANCE = 256 << 20
"""A member may inflate to this many bytes and :data:`_RATIO` times its own size. Real packages stay below 100 times."""
_MAGIC = b"!<arch>\n"
_TEXTS = ("control", "conffiles", "triggers", "md5sums")
"""Control files that are read as text, so must be UTF-8."""


class ControlFile(msgspec.Struct, frozen=True):
    """One member of ``control.tar``."""

    mode: int
    content: bytes


class DebFile:
    """One open package. Read ``control`` first, then :meth:`data_chunks` once; close it when done.

    With ``digest``, reading the data to its end verifies it. ``control`` are its control files where they have been
    read before.

    Raises:
        LayerError: not a package, truncated, or with members that deb(5) does not know.
    """

    def __init__(
        self,
        path: Path,
        *,
        where: str = "",
        digest: Digest | None = None,
        control: dict[str, ControlFile] | None = None,
    ) -> None:
        self.where = where or path.name
        file = path.open("rb", buffering=0)
        reader = VerifiedReader(file, digest, what=self.where) if digest is not None else file
        self._file = cast(BinaryIO, io.BufferedReader(reader, _READ))
        try:
            if self._file.read(len(_MAGIC)) != _MAGIC:
                raise LayerError("is not a Debian package", where=self.where)
            name, size = self._next_member()
            if name != "debian-binary" or size > 64 or not self._read_exactly(size).startswith(b"2."):
                raise LayerError("is not a Debian package of format 2", where=self.where)
            self._skip_padding(size)
            name, size = self._next_member()
            if control is not None:
                self._skip(size)
            self.control = self._read_control(name, size) if control is None else control
            self._skip_padding(size)
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> DebFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def data_chunks(self) -> Generator[bytes, None, None]:
        """The bytes of ``data.tar`` in chunks of about a MiB.

        Raises:
            LayerError: damaged or truncated.
            VerificationError: the file is not the one with the digest.
        """
        name, size = self._next_member()
        if not name.startswith("data.tar"):
            raise LayerError(f"has a member {name!r} where data.tar is expected", where=self.where)
        yield from self._inflate(name, size)
        self._skip_padding(size)
        self._read_rest()

    # -- ar --------------------------------------------------------------------------------------------------

    def _next_member(self) -> tuple[str, int]:
        """Name and size of the next member; those whose name begins with ``_`` are passed over, as deb(5) says."""
        while True:
            name, size = self._parse_header(self._read_exactly(60))
            if not name.startswith("_"):
                return name, size
            self._skip(size)
            self._skip_padding(size)

    def _parse_header(self, header: bytes) -> tuple[str, int]:
        name = header[:16].decode("ascii", "replace").rstrip().rstrip("/")
        size = header[48:58].rstrip(b" ")
        if header[58:] != b"`\n" or not size.isdigit():
            raise LayerError("has a damaged member header", where=self.where)
        return name, int(size)

    def _read_rest(self) -> None:
        """What follows the data: members of later versions of the format, which deb(5) says to ignore."""
        while header := self._file.read(60):
            if len(header) != 60:
                raise LayerError("has rubbish behind its data", where=self.where)
            _, size = self._parse_header(header)
            self._skip(size)
            self._skip_padding(size)

    def _read_exactly(self, size: int) -> bytes:
        data = self._file.read(size)
        if len(data) != size:
            raise LayerError("is cut off", where=self.where)
        return data

    def _skip(self, size: int) -> None:
        while size:
            size -= len(self._read_exactly(min(size, _READ)))

    def _skip_padding(self, size: int) -> None:
        """The line break that makes a member's size even; the last member may lack it."""
        if size % 2 and self._file.read(1) not in (b"\n", b""):
            raise LayerError("has a damaged member", where=self.where)

    def _inflate(self, name: str, size: int) -> Iterator[bytes]:
        suffix = name.rpartition(".tar")[2]
        if suffix not in INFLATERS:
            raise LayerError(f"member {name!r} is compressed in an unknown way", where=self.where)
        inflater = INFLATERS[suffix]()
        left, allowed = size, _ALLOWANCE + _RATIO * size
        try:
            while left:
                data = self._read_exactly(min(left, _READ))
                left -= len(data)
                for chunk in inflater.inflate(data):
                    allowed -= len(chunk)
                    if allowed < 0:
                        raise LayerError(f"{name} inflates to more than {_RATIO} times its size", where=self.where)
                    if chunk:
                        yield chunk
        except DAMAGE as error:
            raise LayerError(f"{name} is damaged: {error}", where=self.where) from error
        if not inflater.is_complete():
            raise LayerError(f"{name} is cut off", where=self.where)

    def _read_control(self, name: str, size: int) -> dict[str, ControlFile]:
        if not name.startswith("control.tar"):
            raise LayerError(f"has a member {name!r} where control.tar is expected", where=self.where)
        files: dict[str, ControlFile] = {}
        total = 0
        for entry, stream in read_entries(self._inflate(name, size), where=self.where):
            if entry.kind == "dir":
                continue
            total += entry.size
            if entry.kind != "file" or total > _CONTROL_LIMIT or entry.path in files or not _is_member(entry.path):
                raise LayerError(f"control.tar has an unexpected member {entry.path!r}", where=self.where)
            files[entry.path] = ControlFile(entry.mode, b"".join(stream))
        if "control" not in files:
            raise LayerError("control.tar has no control file", where=self.where)
        for text in _TEXTS:
            if text in files:
                self._check_text(text, files[text].content)
        try:
            parse_fields(files["control"].content.decode())
        except ValueError as error:
            raise LayerError(f"control is damaged: {error}", where=self.where) from error
        return files

    def _check_text(self, name: str, content: bytes) -> None:
        try:
            content.decode()
        except UnicodeDecodeError as error:
            raise LayerError(f"{name} is not UTF-8", where=self.where) from error


_is_member = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*").fullmatch
"""What dpkg's database names a control file (``<package>.<member>``) can be made of."""
