"""The reader of ELF files: agrees with pyelftools on real libraries, and takes nothing from broken ones."""

from __future__ import annotations

import io
import itertools
import os
import random
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerDefSection, GNUVerNeedSection, GNUVerSymSection

from layerforge.abi.capture import IN_MEMORY, Capture, read_elf_file, reader_of
from layerforge.abi.elf import ElfError, ElfFile, read_elf
from tests.abi.made_libraries import Library, make
from tests.conftest import require

LIBRARIES = ("libc.so.6", "libstdc++.so.6", "libm.so.6", "libz.so.1", "libcrypto.so.3", "ld-linux-x86-64.so.2")


def real_files() -> list[Path]:
    folder = Path("/usr/lib") / f"{os.uname().machine}-linux-gnu"
    files = [folder / name for name in LIBRARIES if (folder / name).exists()]
    return [*files, *(Path(path) for path in ("/bin/sh", "/usr/bin/apt-get") if Path(path).exists())]


def by_pyelftools(data: bytes) -> dict[str, object]:
    elf = ELFFile(io.BytesIO(data))
    dynamic = elf.get_section_by_name(".dynamic")
    assert isinstance(dynamic, DynamicSection)
    names: dict[int, tuple[str, str]] = {}
    defined: dict[int, str] = {}
    versions: list[int] = []
    for section in elf.iter_sections():
        if isinstance(section, GNUVerNeedSection):
            for need, entries in section.iter_versions():
                names |= {entry["vna_other"] & 0x7FFF: (need.name, entry.name) for entry in entries}
        elif isinstance(section, GNUVerDefSection):
            for definition, auxiliaries in section.iter_versions():
                if not definition["vd_flags"] & 1:
                    defined[definition["vd_ndx"]] = next(iter(auxiliaries)).name
        elif isinstance(section, GNUVerSymSection):
            versions = [symbol["ndx"] for symbol in section.iter_symbols()]
    undefined, exports = set(), set()
    special = {"VER_NDX_LOCAL": 0, "VER_NDX_GLOBAL": 1}
    for number, symbol in enumerate(elf.get_section_by_name(".dynsym").iter_symbols()):
        bind = symbol["st_info"]["bind"]
        raw = versions[number] if versions else 1
        index = special.get(raw, raw)
        if not symbol.name or bind not in ("STB_GLOBAL", "STB_WEAK", "STB_LOOS"):
            continue
        if symbol["st_shndx"] == "SHN_UNDEF":
            undefined.add((symbol.name, *names.get(index & 0x7FFF, ("", "")), bind == "STB_WEAK"))
        elif index & 0x7FFF and (symbol["st_value"] or symbol["st_shndx"] == "SHN_ABS"):
            exports.add((symbol.name, defined.get(index & 0x7FFF, "")))
    return {
        "needed": [tag.needed for tag in dynamic.iter_tags("DT_NEEDED")],
        "soname": next((tag.soname for tag in dynamic.iter_tags("DT_SONAME")), ""),
        "versions": sorted(defined.values()),
        "undefined": undefined,
        "exports": exports,
    }


@pytest.mark.parametrize("path", real_files(), ids=lambda path: path.name)
def test_agrees_with_a_general_parser(path: Path) -> None:
    data = path.read_bytes()
    found, expected = read_elf(reader_of(data)), by_pyelftools(data)
    assert list(found.needed) == expected["needed"]
    assert found.soname == expected["soname"]
    assert list(found.versions) == expected["versions"]
    assert {(s.name, s.library, s.version, s.weak) for s in found.undefined} == expected["undefined"]
    mine = {(name, version.lstrip("~")) for name, versions in found.exports.items() for version in versions}
    assert mine >= expected["exports"]
    assert {name for name, _ in mine} == {name for name, _ in expected["exports"]} | {  # thread-local ones at 0
        name for name, _ in mine - expected["exports"]
    }
    assert len(mine - expected["exports"]) < 10
    assert read_elf_file(path) == found or read_elf_file(path) is not None


def capture(data: bytes, chunk: int = 1 << 16) -> ElfFile | None:
    keeper = Capture(len(data))
    for start in range(0, len(data), chunk):
        keeper.feed(data[start : start + chunk])
    return keeper.finish()


def summary(elf: ElfFile | None) -> tuple[object, ...]:
    assert elf is not None
    return elf.needed, elf.soname, elf.search, elf.undefined, elf.required, elf.versions, elf.exports


