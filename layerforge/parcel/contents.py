"""What a parcel holds, and which part of a store that is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from layerforge.base_image import read_manifest
from layerforge.blobs import list_blobs
from layerforge.errors import LayerforgeError, SourceError, StoreError
from layerforge.fetch import is_in_project, list_items, name_item
from layerforge.lock import Lock, LockedBase
from layerforge.network import FETCH
from layerforge.oci import Descriptor, Digest
from layerforge.progress import Reporter
from layerforge.store import Store

LIST = "layerforge-store.json"
"""The first member of a parcel."""

FORMAT = 1
MATERIALS, BLOBS = "materials", "blobs"

_PATH = re.compile(rf"(?:{MATERIALS}|{BLOBS})/sha256/([0-9a-f]{{64}})")


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file at ``path`` in the store's own terms (``materials/sha256/…``), of ``size`` bytes."""

    path: str
    size: int

    @property
    def folder(self) -> str:
        """``materials`` or ``blobs``."""
        return self.path.partition("/")[0]

    @property
    def digest(self) -> Digest:
        """What the file's bytes have."""
        return Digest.from_hex(self.path.rpartition("/")[2])


class Contents(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All files, sorted by path, and the images that have a name; their blobs are among the files."""

    files: tuple[Entry, ...]
    tags: dict[str, Descriptor] = {}
    format: int = FORMAT

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self.files)


def check_contents(contents: Contents) -> None:
    """See that a list can be one that was written by :mod:`layerforge.parcel.writing`.

    Raises:
        ValueError: a path is not one of a store's, is listed twice, or a size is negative.
    """
    before = ""
    for entry in contents.files:
        if not _PATH.fullmatch(entry.path) or entry.size < 0:
            raise ValueError(f"lists {entry.path[:100]!r}, which is no file of a store")
        if entry.path <= before:
            raise ValueError(f"lists {entry.path!r} out of order")
        before = entry.path


def list_locked(locks: Iterable[Lock], store: Store) -> Contents:
    """What builds from ``locks`` need.

    Raises:
        SourceError: ``store`` lacks some of it.
    """
    found: set[Entry] = set()
    lacking: list[str] = []
    for lock in locks:
        for section in lock.platforms:
            for item in list_items(section):
                if is_in_project(item):
                    continue
                path = store.material_path(item.digest)
                if path.exists() and path.stat().st_size == item.size:
                    found.add(Entry(f"{MATERIALS}/sha256/{item.digest.hex}", item.size))
                else:
                    lacking.append(name_item(item))
            if section.image is not None:
                try:
                    found |= {_describe(blob) for blob in _list_base(section.image, store)}
                except StoreError:
                    lacking.append(section.image.reference)
    if lacking:
        more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
        message = f"the store lacks {', '.join(lacking[:5])}{more}"
        raise SourceError(message, where=str(store.root), hint=FETCH.partition(";")[0])
    return Contents(tuple(sorted(found, key=lambda entry: entry.path)))


def _list_base(base: LockedBase, store: Store) -> Iterator[Descriptor]:
    manifest = Descriptor(base.media_type, base.manifest, base.size)
    document = read_manifest(manifest, store.read_blob(manifest), base.reference)
    for blob in (manifest, document.config, *document.layers):
        if not store.blob_path(blob.digest).exists():
            raise StoreError("the store does not have this blob", where=str(blob.digest))
        yield blob


def _describe(blob: Descriptor) -> Entry:
    return Entry(f"{BLOBS}/sha256/{blob.digest.hex}", blob.size)


def list_everything(store: Store, reporter: Reporter) -> Contents:
    """Every download and blob of ``store``, and the images that are whole.

    Images whose weights lie in files of a project are not: they are built again where the project is.
    """
    files = [
        Entry(path.relative_to(store.root).as_posix(), path.stat().st_size)
        for folder in (BLOBS, MATERIALS)
        for path in _list_files(store.root / folder / "sha256")
    ]
    present = {entry.digest for entry in files if entry.folder == BLOBS}
    tags = {}
    for name, descriptor in sorted(store.tags().items()):
        try:
            missing = [blob for blob in list_blobs(store, descriptor) if blob.digest not in present]
        except LayerforgeError:
            missing = [descriptor]
        if missing:
            reporter.note(f"{name} stays behind: not all of it is in the store (weights are read from the project)")
        else:
            tags[name] = descriptor
    return Contents(tuple(sorted(files, key=lambda entry: entry.path)), tags)


def _list_files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if re.fullmatch(r"[0-9a-f]{64}", path.name) and path.is_file())
