"""Collects from a package what the state of the root is made of, while its layer is written or by reading it once."""

from __future__ import annotations

import hashlib
import io
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import msgspec

from layerforge.errors import LayerError
from layerforge.sources.debian.control import parse_fields
from layerforge.sources.debian.deb import ControlFile, DebEntry, DebFile, read_entries
from layerforge.sources.debian.loader import TRIPLETS
from layerforge.sources.debian.placement import merge, merge_path, record_name
from layerforge.sources.debian.rootstate import DebFacts, Library, Listed
from layerforge.sources.debian.wanted import REVISION, Wanted

TOPIC = f"deb-facts-{REVISION}"
"""The store's topic for kept facts, by the package's digest."""

_LIBRARY_LIMIT = 512 << 20
_MACHINES = {"amd64": "EM_X86_64", "arm64": "EM_AARCH64", "armhf": "EM_ARM", "i386": "EM_386"}


class FactCollector:
    """Collects the facts about one package with these ``control`` files; its entries pass through :meth:`add`."""

    def __init__(self, control: Mapping[str, ControlFile]) -> None:
        self._control = dict(control)
        self._fields = parse_fields(control["control"].content.decode("utf-8", "replace"))
        self._record = record_name(control)
        self._architecture = self._fields.get("Architecture", "")
        self._folders = library_folders(TRIPLETS.get(self._architecture, ""))
        self._conffiles = _conffiles(control)
        self._sums: dict[str, str] = {}
        self._wanted = Wanted(control)
        self._paths: list[Listed] = []
        self._libraries: list[Library] = []
        self._files: dict[str, bytes] = {}

    def add(self, entry: DebEntry, content: Iterable[bytes]) -> Iterable[bytes]:
        """Take note of ``entry``; its content is what is returned, which must be read to its end in any case.

        Raises:
            LayerError: a damaged library.
        """
        path = merge_path(entry)
        target = merge(entry.target) if entry.kind == "hardlink" else entry.target
        shipped = "" if path == entry.path else entry.path
        self._paths.append(Listed(path, entry.kind, entry.mode, entry.uid, entry.gid, entry.size, target, shipped))
        if entry.kind != "file":
            return content
        is_library = _is_library(path, self._folders)
        wanted = self._wanted.wants(path, entry.path, entry.size)
        if not is_library and not wanted and entry.path not in self._conffiles:
            return content
        return self._read(entry, path, content, is_library, wanted)

    def _read(
        self, entry: DebEntry, path: str, content: Iterable[bytes], is_library: bool, wanted: bool
    ) -> Iterator[bytes]:
        if is_library and entry.size > _LIBRARY_LIMIT:
            raise LayerError(f"{path}: a library of {entry.size:,} bytes")
        digest = hashlib.md5(usedforsecurity=False)
        kept: list[bytes] = []
        for chunk in content:
            digest.update(chunk)
            if is_library or wanted:
                kept.append(chunk)
            yield chunk
        if entry.path in self._conffiles:
            self._sums[entry.path] = digest.hexdigest()
        data = b"".join(kept)
        if wanted:
            self._files[path] = data
        if is_library:
            folder, _, filename = path.rpartition("/")
            soname = read_soname(data, filename, self._architecture)
            if soname:
                self._libraries.append(Library(folder, filename, soname))

    def finish(self) -> DebFacts:
        """The facts, once every entry has been read."""
        sums = tuple((name, self._sums.get(name, "newconffile")) for name in self._conffiles)
        return DebFacts(
            record=self._record,
            fields=self._fields,
            control=self._control,
            conffiles=sums,
            libraries=tuple(self._libraries),
            files=self._files,
            paths=tuple(self._paths),
        )


def read_facts(path: Path, *, where: str = "") -> DebFacts:
    """The facts about the package in the file ``path``, read for them alone.

    Raises:
        LayerError: it is damaged or unsafe.
    """
    with DebFile(path, where=where) as deb:
        collector = FactCollector(deb.control)
        with closing(deb.data_chunks()) as chunks:
            for entry, content in read_entries(chunks, where=f"package {record_name(deb.control)}"):
                for _ in collector.add(entry, content):
                    pass
        return collector.finish()


def encode_facts(facts: DebFacts) -> bytes:
    """``facts`` for the store: msgpack, deflated."""
    return zlib.compress(msgspec.msgpack.encode(facts), 1)


def decode_facts(data: bytes) -> DebFacts | None:
    """What :func:`encode_facts` was given; None if ``data`` is torn or of another version."""
    try:
        return msgspec.msgpack.decode(zlib.decompress(data), type=DebFacts)
    except (zlib.error, msgspec.MsgspecError):
        return None


def library_folders(triplet: str) -> tuple[str, ...]:
    """Where the dynamic loader looks by itself, in a usr-merged root. ``triplet`` may be empty: none in particular."""
    return (*((f"usr/lib/{triplet}",) if triplet else ()), "usr/lib", "usr/lib64")


def _conffiles(control: Mapping[str, ControlFile]) -> dict[str, None]:
    """Conffiles in dpkg's order; ``remove-on-upgrade`` ones are not installed."""
    lines = control["conffiles"].content.decode().split("\n") if "conffiles" in control else []
    return {line.strip().lstrip("/"): None for line in lines if line.startswith("/")}


def _is_library(path: str, folders: tuple[str, ...]) -> bool:
    """What ldconfig takes for a library: ``lib*`` or ``ld-*`` with ``.so`` in its name (elf/ldconfig.c)."""
    folder, _, filename = path.rpartition("/")
    return ".so" in filename and filename.startswith(("lib", "ld-", "ld.so")) and folder in folders


def read_soname(data: bytes, filename: str, architecture: str) -> str:
    """The DT_SONAME of a shared library, its file name if it has none; empty when it is no library for us."""
    if not data.startswith(b"\x7fELF"):
        return ""
    from elftools.common.exceptions import ELFError  # slow to import, and kept facts need none of it
    from elftools.elf.dynamic import DynamicSegment
    from elftools.elf.elffile import ELFFile

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
