"""Reads of an ELF file what the dynamic loader reads: libraries needed, symbols and their versions.

Only the ranges that hold these are read, so a library of a gigabyte takes as long as its symbol table. A general
parser in Python is two orders of magnitude slower on large tables, and wants the whole file.
Sources: the System V ABI, "Dynamic Linking"; the LSB Core specification, "Symbol Versioning"; glibc,
``elf/dl-lookup.c`` and ``elf/dl-version.c`` for what the loader makes of it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

import msgspec

MAGIC = b"\x7fELF"
HEADER = 64
"""Bytes of the file's header, at most."""

Read = Callable[[int, int], bytes]
"""``read(offset, size)``: exactly these bytes of the file, or ElfError."""

_MACHINES = {3: "i386", 21: "ppc64", 22: "s390x", 40: "arm", 62: "x86_64", 183: "aarch64", 243: "riscv"}
_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_WRITABLE = 2
_DT_NEEDED, _DT_HASH, _DT_STRTAB, _DT_SYMTAB, _DT_STRSZ, _DT_SONAME, _DT_RPATH = 1, 4, 5, 6, 10, 14, 15
_DT_RUNPATH, _DT_GNU_HASH, _DT_VERSYM, _DT_VERDEF, _DT_VERNEED = 29, 0x6FFFFEF5, 0x6FFFFFF0, 0x6FFFFFFC, 0x6FFFFFFE
_SHT_DYNSYM = 11
_WEAK = 2
_BINDS = frozenset({1, _WEAK, 10})  # global, weak, unique
_TLS = 6
_ABSOLUTE = 0xFFF1
_HIDDEN, _BASE_FLAG, _WEAK_FLAG = 0x8000, 1, 2

_MOST_HEADERS = 4096
_MOST_TAGS = 1 << 14
_MOST_SYMBOLS = 4 << 20
_LARGEST_STRINGS = 256 << 20
_MOST_VERSIONS = 1 << 15


class ElfError(Exception):
    """The file is damaged, or of a kind that is not read here."""


class Undefined(msgspec.Struct, frozen=True):
    """A symbol that another file must define; ``library`` and ``version`` are empty when any definition will do."""

    name: str
    library: str = ""
    version: str = ""
    weak: bool = False


class RequiredVersion(msgspec.Struct, frozen=True):
    """A version that ``library`` must define for the file to be loaded at all, unless it is ``weak``."""

    library: str
    version: str
    weak: bool = False


class Definitions:
    """The symbols that a file defines, taken from its tables when first asked for: of most files nobody asks."""

    def __init__(self, columns: _Columns, strings: bytes, versions: dict[int, str]) -> None:
        self._columns: _Columns | None = columns
        self._strings = strings
        self._versions = versions
        self._names: dict[str, tuple[str, ...]] = {}

    @property
    def names(self) -> dict[str, tuple[str, ...]]:
        """Each name with its versions: ``""`` without one, ``~V`` for one that only a reference to V can bind to."""
        if self._columns is not None:
            self._names = self._read(self._columns)
            self._columns, self._strings = None, b""
        return self._names

    def _read(self, columns: _Columns) -> dict[str, tuple[str, ...]]:
        exports: dict[str, tuple[str, ...]] = {}
        strings, find = self._strings, self._strings.find
        labels: dict[int, tuple[str, ...]] = {0: (), _HIDDEN: ()}
        for name, info, section, value, index in columns.rows():
            if not section or info >> 4 not in _BINDS or not name:
                continue
            if not value and section != _ABSOLUTE and info & 15 != _TLS:
                continue
            if index not in labels:
                version = self._versions.get(index & ~_HIDDEN, "")
                labels[index] = (f"~{version}" if index & _HIDDEN and index & ~_HIDDEN > 2 else version,)
            if not (label := labels[index]):
                continue
            text = strings[name : find(b"\0", name)].decode("utf-8", "backslashreplace")
            exports[text] = exports[text] + label if text in exports else label
        return exports


class _Columns(msgspec.Struct, frozen=True):
    """The table of symbols, column by column: that is what Python reads fast."""

    names: list[int]
    infos: bytes
    sections: list[int]
    values: list[int]
    indexes: list[int]

    def rows(self) -> Iterator[tuple[int, int, int, int, int]]:
        """Name, info, section, value, version index of each symbol."""
        return zip(self.names, self.infos, self.sections, self.values, self.indexes, strict=True)


