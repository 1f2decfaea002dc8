"""Reads from a package what the state of the root is made of, decompressing no more of it than needed."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile

from layerforge.errors import LayerError
from layerforge.sources.debian.control import parse_fields
from layerforge.sources.debian.deb import ControlFile, DebEntry, DebFile, read_entries
from layerforge.sources.debian.placement import merge, merge_path, record_name
from layerforge.sources.debian.rootstate import DebFacts, Library

_WANTED = (
    "usr/share/base-files/",
    "usr/share/base-passwd/",
    "usr/share/ca-certificates/",
    "usr/share/debianutils/",
    "usr/share/libc-bin/",
    "usr/share/pam-configs/",
    "usr/share/pam/",
    "usr/share/readline/",
    "etc/ld.so.conf",
)
_LIBRARY_LIMIT = 512 << 20
_MACHINES = {"amd64": "EM_X86_64", "arm64": "EM_AARCH64", "armhf": "EM_ARM", "i386": "EM_386"}


def library_folders(triplet: str) -> tuple[str, ...]:
    """Where the dynamic loader looks by itself, in a usr-merged root."""
    return (f"usr/lib/{triplet}", "usr/lib", "usr/lib64")


def read_facts(path: Path, *, triplet: str, where: str = "") -> DebFacts:
    """The facts about the package in the file ``path``; ``triplet`` as ``x86_64-linux-gnu``.

    Raises:
        LayerError: it is damaged or unsafe.
    """
    with DebFile(path, where=where) as deb:
        fields = parse_fields(deb.control["control"].content.decode("utf-8", "replace"))
        record = record_name(deb.control)
        conffiles = _conffiles(deb.control)
        needed = set(conffiles) | {name for name in _sums(deb.control) if _is_needed(name, triplet)}
        if not needed:
            return DebFacts(record, fields, deb.control)
        sums: dict[str, str] = {}
        files: dict[str, bytes] = {}
        libraries: list[Library] = []
        with closing(deb.data_chunks()) as chunks:
            for entry, content in read_entries(chunks, where=f"package {record}"):
                if entry.kind != "file" or entry.path not in needed:
                    for _ in content:
                        pass
                    continue
                _read_file(entry, content, sums, files, libraries, triplet, fields.get("Architecture", ""))
                needed.discard(entry.path)
                if not needed:
                    break
        listed = tuple((name, sums.get(name, "newconffile")) for name in conffiles)
        return DebFacts(record, fields, deb.control, listed, tuple(libraries), files)


def _read_file(
    entry: DebEntry,
    content: Iterator[bytes],
    sums: dict[str, str],
    files: dict[str, bytes],
    libraries: list[Library],
    triplet: str,
    architecture: str,
) -> None:
    path = merge_path(entry)
    folder, _, filename = path.rpartition("/")
    is_library = _is_library(path, triplet)
    if is_library and entry.size > _LIBRARY_LIMIT:
        raise LayerError(f"{path}: a library of {entry.size:,} bytes")
    data = b"".join(content)
    sums[entry.path] = hashlib.md5(data, usedforsecurity=False).hexdigest()
    if is_library:
        soname = read_soname(data, filename, architecture)
        if soname:
            libraries.append(Library(folder, filename, soname))
    elif path.startswith(_WANTED):
        files[path] = data


def _conffiles(control: dict[str, ControlFile]) -> list[str]:
    """Conffiles in dpkg's order; ``remove-on-upgrade`` ones are not installed."""
    lines = control["conffiles"].content.decode().split("\n") if "conffiles" in control else []
    return [line.strip().lstrip("/") for line in lines if line.startswith("/")]


def _sums(control: dict[str, ControlFile]) -> Iterator[str]:
    if "md5sums" in control:
        for line in control["md5sums"].content.decode("utf-8", "surrogateescape").split("\n"):
            if len(line) > 34:
                yield line[34:]


def _is_needed(path: str, triplet: str) -> bool:
    return path.startswith(_WANTED) or _is_library(merge(path), triplet)


def _is_library(path: str, triplet: str) -> bool:
    """What ldconfig takes for a library: ``lib*`` or ``ld-*`` with ``.so`` in its name (elf/ldconfig.c)."""
    folder, _, filename = path.rpartition("/")
    return ".so" in filename and filename.startswith(("lib", "ld-", "ld.so")) and folder in library_folders(triplet)


def read_soname(data: bytes, filename: str, architecture: str) -> str:
    """The DT_SONAME of a shared library, its file name if it has none; empty when it is no library for us."""
    if not data.startswith(b"\x7fELF"):
        return ""
    try:
        elf = ELFFile(io.BytesIO(data))
        if elf["e_machine"] != _MACHINES.get(architecture, elf["e_machine"]):
            return ""
        for segment in elf.iter_segments():
            if isinstance(segment, DynamicSegment):
                names = [tag.soname for tag in segment.iter_tags("DT_SONAME")]  # type: ignore[attr-defined]
                return str(names[0]) if names else filename
    except (ELFError, ValueError, KeyError, AttributeError) as error:
        raise LayerError(f"{filename} is a damaged library: {error}") from error
    return ""
