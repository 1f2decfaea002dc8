"""Collects from a package what the state of the root is made of, while its layer is written or by reading it once."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import msgspec

from layerforge.errors import LayerError
from layerforge.oci import Digest
from layerforge.sources.debian.control import parse_fields
from layerforge.sources.debian.deb import ControlFile, DebEntry, DebFile, read_entries
from layerforge.sources.debian.loader import TRIPLETS, is_library_name
from layerforge.sources.debian.placement import merge, merge_path, record_name
from layerforge.sources.debian.rootstate import DebFacts, Library, Listed
from layerforge.sources.debian.soname import SonameReader
from layerforge.sources.debian.wanted import REVISION, Wanted

TOPIC = f"deb-facts-{REVISION}"
"""The store's topic for kept facts, by the package's digest."""

_DEBUG = "usr/lib/debug/"
"""Where the debugging information of libraries lies under the libraries' names."""


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

    def add(self, entry: DebEntry, path: str, content: Iterable[bytes]) -> Iterable[bytes]:
        """Take note of ``entry``, which lies at ``path`` in our root.

        Its content is what is returned, which must be read to its end in any case.

        Raises:
            LayerError: a damaged library.
        """
        target = merge(entry.target) if entry.kind == "hardlink" else entry.target
        shipped = "" if path == entry.path else entry.path
        self._paths.append(Listed(path, entry.kind, entry.mode, entry.uid, entry.gid, entry.size, target, shipped))
        if entry.kind != "file":
            return content
        is_library = is_library_name(path.rpartition("/")[2]) and not path.startswith(_DEBUG)
        is_wanted = self._wanted.wants(path, entry.path, entry.size)
        if not is_library and not is_wanted and entry.path not in self._conffiles:
            return content
        return self._read(entry.path, path, content, is_library, is_wanted)

    def _read(
        self, shipped: str, path: str, content: Iterable[bytes], is_library: bool, is_wanted: bool
    ) -> Iterator[bytes]:
        folder, _, filename = path.rpartition("/")
        digest = hashlib.md5(usedforsecurity=False) if shipped in self._conffiles else None
        library = SonameReader(filename, self._architecture) if is_library else None
        kept: list[bytes] = []
        for chunk in content:
            if digest is not None:
                digest.update(chunk)
            if library is not None:
                library.feed(chunk)
            if is_wanted:
                kept.append(chunk)
            yield chunk
        if digest is not None:
            self._sums[shipped] = digest.hexdigest()
        if is_wanted:
            self._files[path] = b"".join(kept)
        if library is not None and (soname := self._finish(library, folder)) is not None:
            self._libraries.append(Library(folder, filename, soname))

    def _finish(self, library: SonameReader, folder: str) -> str | None:
        try:
            return library.finish()
        except LayerError:
            if folder in self._folders:
                raise
            return None  # a sample, or for a machine that is none of ours

    def finish(self) -> DebFacts:
        """The facts, once every entry has been read."""
        sums = tuple((name, self._sums.get(name, "newconffile") + flag) for name, flag in self._conffiles.items())
        return DebFacts(
            record=self._record,
            fields=self._fields,
            control=self._control,
            conffiles=sums,
            libraries=tuple(self._libraries),
            files=self._files,
            paths=tuple(self._paths),
        )


def read_facts(path: Path, *, where: str = "", digest: Digest | None = None) -> DebFacts:
    """The facts about the package in the file ``path``, read for them alone.

    Raises:
        LayerError: it is damaged or unsafe.
        VerificationError: it is not the one with ``digest``.
    """
    with DebFile(path, where=where, digest=digest) as deb:
        collector = FactCollector(deb.control)
        with closing(deb.data_chunks()) as chunks:
            for entry, content in read_entries(chunks, where=f"package {record_name(deb.control)}"):
                for _ in collector.add(entry, merge_path(entry), content):
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


def _conffiles(control: Mapping[str, ControlFile]) -> dict[str, str]:
    """Conffiles in dpkg's order, each with what its line of the status ends with.

    ``remove-on-upgrade`` ones are not shipped: dpkg notes them, and removes them on the next upgrade.
    """
    lines = control["conffiles"].content.decode().split("\n") if "conffiles" in control else []
    found: dict[str, str] = {}
    for line in lines:
        flag, _, path = line.strip().rpartition(" /")
        if flag == "remove-on-upgrade":
            found[path] = f" {flag}"
        elif line.startswith("/"):
            found[line.strip().lstrip("/")] = ""
    return found