class ElfFile(msgspec.Struct, frozen=True):
    """What matters of one file. ``machine`` as ``uname -m`` says it; ``bits`` 32 or 64; ``interpreter`` its loader.

    ``search`` holds the folders of DT_RPATH or DT_RUNPATH, as they are written. ``versions`` are those that the file
    defines; ``has_versions`` tells whether its symbols have versions at all, even if only those of other libraries. A
    file that is not linked dynamically has none of this.
    """

    machine: str
    bits: int
    soname: str = ""
    needed: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    interpreter: str = ""
    undefined: tuple[Undefined, ...] = ()
    required: tuple[RequiredVersion, ...] = ()
    versions: tuple[str, ...] = ()
    has_versions: bool = False
    defined: Definitions | None = None

    @property
    def exports(self) -> dict[str, tuple[str, ...]]:
        """Each defined name with its versions."""
        return self.defined.names if self.defined is not None else {}


class Segment(msgspec.Struct, frozen=True):
    """A program header: ``size`` bytes of the file from ``offset`` on are found at ``address``."""

    kind: int
    flags: int
    offset: int
    address: int
    size: int

    @property
    def is_loaded(self) -> bool:
        """Whether it is mapped into memory."""
        return self.kind == _PT_LOAD

    @property
    def is_writable(self) -> bool:
        """Whether it is mapped into memory that may be written."""
        return self.kind == _PT_LOAD and bool(self.flags & _WRITABLE)


class Header(msgspec.Struct, frozen=True):
    """The file's header: where program headers and section headers are, and how numbers are written."""

    order: str
    bits: int
    machine: str
    segments_at: int
    segment_size: int
    segment_count: int
    sections_at: int
    section_size: int
    section_count: int

    @property
    def segments_end(self) -> int:
        """Where the program headers end, in bytes from the file's start."""
        return self.segments_at + self.segment_size * self.segment_count


def parse_header(data: bytes) -> Header:
    """The header at the start of ``data``.

    Raises:
        ElfError: there is none, or one of a kind that is not known.
    """
    if data[:4] != MAGIC or len(data) < 52 or data[4] not in (1, 2) or data[5] not in (1, 2):
        raise ElfError("no ELF header")
    order, bits = "<>"[data[5] - 1], 32 * data[4]
    layout = f"{order}HHIQQQIHHHHH" if bits == 64 else f"{order}HHIIIIIHHHHH"
    if len(data) < 16 + struct.calcsize(layout):
        raise ElfError("the header is cut off")
    _, machine, _, _, segments, sections, _, _, size, count, section_size, section_count = struct.unpack_from(
        layout, data, 16
    )
    if count > _MOST_HEADERS or (count and size < (56 if bits == 64 else 32)):
        raise ElfError("impossible program headers")
    name = _MACHINES.get(machine, f"machine-{machine}")
    return Header(order, bits, name, segments, size, count, sections, section_size, section_count)


def parse_segments(header: Header, data: bytes) -> tuple[Segment, ...]:
    """The program headers, whose bytes are ``data``."""
    segments = []
    for index in range(header.segment_count):
        at = index * header.segment_size
        if header.bits == 64:
            kind, flags, offset, address, _, size = struct.unpack_from(f"{header.order}IIQQQQ", data, at)
        else:
            kind, offset, address, _, size, _, flags = struct.unpack_from(f"{header.order}IIIIIII", data, at)
        segments.append(Segment(kind, flags, offset, address, size))
    return tuple(segments)


def read_elf(read: Read) -> ElfFile:
    """The facts about the file that ``read`` reads from.

    Raises:
        ElfError: it is damaged, or a table that is needed cannot be read.
    """
    try:
        return _Reader(read).result()
    except (struct.error, IndexError, OverflowError, MemoryError, ValueError) as error:
        raise ElfError(f"damaged: {error}") from error


def list_needed_ranges(header: Header, segments: tuple[Segment, ...]) -> Iterator[tuple[int, int]]:
    """``(offset, size)`` of what :func:`read_elf` reads of a file at once, as far as its first page tells.

    The tables of symbols are not among them: only the dynamic section says where they are.
    """
    yield 0, HEADER
    yield header.segments_at, header.segment_size * header.segment_count
    yield header.sections_at, header.section_size * header.section_count
    for segment in segments:
        if segment.kind in (_PT_DYNAMIC, _PT_INTERP):
            yield segment.offset, segment.size


