"""The DT_SONAME of a shared library, read while the library passes by.

Format: the ELF specification (gABI), chapters "ELF Header", "Program Header" and "Dynamic Section".
"""

from __future__ import annotations

import struct

from layerforge.errors import LayerError

_MACHINES = {
    "amd64": 62,
    "arm64": 183,
    "armhf": 40,
    "i386": 3,
    "ppc64el": 21,
    "riscv64": 243,
    "s390x": 22,
}
_PT_LOAD, _PT_DYNAMIC = 1, 2
_DT_NULL, _DT_STRTAB, _DT_SONAME = 0, 5, 14
_WHOLE = 32 << 20
"""Bytes kept of a library. Of larger ones that is their beginning, where linkers put names, and the dynamic section."""
_TABLE_LIMIT = 1 << 20


class SonameReader:
    """Is fed one file in chunks; :meth:`finish` tells its soname. ``filename`` is for messages."""

    def __init__(self, filename: str, architecture: str) -> None:
        self._filename = filename
        self._machine = _MACHINES.get(architecture)
        self._head = bytearray()
        self._seen = 0
        self._is_elf: bool | None = None
        self._dynamic: tuple[int, int] | None = None
        self._table = bytearray()

    def feed(self, chunk: bytes) -> None:
        """The next bytes of the file."""
        start, self._seen = self._seen, self._seen + len(chunk)
        if self._is_elf is False:
            return
        if len(self._head) < _WHOLE:
            self._head += chunk[: _WHOLE - len(self._head)]
            if self._is_elf is None and len(self._head) >= 4:
                self._is_elf = self._head.startswith(b"\x7fELF")
        if self._seen <= _WHOLE:
            return
        if self._dynamic is None:
            self._dynamic = self._find_dynamic() or (0, 0)
        offset, size = self._dynamic
        begin = max(offset + len(self._table), start)
        if begin < min(offset + size, self._seen):
            self._table += chunk[begin - start : offset + size - start]

    def finish(self) -> str | None:
        """The soname, empty if the library has none; None when it is no library of the architecture.

        Raises:
            LayerError: a damaged library.
        """
        if not self._is_elf:
            return None
        try:
            return self._read_soname()
        except (struct.error, IndexError, ValueError) as error:
            raise LayerError(f"{self._filename} is a damaged library: {error}") from error

    def _read_soname(self) -> str | None:
        if self._machine is not None and self._unpack("H", 18)[0] != self._machine:
            return None
        found = self._find_dynamic()
        if found is None:
            return None
        offset, size = found
        inside = offset + size <= len(self._head)
        table = self._head[offset : offset + size] if inside else self._table
        if len(table) < size:
            raise ValueError("its dynamic section is cut off")
        values: dict[int, int] = {}
        pair = struct.Struct(self._order + ("qQ" if self._is_wide else "iI"))
        for tag, value in pair.iter_unpack(table[: size - size % pair.size]):
            if tag == _DT_NULL:
                break
            values.setdefault(tag, value)
        if _DT_SONAME not in values:
            return ""
        return self._read_name(self._locate(values[_DT_STRTAB]) + values[_DT_SONAME])

    def _read_name(self, start: int) -> str:
        end = self._head.find(b"\0", start)
        if not 0 < start <= end:
            raise ValueError("its soname is out of reach")
        return self._head[start:end].decode()

    def _find_dynamic(self) -> tuple[int, int] | None:
        """Offset and size of the dynamic section in the file."""
        for kind, offset, _, size in self._segments():
            if kind == _PT_DYNAMIC:
                if size > _TABLE_LIMIT:
                    raise LayerError(f"{self._filename} is a damaged library: a dynamic section of {size:,} bytes")
                return offset, size
        return None

    def _locate(self, address: int) -> int:
        """The offset in the file of what is loaded at ``address``."""
        for kind, offset, start, size in self._segments():
            if kind == _PT_LOAD and start <= address < start + size:
                return offset + address - start
        raise ValueError("its table of strings is not loaded")

    def _segments(self) -> list[tuple[int, int, int, int]]:
        """Type, offset, address and size in the file of each program header."""
        if self._is_wide:
            table, step, count = self._unpack("Q", 32)[0], *self._unpack("HH", 54)
            rows = [self._unpack("IIQQQQ", table + step * index) for index in range(count)]
            return [(kind, offset, address, size) for kind, _, offset, address, _, size in rows]
        table, step, count = self._unpack("I", 28)[0], *self._unpack("HH", 42)
        rows = [self._unpack("IIIII", table + step * index) for index in range(count)]
        return [(kind, offset, address, size) for kind, offset, address, _, size in rows]

    @property
    def _is_wide(self) -> bool:
        return self._head[4] == 2

    @property
    def _order(self) -> str:
        return ">" if self._head[5] == 2 else "<"

    def _unpack(self, form: str, offset: int) -> tuple[int, ...]:
        return struct.unpack_from(self._order + form, self._head, offset)


def read_soname(data: bytes, filename: str, architecture: str) -> str | None:
    """The soname of the library ``data``, as :class:`SonameReader` finds it."""
    reader = SonameReader(filename, architecture)
    reader.feed(data)
    return reader.finish()
