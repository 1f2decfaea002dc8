"""Reads the archive of a standalone build, trusting nothing in it, and passes over what an image does not need.

Two forms exist. ``install_only`` (gzip) holds an installation in ``python/``. ``full`` (zstd) begins with
``python/PYTHON.json`` and holds it in ``python/install/``, beside object files.
Source: python-build-standalone, ``docs/distributions.rst``.
"""

from __future__ import annotations

import re
import tarfile
import zlib
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, cast

import msgspec
import zstandard
from isal import igzip, igzip_lib

from layerforge.errors import LayerError

_CHUNK = 1 << 20
_LIMIT = 2 << 30
_GZIP, _ZSTD = bytes.fromhex("1f8b"), bytes.fromhex("28b52ffd")

DROPPED = (
    r"include/.*\.a",
    r"lib/[^/]*\.a",
    r"lib/[^/]+/config-[^/]+/.*\.[ao]",
    r"lib/(?:tcl|tk)[^/]*/(?:demos|msgs)/.*",
    r"lib/python3\.\d+/site-packages/.*",
    r"lib/python3\.\d+/(?:test|idlelib|turtledemo|lib2to3/tests|lib2to3/Grammar.*pickle)(?:/.*)?",
    r"lib/python3\.\d+/(?:ctypes|distutils|sqlite3|tkinter|unittest)/tests?(?:/.*)?",
    r"lib/python3\.\d+/lib-dynload/(?:_test|_xxtest|_ctypes_test|xxlimited|xxsubtype)[^/]*",
    r"(?:.*/)?__pycache__(?:/.*)?",
    r"bin/(?:idle|pip|2to3|easy_install)[^/]*",
    r"share/(?:man|terminfo)(?:/.*)?",
)
"""What stays out of the image, below the prefix: see docs/python.md, "What is left out", for the reasons."""

_is_dropped = re.compile("|".join(DROPPED)).fullmatch


class ArchiveEntry(msgspec.Struct, frozen=True):
    """A file, directory, symlink or hardlink (``kind``) at ``path`` below the prefix; ``size`` is in bytes.

    ``target`` is a symlink's text, or the path of the file that a hard link is another name of.
    """

    path: str
    kind: str
    size: int = 0
    executable: bool = False
    target: str = ""


def read_archive(path: Path, where: str = "") -> Generator[tuple[ArchiveEntry, Iterator[bytes]], None, None]:
    """The entries of the archive at ``path`` that belong into an image, in its order, each with its content.

    What is not read of a content is skipped. Close the iterator when it is not read to its end.

    Raises:
        LayerError: the archive is damaged, or has an entry that is unsafe: outside the prefix, behind a link, a link
            that leaves the prefix, a device.
    """
    with (
        _translated(where),
        path.open("rb") as file,
        closing(_decompress(file, where)) as stream,
        tarfile.open(fileobj=stream, mode="r|") as archive,
    ):
        yield from _Reading(where).entries(archive)


@contextmanager
def _translated(where: str) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError, zlib.error, zstandard.ZstdError, igzip.BadGzipFile) as error:
        raise LayerError(f"the archive is damaged: {error}", where=where) from error
    except igzip_lib.IsalError as error:  # type: ignore[misc]
        raise LayerError(f"the archive is damaged: {error}", where=where) from error


def _decompress(file: IO[bytes], where: str) -> IO[bytes]:
    magic = file.read(4)
    file.seek(0)
    if magic.startswith(_GZIP):
        return cast("IO[bytes]", igzip.open(file, "rb"))  # type: ignore[no-untyped-call]
    if magic == _ZSTD:
        return cast("IO[bytes]", zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True))
    raise LayerError("is neither a gzip nor a zstd archive", where=where)


class _Reading:
    """One pass over an archive: where its prefix is, which links and files came by."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._prefix = ""
        self._links: set[str] = set()
        self._files: set[str] = set()
        self._total = 0

    def entries(self, archive: tarfile.TarFile) -> Iterator[tuple[ArchiveEntry, Iterator[bytes]]]:
        for member in archive:
            archive.members = []  # type: ignore[attr-defined]  # tarfile would keep every entry in memory
            name = self._check(member)
            if not self._prefix:
                self._prefix = "python/install/" if name == "python/PYTHON.json" else "python/"
            self._total += member.size
            if self._total > _LIMIT:
                raise LayerError(f"the archive unpacks to more than {_LIMIT >> 30} GiB", where=self._where)
            path = name.removeprefix(self._prefix) if name.startswith(self._prefix) else ""
            if not path or _is_dropped(path):
                continue
            entry = self._describe(member, path)
            if entry is not None:
                yield entry, self._content(archive, member)
        if not self._files:
            raise LayerError("the archive holds no python/ folder", where=self._where)

    def _check(self, member: tarfile.TarInfo) -> str:
        name = member.name.removeprefix("./").rstrip("/")
        parts = name.split("/")
        if name.startswith("/") or ".." in parts or "\0" in name:
            raise self._refuse(member, "leaves its folder")
        return "/".join(part for part in parts if part not in ("", "."))

    def _describe(self, member: tarfile.TarInfo, path: str) -> ArchiveEntry | None:
        folder = path.rpartition("/")[0]
        while folder:
            if folder in self._links:
                raise self._refuse(member, f"is behind the link {folder!r}")
            folder = folder.rpartition("/")[0]
        if member.isdir():
            return ArchiveEntry(path, "dir")
        if member.isreg():
            self._files.add(path)
            return ArchiveEntry(path, "file", member.size, bool(member.mode & 0o111))
        if member.issym():
            if not _stays_inside(path, member.linkname):
                raise self._refuse(member, f"is a link to {member.linkname!r}, which leaves its folder")
            self._links.add(path)
            return ArchiveEntry(path, "symlink", target=member.linkname)
        if member.islnk():
            target = member.linkname.removeprefix("./").removeprefix(self._prefix)
            if target not in self._files:
                raise self._refuse(member, f"is a hard link to {member.linkname!r}, which is not there")
            self._files.add(path)
            return ArchiveEntry(path, "hardlink", executable=bool(member.mode & 0o111), target=target)
        raise self._refuse(member, "is a device or a pipe")

    def _refuse(self, member: tarfile.TarInfo, why: str) -> LayerError:
        return LayerError(f"the archive is not safe: {member.name!r} {why}", where=self._where)

    def _content(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[bytes]:
        file = archive.extractfile(member) if member.isreg() else None
        with _translated(self._where):
            while file is not None and (chunk := file.read(_CHUNK)):
                yield chunk


def _stays_inside(path: str, target: str) -> bool:
    """Whether a link at ``path`` that says ``target`` ends below the prefix; nothing is followed."""
    if not target or target.startswith("/") or "\0" in target:
        return False
    depth = path.count("/")
    for part in target.split("/"):
        depth += -1 if part == ".." else 0 if part in ("", ".") else 1
        if depth < 0:
            return False
    return True
