"""Source trees: an archive, or a folder of the project, as a folder of its own with modes and times that are ours."""

from __future__ import annotations

import os
import shutil
import tarfile
import zipfile
from pathlib import Path

from layerforge.errors import SourceError
from layerforge.layers.headers import EPOCH
from layerforge.project import is_weight
from layerforge.sources.local import list_source_files

_LARGEST = 8 << 30
"""Bytes that an archive may hold, unpacked."""


def unpack_archive(archive: Path, name: str, folder: Path) -> Path:
    """Unpack the source archive ``archive``, called ``name``, into ``folder``; the folder of the source.

    Raises:
        SourceError: it is damaged, unsafe or too large.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if name.endswith(".zip") or zipfile.is_zipfile(archive):
            _unpack_zip(archive, name, folder)
        else:
            _unpack_tar(archive, name, folder)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError) as error:
        raise SourceError(f"cannot be unpacked: {error}", where=name) from error
    inside = list(folder.iterdir())
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else folder


def copy_folder(source: Path, target: Path, *, weights: bool = True) -> None:
    """Copy the files of a package's source, without version control, caches and what was built before.

    Without ``weights`` what looks like a model's weights stays away, too.

    Raises:
        SourceError: one cannot be read.
    """
    try:
        for name in list_source_files(source):
            place = target / name
            if not weights and is_weight(name, (source / name).lstat().st_size):
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, place, follow_symlinks=(source / name).exists())
            if not place.is_symlink():
                place.chmod(0o755 if os.access(source / name, os.X_OK) else 0o644)
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SourceError(f"cannot be read: {error.strerror}", where=str(error.filename or source)) from error


def settle_tree(folder: Path) -> None:
    """Give everything in ``folder`` one time, and modes that let every user read it."""
    for top, names, files in os.walk(folder):
        for name in (*names, *files):
            path = Path(top, name)
            if path.is_symlink():
                continue
            mode = 0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644
            path.chmod(mode)
            os.utime(path, (EPOCH, EPOCH))


def _unpack_tar(archive: Path, name: str, folder: Path) -> None:
    with tarfile.open(archive) as tar:
        total = 0
        for member in tar:
            total += member.size
            if total > _LARGEST:
                raise SourceError(f"holds more than {_LARGEST:,} bytes", where=name)
            if not (member.isfile() or member.isdir() or member.issym() or member.islnk()):
                raise SourceError(f"{member.name} is neither file, folder nor link", where=name)
            tar.extract(member, folder, filter="data")


def _unpack_zip(archive: Path, name: str, folder: Path) -> None:
    with zipfile.ZipFile(archive) as source:
        members = source.infolist()
        if sum(member.file_size for member in members) > _LARGEST:
            raise SourceError(f"holds more than {_LARGEST:,} bytes", where=name)
        for member in members:
            if member.filename.startswith("/") or ".." in member.filename.split("/"):
                raise SourceError(f"{member.filename} leads out of it", where=name)
            source.extract(member, folder)
            if (member.external_attr >> 16) & 0o111 and not member.is_dir():
                (folder / member.filename).chmod(0o755)