class _Reader:
    def __init__(self, read: Read) -> None:
        self._read = read
        self._header = parse_header(_read_up_to(read, HEADER))
        self._order, self._bits = self._header.order, self._header.bits
        size = self._header.segment_size * self._header.segment_count
        self._segments = parse_segments(self._header, read(self._header.segments_at, size) if size else b"")
        self._strings = b""
        self._tags: dict[int, int] = {}

    def result(self) -> ElfFile:
        dynamic = next((segment for segment in self._segments if segment.kind == _PT_DYNAMIC), None)
        interpreter = next((segment for segment in self._segments if segment.kind == _PT_INTERP), None)
        loader = ""
        if interpreter is not None and interpreter.size <= 4096:
            loader = self._read(interpreter.offset, interpreter.size).partition(b"\0")[0].decode("utf-8", "replace")
        if dynamic is None or not dynamic.size:
            return ElfFile(self._header.machine, self._bits, interpreter=loader)
        listed = self._read_tags(dynamic)
        needed = tuple(self._string(value) for tag, value in listed if tag == _DT_NEEDED)
        soname = self._string(self._tags[_DT_SONAME]) if _DT_SONAME in self._tags else ""
        search = self._tags.get(_DT_RUNPATH, self._tags.get(_DT_RPATH))
        folders = tuple(filter(None, self._string(search).split(":"))) if search is not None else ()
        names, required, defined = self._read_versions()
        undefined, definitions = self._read_symbols(names, defined)
        return ElfFile(
            machine=self._header.machine,
            bits=self._bits,
            soname=soname,
            needed=needed,
            search=folders,
            interpreter=loader,
            undefined=undefined,
            required=required,
            versions=tuple(sorted(defined.values())),
            has_versions=_DT_VERSYM in self._tags,
            defined=definitions,
        )

    # -- the dynamic section -----------------------------------------------------------------------------------

    def _read_tags(self, dynamic: Segment) -> list[tuple[int, int]]:
        layout = struct.Struct(f"{self._order}{'qQ' if self._bits == 64 else 'iI'}")
        size = min(dynamic.size, _MOST_TAGS * layout.size) // layout.size * layout.size
        listed: list[tuple[int, int]] = []
        for tag, value in layout.iter_unpack(self._read(dynamic.offset, size)):
            if tag == 0:
                break
            listed.append((tag & 0xFFFFFFFF, value))
        self._tags = dict(listed)
        if _DT_STRTAB in self._tags:
            size = self._tags.get(_DT_STRSZ, 0)
            if size > _LARGEST_STRINGS:
                raise ElfError(f"a table of strings of {size:,} bytes")
            self._strings = self._read(self._locate(self._tags[_DT_STRTAB]), size)
        return listed

    def _locate(self, address: int) -> int:
        for segment in self._segments:
            if segment.is_loaded and segment.address <= address < segment.address + segment.size:
                return address - segment.address + segment.offset
        raise ElfError(f"address {address:#x} is in no segment")

    def _string(self, at: int) -> str:
        end = self._strings.find(b"\0", at)
        if not 0 <= at <= len(self._strings) or end < 0:
            raise ElfError("a name outside of the table of strings")
        return self._strings[at:end].decode("utf-8", "backslashreplace")

    # -- versions ----------------------------------------------------------------------------------------------

    def _read_versions(self) -> tuple[dict[int, tuple[str, str]], tuple[RequiredVersion, ...], dict[int, str]]:
        """What a version index means: for undefined symbols (library, version), for defined ones the version."""
        needed: dict[int, tuple[str, str]] = {}
        required: list[RequiredVersion] = []
        start = self._locate(self._tags[_DT_VERNEED]) if _DT_VERNEED in self._tags else 0
        for at in self._follow(start, 12):
            _, count, file, first = struct.unpack_from(f"{self._order}HHII", self._read(at, 16))
            library = self._string(file)
            for entry in self._follow(at + first if count else 0, 12):
                _, flags, index, name = struct.unpack_from(f"{self._order}IHHI", self._read(entry, 16))
                version = self._string(name)
                needed[index & ~_HIDDEN] = library, version
                required.append(RequiredVersion(library, version, bool(flags & _WEAK_FLAG)))
        defined: dict[int, str] = {}
        start = self._locate(self._tags[_DT_VERDEF]) if _DT_VERDEF in self._tags else 0
        for at in self._follow(start, 16):
            _, flags, index, _, _, first = struct.unpack_from(f"{self._order}HHHHII", self._read(at, 20))
            (name,) = struct.unpack(f"{self._order}I", self._read(at + first, 4))
            if not flags & _BASE_FLAG:
                defined[index & ~_HIDDEN] = self._string(name)
        return needed, tuple(required), defined

    def _follow(self, at: int, link: int) -> Iterator[int]:
        """The offsets of a chain of records, each of which says at ``link`` how far the next is."""
        for _ in range(_MOST_VERSIONS):
            if not at:
                return
            yield at
            (step,) = struct.unpack(f"{self._order}I", self._read(at + link, 4))
            at = at + step if step else 0
        raise ElfError("an endless chain of versions")

    # -- symbols -----------------------------------------------------------------------------------------------

    def _read_symbols(
        self, needed: dict[int, tuple[str, str]], defined: dict[int, str]
    ) -> tuple[tuple[Undefined, ...], Definitions | None]:
        count = self._count_symbols() if _DT_SYMTAB in self._tags else 0
        if count > _MOST_SYMBOLS:
            raise ElfError(f"{count:,} symbols")
        if not count:
            return (), None
        columns = self._read_columns(count)
        if not self._strings.endswith(b"\0"):  # patchelf may count them so
            self._strings += b"\0"
        if max(columns.names) >= len(self._strings):
            raise ElfError("a name outside of the table of strings")
        undefined: list[Undefined] = []
        for number in [number for number, section in enumerate(columns.sections) if not section]:
            bind = columns.infos[number] >> 4
            if number and bind in _BINDS and columns.names[number]:
                library, version = needed.get(columns.indexes[number] & ~_HIDDEN, ("", ""))
                undefined.append(Undefined(self._string(columns.names[number]), library, version, bind == _WEAK))
        return tuple(undefined), Definitions(columns, self._strings, defined)

    def _read_columns(self, count: int) -> _Columns:
        size = 24 if self._bits == 64 else 16
        table = self._read(self._locate(self._tags[_DT_SYMTAB]), count * size)
        indexes = [1] * count
        if _DT_VERSYM in self._tags:
            data = self._read(self._locate(self._tags[_DT_VERSYM]), count * 2)
            indexes = list(struct.unpack(f"{self._order}{count}H", data))
        words = struct.unpack(f"{self._order}{count * size // 4}I", table)
        halves = struct.unpack(f"{self._order}{count * size // 2}H", table)
        if self._bits == 64:  # name, info, other, section, value, size
            values = struct.unpack(f"{self._order}{count * 3}Q", table)[1::3]
            return _Columns(list(words[0::6]), table[4::24], list(halves[3::12]), list(values), indexes)
        return _Columns(list(words[0::4]), table[12::16], list(halves[7::8]), list(words[1::4]), indexes)

    def _count_symbols(self) -> int:
        """How many symbols there are; no tag says so. The hash tables do, except for files that define nothing."""
        counts = [0]
        if _DT_HASH in self._tags and not (self._bits == 64 and self._header.machine == "s390x"):
            counts.append(struct.unpack(f"{self._order}I", self._read(self._locate(self._tags[_DT_HASH]) + 4, 4))[0])
        if _DT_GNU_HASH in self._tags:
            counts.append(self._count_hashed(self._locate(self._tags[_DT_GNU_HASH])))
        if _DT_HASH not in self._tags:
            counts.append(self._count_listed())
        return max(counts)

    def _count_hashed(self, at: int) -> int:
        buckets, first, words, _ = struct.unpack(f"{self._order}4I", self._read(at, 16))
        if buckets > _MOST_SYMBOLS or words > _MOST_SYMBOLS:
            raise ElfError("an impossible hash table")
        at += 16 + words * self._bits // 8
        last = max(struct.unpack(f"{self._order}{buckets}I", self._read(at, 4 * buckets)), default=0)
        if last < first:
            return int(first)
        at += 4 * buckets
        while last - first <= _MOST_SYMBOLS:
            (value,) = struct.unpack(f"{self._order}I", self._read(at + 4 * (last - first), 4))
            last += 1
            if value & 1:
                return int(last)
        raise ElfError("an endless hash table")

    def _count_listed(self) -> int:
        """What the section headers say, where there are any: the loader does not use them, but linkers write them."""
        size, count = self._header.section_size, min(self._header.section_count, 1 << 16)
        layout = struct.Struct(f"{self._order}{'IIQQQQIIQQ' if self._bits == 64 else 'IIIIIIIIII'}")
        if not self._header.sections_at or size != layout.size or not count:
            return 0
        for fields in layout.iter_unpack(self._read(self._header.sections_at, size * count)):
            if fields[1] == _SHT_DYNSYM and fields[3] == self._tags[_DT_SYMTAB]:
                return int(fields[5] // (24 if self._bits == 64 else 16))
        return 0


def _read_up_to(read: Read, size: int) -> bytes:
    try:
        return read(0, size)
    except ElfError:
        return read(0, 52)  # a header of 32 bits and nothing else
