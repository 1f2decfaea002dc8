"""Blobs that are not stored but read from other files: the layers of weights.

A layer of one weight file is a header, the file's bytes and padding. Writing that out would double the disk space
and time of every large model, so the store keeps the list of segments and the bytes come from the file itself.
"""

from __future__ import annotations

import io
import os
from pathlib import Path

import msgspec

from layerforge.errors import SourceError


class FileState(msgspec.Struct, frozen=True):
    """What ``stat`` says of a file; while none of it changes, the content is taken to be the same."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> FileState:
        """The state in a ``stat`` result."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class Segment(msgspec.Struct, frozen=True):
    """Either literal ``data``, or the whole of the file ``path``, which was in ``state`` when it was hashed."""

    data: bytes = b""
    path: str = ""
    state: FileState | None = None

    @property
    def size(self) -> int:
        """Bytes."""
        return self.state.size if self.state else len(self.data)


class Segments(msgspec.Struct, frozen=True):
    """The parts of a blob, in order."""

    parts: tuple[Segment, ...]

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(part.size for part in self.parts)

    def are_current(self) -> bool:
        """Whether every file is still in the state in which it was hashed."""
        try:
            return all(not part.state or FileState.of(Path(part.path).stat()) == part.state for part in self.parts)
        except OSError:
            return False


class _SegmentReader(io.RawIOBase):
    def __init__(self, segments: Segments) -> None:
        super().__init__()
        self._parts = iter(segments.parts)
        self._current: io.RawIOBase | None = None
        self._segment = Segment()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        while True:
            if self._current is None:
                segment = next(self._parts, None)
                if segment is None:
                    return 0
                self._segment = segment
                self._current = self._open(segment)
            try:
                count = self._current.readinto(buffer)
            except OSError as error:
                raise SourceError(f"cannot be read: {error.strerror}", where=self._segment.path) from error
            if count:
                return count
            self._leave()

    def _open(self, segment: Segment) -> io.RawIOBase:
        if not segment.path:
            return io.BytesIO(segment.data)  # type: ignore[return-value]
        try:
            file = Path(segment.path).open("rb", buffering=0)  # noqa: SIM115 - closed by _leave
        except OSError as error:
            hint = "the image in the store refers to it: build again"
            raise SourceError(f"cannot be read: {error.strerror}", where=segment.path, hint=hint) from error
        if FileState.of(os.fstat(file.fileno())) != segment.state:
            file.close()
            raise SourceError("has changed since the image was built", where=segment.path, hint="build again")
        return file

    def _leave(self) -> None:
        current, self._current = self._current, None
        if current is None:
            return
        try:
            if self._segment.path and FileState.of(os.fstat(current.fileno())) != self._segment.state:
                raise SourceError("changed while it was being read", where=self._segment.path, hint="build again")
        finally:
            current.close()

    def close(self) -> None:
        if self._current is not None:
            self._current.close()
        super().close()


def open_segments(segments: Segments) -> io.RawIOBase:
    """The bytes of ``segments`` in order, without verification of the digest.

    Raises:
        SourceError: while reading, a file is gone or is not in its recorded state.
    """
    return _SegmentReader(segments)
