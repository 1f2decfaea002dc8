"""The local store: an OCI image layout, plus what makes the next build fast.

::

    $LAYERFORGE_HOME/           default: $XDG_CACHE_HOME/layerforge, else ~/.cache/layerforge
      oci-layout, index.json    tags, as org.opencontainers.image.ref.name
      blobs/sha256/…            manifests, configs, layers
      files/sha256/…            layers whose bytes are in other files (weights): a list of segments each
      origins/sha256/…          layers of base images: the repositories that have them
      keys/sha256/…             Step key -> Layer
      materials/sha256/…        downloads, by digest
      partial/sha256/…          downloads that were cut off, by the digest they shall have
      notes/<topic>/…           small derived facts, by digest of what they derive from
      states.sqlite             state of a project file -> its digest
      uploads/…                 unfinished uploads: the URL where each goes on
      roots/…                   unpacked images of the sandbox
      locks/, tmp/

Promises: every write is a rename, so a reader sees a whole file or none; several processes may share a store; a
process killed at any point leaves it valid, and its leftovers in ``tmp/`` are removed by the next one. Blobs are
not forced to disk (a power cut may lose or tear one); every read is verified against its digest, and a blob found
torn is removed, so that it is made again. Only ``index.json`` is forced, since nothing can make tags again.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import BinaryIO, TypeVar

import msgspec

from layerforge.errors import ImageError, StoreError, VerificationError
from layerforge.layers.tar import Layer
from layerforge.oci import INDEX, REF_NAME, Descriptor, Digest, Index, decode, encode
from layerforge.origin import Origin, Repository, add_repository
from layerforge.segments import Segments, open_segments
from layerforge.verify import VerifiedReader

T = TypeVar("T")

_ABANDONED = 14 * 24 * 3600
"""Seconds after which a download that was cut off is given up."""

_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_FOLDERS = (
    "blobs/sha256",
    "files/sha256",
    "origins/sha256",
    "keys/sha256",
    "materials/sha256",
    "partial/sha256",
    "notes",
    "uploads",
    "roots",
    "locks",
    "tmp",
)


def default_home() -> Path:
    """Where the store is, from ``LAYERFORGE_HOME``, ``COG_CACHE_DIR`` or the XDG cache folder."""
    for variable in ("LAYERFORGE_HOME", "COG_CACHE_DIR"):
        if os.environ.get(variable):
            return Path(os.environ[variable])
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "layerforge"


@contextmanager
def translate_os_errors(path: Path) -> Iterator[None]:
    """Turn a full disk or a missing permission into a StoreError that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            hint = "free some space, or point LAYERFORGE_HOME at a larger disk"
            raise StoreError("no space left on the disk", where=str(path), hint=hint) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            hint = "point LAYERFORGE_HOME at a folder that you can read and write"
            raise StoreError(error.strerror or "not permitted", where=str(path), hint=hint) from error
        if error.errno == errno.EIO:
            hint = "the disk is failing: point LAYERFORGE_HOME at another one"
            raise StoreError("the disk cannot be read or written", where=str(path), hint=hint) from error
        raise


class BlobWriter:
    """A blob being written. Leaving the ``with`` block without :meth:`commit` discards it."""

    def __init__(self, store: Store, file: BinaryIO, path: Path) -> None:
        self._store = store
        self._file = file
        self._path = path

    def write(self, data: bytes, /) -> None:
        """Append ``data``.

        Raises:
            StoreError: the disk is full.
        """
        with translate_os_errors(self._path):
            self._file.write(data)

    def commit(self, digest: Digest, *, folder: str = "blobs") -> Path:
        """Give the bytes written so far their place; the caller vouches for ``digest``."""
        with translate_os_errors(self._path):
            self._file.close()
            destination = self._store.root / folder / "sha256" / digest.hex
            self._path.chmod(0o644)
            self._path.replace(destination)
        self._store.note_new(digest)
        return destination