@pytest.mark.parametrize("chunk", [3, 100, 4096, 1 << 20])
def test_a_stream_says_the_same_as_a_file(chunk: int, tmp_path: Path) -> None:
    make({"libz9.so": Library("int two(void); int one(void) { return two(); }", rpath="$ORIGIN/x")}, tmp_path)
    data = (tmp_path / "libz9.so").read_bytes()
    assert summary(capture(data, chunk)) == summary(read_elf_file(tmp_path / "libz9.so"))


def test_a_large_library_is_not_held_in_memory(tmp_path: Path) -> None:
    source = f"char filling[{IN_MEMORY * 3}] = {{1}}; int two(void); int one(void) {{ return two(); }}"
    make({"large.so": Library(source)}, tmp_path)
    data = (tmp_path / "large.so").read_bytes()
    assert len(data) > IN_MEMORY
    assert summary(capture(data)) == summary(read_elf_file(tmp_path / "large.so"))


def test_tables_that_were_moved_behind_everything_are_found(tmp_path: Path) -> None:
    require(shutil.which("patchelf"), "patchelf is not installed")
    source = f"const char filling[{IN_MEMORY * 2}] = {{1}}; int two(void); int one(void) {{ return two(); }}"
    make({"moved.so": Library(source)}, tmp_path)
    path = tmp_path / "moved.so"
    subprocess.run(
        ["patchelf", "--set-rpath", "/" + "long/" * 900, "--add-needed", "libmore.so.1", str(path)], check=True
    )
    elf = capture(path.read_bytes())
    assert elf is not None and "libmore.so.1" in elf.needed and elf.search and "one" in elf.exports
    assert [symbol.name for symbol in elf.undefined] == ["two"]


def test_a_program_that_defines_nothing_still_has_demands(tmp_path: Path) -> None:
    make({"program": Library("int main(void) { return 0; }", program=True)}, tmp_path)
    elf = read_elf_file(tmp_path / "program")
    assert elf is not None and elf.interpreter.startswith("/lib")
    assert "__libc_start_main" in {symbol.name for symbol in elf.undefined}


@pytest.mark.parametrize("data", [b"", b"\x7fEL", b"PK\x03\x04" + bytes(100), b"#!/bin/sh\n" * 20, bytes(6 << 20)])
def test_what_is_no_elf_file_is_passed_over(data: bytes) -> None:
    assert capture(data) is None


def test_other_files_cost_nothing() -> None:
    keeper = Capture(1 << 40)
    keeper.feed(b"x" * 4096)
    for _ in range(100_000):
        keeper.feed(b"")
    assert keeper.finish() is None


def test_damage_is_an_error_and_nothing_else(tmp_path: Path) -> None:
    """Every cut and 3,000 random changes: an answer or an ElfError, soon, and never another exception."""
    source = "int two(void); int one(void) { return two(); }"
    make({"liba.so": Library(source, versions="V1 { global: *; };")}, tmp_path)
    data = (tmp_path / "liba.so").read_bytes()
    dice = random.Random(5)
    broken = [data[:length] for length in range(4, min(len(data), 4096), 7)]
    for _ in range(3000):
        changed = bytearray(data)
        for _ in range(dice.randint(1, 4)):
            at = dice.randrange(min(len(data), 1 << 13)) if dice.random() < 0.7 else dice.randrange(len(data))
            changed[at] = dice.choice((0, 1, 0x7F, 0xFF, dice.randrange(256)))
        broken.append(bytes(changed))
    for case in broken:
        try:
            elf = capture(case)
            assert elf is None or elf.exports is not None
        except ElfError:
            pass


def test_absurd_sizes_are_refused() -> None:
    header = bytearray(b"\x7fELF\x02\x01\x01" + bytes(57))
    struct.pack_into("<HHIQQQIHHHHH", header, 16, 3, 62, 1, 0, 64, 0, 0, 64, 56, 2, 64, 0)
    load = struct.pack("<IIQQQQQQ", 1, 4, 0, 0, 0, 1 << 40, 1 << 40, 4096)
    dynamic = struct.pack("<IIQQQQQQ", 2, 6, 176, 176, 176, 1 << 40, 1 << 40, 8)
    for tags in itertools.permutations([(5, 176), (10, 1 << 39), (6, 176)], 3):
        table = b"".join(struct.pack("<qQ", *tag) for tag in tags)
        with pytest.raises(ElfError):
            read_elf(reader_of(bytes(header) + load + dynamic + table + bytes(64)))
