"""Keeps what reading an ELF file takes while the file streams by, for nothing in a layer is read twice.

Where the tables are is told by the dynamic section, which linkers write near the end and the tables near the start.
So the first segment is kept, and the writable ones (``patchelf`` moves tables into a new one): in memory for files of a
few megabytes, in a temporary file with holes for larger ones.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import msgspec

from layerforge.abi.elf import (
    HEADER,
    MAGIC,
    ElfError,
    ElfFile,
    Read,
    list_needed_ranges,
    parse_header,
    parse_segments,
    read_elf,
)
from layerforge.errors import StoreError

IN_MEMORY = 4 << 20
"""Files of at most this many bytes are held whole."""

START = 64 << 20
"""So many bytes of a segment are kept at most; the largest table of strings seen has 30 MB."""


class Capture:
    """Feed it a file of ``size`` bytes; :meth:`finish` says what it is. ``folder`` is for temporary files."""

    def __init__(self, size: int, folder: Path | None = None) -> None:
        self._size = size
        self._folder = folder
        self._offset = 0
        self._chunks: list[bytes] = []
        self._spill: _Spill | None = None
        self._is_elf = size >= 52  # the smallest header

    def feed(self, chunk: bytes) -> None:
        """The next bytes."""
        if not self._is_elf:
            return
        if self._spill is not None:
            self._spill.write(self._offset, chunk)
        elif not self._offset and len(chunk) >= 4 and chunk[:4] != MAGIC:
            self._is_elf = False
        elif self._size <= IN_MEMORY:
            self._chunks.append(chunk)
        else:
            self._begin(chunk)
        self._offset += len(chunk)

    def finish(self) -> ElfFile | None:
        """The facts; None for what is no ELF file.

        Raises:
            ElfError: it is damaged, or so unusual that what reading it takes was not kept.
        """
        try:
            if self._spill is not None:
                return read_elf(self._spill.read)
            data = b"".join(self._chunks)
            return read_elf(reader_of(data)) if data[:4] == MAGIC else None
        finally:
            self.close()

    def close(self) -> None:
        """Drop what was kept."""
        self._chunks.clear()
        if self._spill is not None:
            self._spill.close()
            self._spill = None

    def _begin(self, chunk: bytes) -> None:
        """Decide from the first bytes of a large file what to keep of it."""
        self._chunks.append(chunk)
        data = b"".join(self._chunks)
        if len(data) < 4096:
            return
        self._is_elf = data[:4] == MAGIC
        if self._is_elf:
            self._spill = _Spill(_choose_ranges(data, self._size), self._folder)
            self._spill.write(0, data)
        self._chunks.clear()


def _choose_ranges(start: bytes, size: int) -> tuple[tuple[int, int], ...]:
    """(offset, end) of what to keep of a file that begins with ``start``: all of it, when it begins strangely."""
    try:
        header = parse_header(start[:HEADER])
        if header.segments_end > len(start):
            return ((0, size),)
        segments = parse_segments(header, start[header.segments_at : header.segments_end])
    except ElfError:
        return ()
    ranges = [(at, at + length) for at, length in list_needed_ranges(header, segments)]
    loaded = sorted((segment for segment in segments if segment.is_loaded), key=lambda segment: segment.offset)
    kept = [segment for segment in loaded if segment is loaded[0] or segment.is_writable]
    ranges += [(segment.offset, segment.offset + min(segment.size, START)) for segment in kept]
    return tuple(ranges)


class _Spill:
    def __init__(self, ranges: tuple[tuple[int, int], ...], folder: Path | None) -> None:
        self._ranges = ranges
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by close
        self._kept: list[_Range] = []

    def write(self, offset: int, chunk: bytes) -> None:
        end = offset + len(chunk)
        if any(start < end and offset < stop for start, stop in self._ranges):
            try:
                os.pwrite(self._file.fileno(), chunk, offset)
            except OSError as error:
                raise StoreError("no room for a temporary file", where=str(error.strerror)) from error
            if self._kept and self._kept[-1].end == offset:
                self._kept[-1].end = end
            else:
                self._kept.append(_Range(offset, end))

    def read(self, offset: int, size: int) -> bytes:
        if not any(kept.start <= offset and offset + size <= kept.end for kept in self._kept):
            raise ElfError(f"{size:,} bytes at {offset:,} were not kept, or are not there")
        data = os.pread(self._file.fileno(), size, offset)
        if len(data) != size:
            raise ElfError("cut off")
        return data

    def close(self) -> None:
        self._file.close()


class _Range(msgspec.Struct):
    start: int
    end: int


def reader_of(data: bytes) -> Read:
    """Reads from ``data``."""

    def read(offset: int, size: int) -> bytes:
        if offset < 0 or size < 0 or offset + size > len(data):
            raise ElfError("cut off")
        return data[offset : offset + size]

    return read


def read_elf_file(path: Path) -> ElfFile | None:
    """The facts about a file at hand; None for what is no ELF file.

    Raises:
        ElfError: it is damaged.
        OSError: it cannot be read.
    """
    with path.open("rb", buffering=0) as file:
        handle = file.fileno()

        def read(offset: int, size: int) -> bytes:
            data = os.pread(handle, size, offset) if offset >= 0 and size >= 0 else b""
            if len(data) != size:
                raise ElfError("cut off")
            return data

        return read_elf(read) if os.pread(handle, 4, 0) == MAGIC else None
