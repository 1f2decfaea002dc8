"""Reads a parcel into a store, and believes nothing of it.

Its list says which files follow, with their sizes, so what the headers must be is known to the byte: they are compared
and never interpreted, and neither a path nor a link nor an extension can come out of them. Every file is verified
against the digest that is its name before it has that name. What is there already is passed over, so that a parcel that
broke off can be read again.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import BinaryIO

import msgspec

from layerforge.blobs import list_blobs
from layerforge.errors import ImageError, StoreError, VerificationError
from layerforge.layers.headers import TRAILER, encode_header, padding
from layerforge.oci import decode
from layerforge.parcel.contents import FORMAT, LIST, Contents, Entry, check_contents
from layerforge.progress import Reporter, format_size
from layerforge.store import Store
from layerforge.verify import VerifiedReader

_CHUNK = 1 << 20
_LARGEST_LIST = 64 << 20
_AGAIN = "carry it over again: this one was cut off or damaged on the way"


def import_parcel(file: BinaryIO, store: Store, where: str, reporter: Reporter) -> Contents:
    """Put what is in ``file`` into ``store``; ``where`` names it in messages.

    Raises:
        StoreError: it is no parcel, of a newer format, or cut off; or the disk is full. What came before is kept.
        VerificationError: a file in it is not the one that its name says.
    """
    contents = _read_list(file, where)
    _check_room(contents, store)
    task = f"read {where}"
    reporter.start(task, contents.size)
    for entry in contents.files:
        header = encode_header(entry.path, size=entry.size)
        if _read(file, len(header), where) != header:
            raise StoreError(f"does not hold {entry.path} where its list says so", where=where, hint=_AGAIN)
        if _is_there(store, entry):
            _skip(file, entry.size, where)
        else:
            _copy(file, entry, store, where)
        reporter.advance(task, entry.size)
        if any(_read(file, len(padding(entry.size)), where)):
            raise StoreError(f"has something between its files, after {entry.path}", where=where, hint=_AGAIN)
    if _read(file, len(TRAILER), where) != TRAILER:
        raise StoreError("does not end where its list ends", where=where, hint=_AGAIN)
    for name, descriptor in contents.tags.items():
        if any(not store.has_blob(blob) for blob in list_blobs(store, descriptor)):
            raise StoreError(f"does not hold all of the image {name}", where=where)
        store.tag(name, descriptor)
    reporter.finish(task, format_size(contents.size))
    return contents


def _read_list(file: BinaryIO, where: str) -> Contents:
    hint = "give a file that `layerforge export-store` wrote; other archives, or one packed anew, will not do"
    start = file.read(512)
    try:
        size = int(start[124:135], 8)
        is_list = 0 < size <= _LARGEST_LIST and start == encode_header(LIST, size=size)
    except ValueError:
        is_list = False
    if not is_list:
        raise StoreError("is no export of a store", where=where, hint=hint)
    data = _read(file, size + len(padding(size)), where)[:size]
    try:
        version = msgspec.json.decode(data, type=_Version).format
        if version > FORMAT:
            hint = "use the Layerforge that wrote it, or a later one"
            raise StoreError(f"has format {version}; this Layerforge knows {FORMAT}", where=where, hint=hint)
        contents = decode(data, Contents, what="its list")
        check_contents(contents)
    except (msgspec.MsgspecError, ImageError, ValueError) as error:
        raise StoreError(str(error), where=where, hint=hint) from error
    return contents


class _Version(msgspec.Struct):
    format: int


def _check_room(contents: Contents, store: Store) -> None:
    needed = sum(entry.size for entry in contents.files if not _is_there(store, entry))
    free = shutil.disk_usage(store.root).free
    if needed > free:
        hint = "free some space, or point LAYERFORGE_HOME at a larger disk"
        message = f"no space left on the disk: {format_size(needed)} are to come, and {format_size(free)} are free"
        raise StoreError(message, where=str(store.root), hint=hint)


def _is_there(store: Store, entry: Entry) -> bool:
    path = store.root / entry.path
    return path.is_file() and path.stat().st_size == entry.size


def _copy(file: BinaryIO, entry: Entry, store: Store, where: str) -> None:
    source = _Part(file, entry.size, where)
    with store.write_blob() as blob:
        reader = VerifiedReader(source, entry.digest, entry.size, what=f"{where}: {entry.path}")
        try:
            while chunk := reader.read(_CHUNK):
                blob.write(chunk)
        except VerificationError as error:
            error.hint = _AGAIN
            raise
        blob.commit(entry.digest, folder=entry.folder)


class _Part:
    """The next ``size`` bytes of ``file`` as a source of their own."""

    def __init__(self, file: BinaryIO, size: int, where: str) -> None:
        self._file = file
        self._left = size
        self._where = where

    def readinto(self, buffer: memoryview, /) -> int:
        chunk = self._file.read(min(len(buffer), self._left))
        if not chunk and self._left:
            raise StoreError("is cut off", where=self._where, hint=_AGAIN)
        buffer[: len(chunk)] = chunk
        self._left -= len(chunk)
        return len(chunk)

    def close(self) -> None:
        """Nothing: the file goes on."""


def _read(file: BinaryIO, size: int, where: str) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise StoreError("is cut off", where=where, hint=_AGAIN)
    return data


def _skip(file: BinaryIO, size: int, where: str) -> None:
    while size:
        size -= len(_read(file, min(size, _CHUNK), where))


def open_parcel(path: Path) -> BinaryIO:
    """The file ``path`` for reading.

    Raises:
        StoreError: it cannot be read.
    """
    try:
        return path.open("rb", buffering=1 << 18)
    except OSError as error:
        raise StoreError(f"cannot be read: {error.strerror}", where=str(path)) from error
