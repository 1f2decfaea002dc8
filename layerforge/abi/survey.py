"""Looks at a layer while its entries pass by, written or read: its ELF files, its links and where it puts things."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec

from layerforge.abi.capture import Capture, read_elf_file
from layerforge.abi.elf import ElfError, ElfFile
from layerforge.errors import LayerError

_WHITEOUT = ".wh."
_CHUNK = 1 << 20


class Surveyed(msgspec.Struct):
    """One layer as it was seen. Paths are relative to the root.

    ``elves`` are its ELF files, ``damaged`` those that could not be read, with the reason; ``links`` are symbolic links
    (path to target) and ``names`` hard links; ``texts`` the contents that were asked for.
    """

    elves: dict[str, ElfFile] = {}
    damaged: dict[str, str] = {}
    folders: list[str] = []
    files: list[str] = []
    links: dict[str, str] = {}
    names: dict[str, str] = {}
    whiteouts: list[str] = []
    texts: dict[str, bytes] = {}


class Surveyor:
    """An Observer of a TarWriter, or of a tar that is read. ``folder`` is for temporary files.

    ``keep`` names the files whose contents are wanted.
    """

    def __init__(self, folder: Path | None = None, *, keep: frozenset[str] = frozenset()) -> None:
        self.seen = Surveyed()
        self._folder = folder
        self._keep = keep
        self._path = ""
        self._capture: Capture | None = None
        self._text: list[bytes] | None = None

    def begin_file(self, path: str, size: int) -> None:
        """A regular file of ``size`` bytes begins."""
        name = path.rpartition("/")[2]
        if name.startswith(_WHITEOUT):
            self.seen.whiteouts.append(path)
        else:
            self.seen.files.append(path)
        self._path = path
        self._capture = Capture(size, self._folder)
        self._text = [] if path in self._keep else None

    def feed(self, chunk: bytes) -> None:
        """Its next bytes."""
        if self._capture is not None:
            self._capture.feed(chunk)
        if self._text is not None:
            self._text.append(chunk)

    def end_file(self) -> None:
        """It is complete."""
        capture, self._capture = self._capture, None
        if self._text is not None:
            self.seen.texts[self._path] = b"".join(self._text)
        try:
            elf = capture.finish() if capture is not None else None
        except ElfError as error:
            self.seen.damaged[self._path] = str(error)
            return
        if elf is not None:
            self.seen.elves[self._path] = elf

    def add_folder(self, path: str) -> None:
        """A directory."""
        self.seen.folders.append(path)

    def add_symlink(self, path: str, target: str) -> None:
        """A symbolic link."""
        self.seen.links[path] = target

    def add_hardlink(self, path: str, target: str) -> None:
        """A further name of a file that has been seen."""
        self.seen.names[path] = target


def survey_files(paths: Mapping[str, Path]) -> Surveyed:
    """The layer that holds only files of this machine, each at its place in the image.

    Raises:
        OSError: one cannot be read.
    """
    seen = Surveyed(files=list(paths), folders=sorted({place.rpartition("/")[0] for place in paths}))
    for place, path in paths.items():
        try:
            elf = read_elf_file(path)
        except ElfError as error:
            seen.damaged[place] = str(error)
            continue
        if elf is not None:
            seen.elves[place] = elf
    return seen


def survey_tar(stream: BinaryIO, surveyor: Surveyor, *, where: str) -> Surveyed:
    """The layer whose uncompressed tar is ``stream``, read to its end.

    Raises:
        LayerError: it is damaged.
    """
    try:
        with tarfile.open(fileobj=stream, mode="r|", bufsize=_CHUNK) as archive:
            for entry in archive:
                archive.members = []  # type: ignore[attr-defined]  # tarfile would keep every entry in memory
                _survey_entry(archive, entry, surveyor)
    except (tarfile.TarError, EOFError) as error:
        raise LayerError(f"the layer is damaged: {error}", where=where) from error
    while stream.read(_CHUNK):
        pass
    return surveyor.seen


def _survey_entry(archive: tarfile.TarFile, entry: tarfile.TarInfo, surveyor: Surveyor) -> None:
    path = "/".join(part for part in entry.name.split("/") if part not in ("", "."))
    if not path:
        return
    if entry.isdir():
        surveyor.add_folder(path)
    elif entry.issym():
        surveyor.add_symlink(path, entry.linkname)
    elif entry.islnk():
        surveyor.add_hardlink(path, "/".join(part for part in entry.linkname.split("/") if part not in ("", ".")))
    elif entry.isreg():
        surveyor.begin_file(path, entry.size)
        file = cast(BinaryIO, archive.extractfile(entry))
        for chunk in _chunks(file):
            surveyor.feed(chunk)
        surveyor.end_file()


def _chunks(file: Any) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK):
        yield chunk