class Store:
    """One store. Cheap to open; safe to use from several threads.

    Raises:
        StoreError: the folder cannot be made, or holds something else.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = (root or default_home()).absolute()
        self._new: set[Digest] = set()
        self._scratch: Path | None = None
        self._scratch_guard = threading.Lock()
        with translate_os_errors(self.root):
            if not (self.root / "oci-layout").exists() or not all((self.root / name).is_dir() for name in _FOLDERS):
                self._create()

    def _create(self) -> None:
        try:
            for folder in _FOLDERS:
                (self.root / folder).mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            hint = "set LAYERFORGE_HOME to a folder"
            raise StoreError("is in the way of the store's folder", where=str(error.filename), hint=hint) from error
        with self._locked("index"):
            if not (self.root / "index.json").exists():
                self._replace(self.root / "index.json", encode(Index(2, INDEX, ())))
            self._replace(self.root / "oci-layout", _LAYOUT)

    # -- blobs -----------------------------------------------------------------------------------------------

    def blob_path(self, digest: Digest) -> Path:
        """Where a blob with this digest lies if it is stored as one file."""
        return self.root / "blobs" / "sha256" / digest.hex

    def has_blob(self, descriptor: Descriptor) -> bool:
        """Whether the blob is here, with the right size; its bytes are not read."""
        try:
            if self.blob_path(descriptor.digest).stat().st_size == descriptor.size:
                return True
        except FileNotFoundError:
            pass
        segments = self.find_segments(descriptor.digest)
        return segments is not None and segments.size == descriptor.size and segments.are_current()

    def open_blob(self, descriptor: Descriptor) -> VerifiedReader:
        """The blob's bytes, verified as they are read.

        Raises:
            StoreError: it is not here.
            SourceError: it lies in other files, and one of them has changed.
            VerificationError: while reading, the bytes are not the blob's. The store has then dropped them.
        """
        path = self.blob_path(descriptor.digest)
        file: FileIO | None = None
        with suppress(FileNotFoundError), translate_os_errors(path):
            file = path.open("rb", buffering=0)
        if file is None or os.fstat(file.fileno()).st_size != descriptor.size:
            segments = self.find_segments(descriptor.digest)
            if segments is not None:
                if file is not None:
                    file.close()
                return VerifiedReader(open_segments(segments), descriptor.digest, descriptor.size)
        if file is None:
            hint = "build the image again"
            raise StoreError("the store does not have this blob", where=str(descriptor.digest), hint=hint)
        return _StoredBlob(file, path, descriptor)

    def read_blob(self, descriptor: Descriptor) -> bytes:
        """A small blob as a whole, verified."""
        with self.open_blob(descriptor) as reader:
            return reader.readall()

    @contextmanager
    def write_blob(self) -> Iterator[BlobWriter]:
        """A BlobWriter to fill and commit."""
        with translate_os_errors(self.root):
            handle, name = tempfile.mkstemp(dir=self.scratch)
        path = Path(name)
        file = os.fdopen(handle, "wb", buffering=1 << 18)
        try:
            yield BlobWriter(self, file, path)
        finally:
            path.unlink(missing_ok=True)
            with suppress(OSError):  # what is still in its buffer is not wanted, and may not find room
                file.close()

    def put_bytes(self, data: bytes, media_type: str) -> Descriptor:
        """Store ``data`` and describe it. Idempotent."""
        descriptor = Descriptor(media_type, Digest.of(data), len(data))
        path = self.blob_path(descriptor.digest)
        try:
            torn = path.read_bytes() != data
        except FileNotFoundError:
            torn = True
        if torn:
            self._replace(path, data)
            self.note_new(descriptor.digest)
        return descriptor

    def note_new(self, digest: Digest) -> None:
        """Remember that the blob came into this store through this object."""
        self._new.add(digest)

    def is_new(self, digest: Digest) -> bool:
        """Whether the blob came into this store through this object: another machine is unlikely to have made it."""
        return digest in self._new

    def put_segments(self, digest: Digest, segments: Segments) -> None:
        """Remember that the blob ``digest`` can be read from ``segments``. Idempotent."""
        self._replace(self.root / "files" / "sha256" / digest.hex, encode(segments))

    def find_segments(self, digest: Digest) -> Segments | None:
        """The segments of a blob that lies in other files, or None."""
        return self._read_record(self.root / "files" / "sha256" / digest.hex, Segments)

    def add_origin(self, descriptor: Descriptor, repository: Repository) -> None:
        """Remember that ``repository`` has the blob, whether it is here or not. Idempotent."""
        known = self.find_origin(descriptor.digest)
        origin = add_repository(known, descriptor.size, repository)
        if origin != known:
            self._replace(self.root / "origins" / "sha256" / descriptor.digest.hex, encode(origin))

    def find_origin(self, digest: Digest) -> Origin | None:
        """Where the blob can be had besides, or None."""
        return self._read_record(self.root / "origins" / "sha256" / digest.hex, Origin)

    @property
    def uploads(self) -> Path:
        """The folder of unfinished uploads; :mod:`layerforge.registry.sessions` owns what is in it."""
        return self.root / "uploads"

    # -- layers by key ---------------------------------------------------------------------------------------

    def find_layer(self, key: Digest) -> Layer | None:
        """The layer made for ``key``, if its bytes are still here."""
        path = self.root / "keys" / "sha256" / key.hex
        layer = self._read_record(path, Layer)
        if layer is None or not self.has_blob(layer.descriptor):
            return None
        with suppress(OSError):  # a store that cannot be written to is never collected either
            os.utime(path)  # when it was used last: see layerforge.collect
        return layer

    def remember_layer(self, key: Digest, layer: Layer) -> None:
        """Record that ``key`` gave ``layer``. Idempotent."""
        self._replace(self.root / "keys" / "sha256" / key.hex, encode(layer))

    # -- tags ------------------------------------------------------------------------------------------------

    def tag(self, name: str, manifest: Descriptor) -> None:
        """Point ``name`` at a manifest or index. Atomic; the last of two at once wins whole."""
        with self._locked("index"):
            kept = tuple(m for m in self._index().manifests if m.annotations.get(REF_NAME) != name)
            named = msgspec.structs.replace(manifest, annotations={**manifest.annotations, REF_NAME: name})
            self._replace(self.root / "index.json", encode(Index(2, INDEX, (*kept, named))), force=True)

    def resolve_tag(self, name: str) -> Descriptor | None:
        """What ``name`` points at, or None."""
        for manifest in self._index().manifests:
            if manifest.annotations.get(REF_NAME) == name:
                return manifest
        return None

    def remove_tag(self, name: str) -> bool:
        """Take the tag away; whether it was there. Its blobs stay until they are collected."""
        with self._locked("index"):
            manifests = self._index().manifests
            kept = tuple(m for m in manifests if m.annotations.get(REF_NAME) != name)
            if len(kept) != len(manifests):
                self._replace(self.root / "index.json", encode(Index(2, INDEX, kept)), force=True)
        return len(kept) != len(manifests)

    def tags(self) -> dict[str, Descriptor]:
        """All tags."""
        return {m.annotations[REF_NAME]: m for m in self._index().manifests if REF_NAME in m.annotations}

    def _index(self) -> Index:
        path = self.root / "index.json"
        try:
            with translate_os_errors(path):
                return decode(path.read_bytes(), Index)
        except FileNotFoundError:
            return Index(2, INDEX, ())
        except ImageError as error:
            hint = "remove this file: tags are lost, layers are not; then build again"
            raise StoreError("the list of tags is damaged", where=str(path), hint=hint) from error

    # -- downloads and derived facts -------------------------------------------------------------------------

    def material_path(self, digest: Digest) -> Path:
        """Where a download with this digest lies, or will lie."""
        return self.root / "materials" / "sha256" / digest.hex

    def partial_path(self, digest: Digest) -> Path:
        """Where a download with this digest is kept until it is whole; whoever writes there holds its key lock."""
        return self.root / "partial" / "sha256" / digest.hex

    def find_note(self, topic: str, digest: Digest) -> bytes | None:
        """A fact derived from the bytes with this digest, if it was kept. ``topic`` names its kind and format."""
        try:
            return (self.root / "notes" / topic / digest.hex).read_bytes()
        except OSError:
            return None

    def keep_note(self, topic: str, digest: Digest, data: bytes) -> None:
        """Keep a derived fact. It may vanish at any time, so it must be possible to derive it again."""
        path = self.root / "notes" / topic / digest.hex
        with translate_os_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        self._replace(path, data)

    # -- scratch and locks -----------------------------------------------------------------------------------

    @property
    def scratch(self) -> Path:
        """A folder for temporary files of this process, on the same file system. Removed by :meth:`close` or later."""
        with self._scratch_guard:
            if self._scratch is None or not self._scratch.exists():
                with translate_os_errors(self.root), self._locked("tmp"):
                    self._sweep()
                    self._scratch = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=self.root / "tmp"))
                    self._scratch_lock = os.open(self._scratch, os.O_RDONLY | os.O_DIRECTORY)
                    fcntl.flock(self._scratch_lock, fcntl.LOCK_SH)
            return self._scratch

    def close(self) -> None:
        """Remove this process's temporary files."""
        with self._scratch_guard:
            if self._scratch is not None:
                shutil.rmtree(self._scratch, ignore_errors=True)
                os.close(self._scratch_lock)
                self._scratch = None

    def _sweep(self) -> None:
        """Remove what killed processes left: every folder that nobody holds, and downloads nobody went on with.

        Called under the lock ``tmp``.

        Process ids say nothing here: those of containers that share a store repeat.
        """
        oldest = time.time() - _ABANDONED
        for path in (self.root / "partial" / "sha256").iterdir():
            with suppress(OSError):
                if path.stat().st_mtime < oldest:
                    path.unlink()
        for path in (self.root / "tmp").iterdir():
            try:
                handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            except OSError:
                continue
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            except BlockingIOError:
                pass
            finally:
                os.close(handle)

    @contextmanager
    def key_lock(self, key: Digest) -> Iterator[None]:
        """Held while the layer of ``key`` is made, so that two processes do not make it twice."""
        with self._locked(key.hex):
            yield

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        path = self.root / "locks" / name
        with translate_os_errors(path):
            file = path.open("a")
        with file:  # what goes wrong while the lock is held is not the lock's fault
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _replace(self, path: Path, data: bytes, *, force: bool = False) -> None:
        """Give ``path`` the content ``data`` at once; with ``force``, on the disk before it has that name."""
        with translate_os_errors(path):
            handle, name = tempfile.mkstemp(dir=self.scratch)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                    if force:
                        file.flush()
                        os.fsync(file.fileno())
                Path(name).chmod(0o644)
                Path(name).replace(path)
            except OSError:
                Path(name).unlink(missing_ok=True)
                raise

    def _read_record(self, path: Path, kind: type[T]) -> T | None:
        try:
            with translate_os_errors(path):
                return decode(path.read_bytes(), kind)
        except FileNotFoundError:
            return None
        except ImageError:  # torn by a power cut, or of another version: as good as absent
            return None


class _StoredBlob(VerifiedReader):
    """Reads a blob that is a file of the store, and removes it when it is damaged, so that it is made again."""

    def __init__(self, file: FileIO, path: Path, descriptor: Descriptor) -> None:
        super().__init__(file, descriptor.digest, descriptor.size)
        self._file = file
        self._path = path

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        try:
            with translate_os_errors(self._path):
                return super().readinto(buffer)
        except VerificationError as error:
            error.hint = "the store's copy was damaged and has been removed: build the image again"
            with suppress(OSError):
                if os.path.samestat(os.fstat(self._file.fileno()), self._path.stat()):
                    self._path.unlink()
            raise


def digest_file(path: Path) -> tuple[Digest, int]:
    """The digest and size in bytes of a file."""
    with path.open("rb") as file:
        hasher = hashlib.sha256()
        size = 0
        buffer = bytearray(1 << 20)
        view = memoryview(buffer)
        while count := file.readinto(buffer):
            hasher.update(view[:count])
            size += count
    return Digest.from_hex(hasher.hexdigest()), size
