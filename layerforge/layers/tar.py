"""The one writer of layers: entries, blocks, digests.

Nothing else in the project writes a tar header or a gzip header. Two calls with the same entries give the same
bytes on every machine: names, modes, owners and times come from the caller alone, and compression depends on nothing
but input, level and version (``docs/architecture.md``, "Compression").
"""

from __future__ import annotations

import hashlib
import tarfile
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future
from typing import Protocol

import msgspec
from isal import igzip_lib, isal_zlib

from layerforge.errors import LayerError
from layerforge.layers.compression import GZIP, GZIP_HEADER, NONE, Compression, block_compressor, end_member
from layerforge.layers.headers import EPOCH, TRAILER, encode_header, padding
from layerforge.layers.lanes import Lane
from layerforge.layers.remarks import ANNOTATION, Remark, encode_remarks
from layerforge.oci import Descriptor, Digest

CHUNK = 1 << 20
"""Bytes of a file that are read at a time."""

_INFLATED = 256 << 10  # bytes inflated at a time: little enough for the heap, and for the processor's cache
_BLOCK = 4 << 20  # what is compressed on its own holds at most this much
_SPLIT = 256 << 10  # ... or this much, when a new file begins: files stay reachable on their own
_IN_FLIGHT = 6  # blocks being compressed at once, which bounds memory


class Writable(Protocol):
    """Where the stored bytes of a layer go."""

    def write(self, data: bytes, /) -> object:
        """Take all of ``data``."""


class Observer(Protocol):
    """Is told of what goes into a layer, as it does. It changes nothing of it."""

    def begin_file(self, path: str, size: int, /) -> None:
        """A regular file of ``size`` bytes."""

    def feed(self, chunk: bytes, /) -> None:
        """The next bytes of its content."""

    def end_file(self) -> None:
        """It is complete."""

    def add_folder(self, path: str, /) -> None:
        """A directory."""

    def add_symlink(self, path: str, target: str, /) -> None:
        """A symbolic link."""

    def add_hardlink(self, path: str, target: str, /) -> None:
        """A further name of a file of this layer."""


class Layer(msgspec.Struct, frozen=True):
    """A finished layer: its stored form, and the digest of its uncompressed tar."""

    descriptor: Descriptor
    diff_id: Digest


_NO_NAMES = {"", ".", ".."}


def check_path(path: str) -> str:
    """``path`` itself, if it stays inside the root.

    Raises:
        LayerError: absolute, empty, with an empty, ``.`` or ``..`` component, or with a NUL.
    """
    if not path or "\0" in path or not _NO_NAMES.isdisjoint(path.split("/")):
        raise LayerError(f"{path!r} cannot be a path in a layer")
    return path


class TarWriter:
    """Writes one layer's tar to ``output``, stored as ``compression`` says, hashing both forms on the way.

    Entries appear in the order of the calls. Missing parent directories are written first, once, with mode 755.
    A path may be written once; a directory may be repeated and only the first counts. With an ``executor``, hashing,
    compressing and writing happen there; the bytes do not depend on it. Not safe for use from several threads, nor
    from those of the executor.

    ``observer`` is told of every entry. ``mtime`` is in seconds since 1970. Use :meth:`finish` to get the Layer;
    without it nothing is valid.
    """

    def __init__(
        self,
        output: Writable,
        *,
        compression: Compression = GZIP,
        mtime: int = EPOCH,
        executor: Executor | None = None,
        observer: Observer | None = None,
    ) -> None:
        self._output = output
        self._observer = observer
        self._compression = compression
        self._compress = block_compressor(compression)
        self._mtime = mtime
        self._executor = executor
        self._digest = hashlib.sha256()
        self._diff_id = hashlib.sha256()
        self._size = 0
        self._hashing = Lane(executor, self._diff_id.update)
        self._writing = Lane(executor, self._put)
        self._buffer = bytearray()
        self._pending: deque[Future[bytes] | bytes] = deque()
        self._paths: set[str] = set()
        self._directories: set[str] = set()
        self._remarks: list[Remark] = []

    def warn(self, text: str, hint: str = "") -> None:
        """Note what people should know about this layer whenever it is used; it goes with the Layer."""
        self._remarks.append(Remark(text, hint))

    # -- entries ---------------------------------------------------------------------------------------------

    def directory(self, path: str, *, mode: int = 0o755, uid: int = 0, gid: int = 0) -> None:
        """A directory; nothing happens when this layer has it already."""
        if path in self._directories:
            return
        self._enter(path)
        self._directories.add(path)
        if self._observer is not None:
            self._observer.add_folder(path)
        self._write(encode_header(path, kind=tarfile.DIRTYPE, mode=mode, uid=uid, gid=gid, mtime=self._mtime))

    def file(
        self,
        path: str,
        content: bytes | Iterable[bytes],
        *,
        size: int | None = None,
        mode: int = 0o644,
        uid: int = 0,
        gid: int = 0,
        xattrs: Mapping[str, bytes] = {},
    ) -> None:
        """A regular file. ``size`` (bytes) must be given when ``content`` is an iterable of chunks.

        ``xattrs`` are extended attributes by name, such as the file's capabilities.

        Raises:
            LayerError: the chunks are not ``size`` bytes in all; the layer is then useless.
        """
        if isinstance(content, bytes):
            size, content = len(content), (content,)
        if size is None:
            raise TypeError("size is needed for streamed content")
        self._enter(path)
        if len(self._buffer) >= _SPLIT:
            self._flush()
        self._write(encode_header(path, size=size, mode=mode, uid=uid, gid=gid, mtime=self._mtime, xattrs=xattrs))
        observer = self._observer
        if observer is not None:
            observer.begin_file(path, size)
        written = 0
        for chunk in content:
            written += len(chunk)
            self._write(chunk)
            if observer is not None:
                observer.feed(chunk)
        if written != size:
            raise LayerError(f"{path}: {written:,} bytes came where {size:,} were announced")
        if observer is not None:
            observer.end_file()
        self._write(padding(size))

    def symlink(self, path: str, target: str, *, uid: int = 0, gid: int = 0) -> None:
        """A symbolic link holding ``target`` as it is."""
        self._link(path, target, tarfile.SYMTYPE, 0o777, uid, gid)
        if self._observer is not None:
            self._observer.add_symlink(path, target)

    def hardlink(self, path: str, target: str, *, mode: int = 0o644, uid: int = 0, gid: int = 0) -> None:
        """A further name for the file ``target``, a path that this layer has already."""
        if target not in self._paths:
            raise LayerError(f"{path}: hard link to {target}, which this layer does not have")
        self._link(path, target, tarfile.LNKTYPE, mode, uid, gid)
        if self._observer is not None:
            self._observer.add_hardlink(path, target)

    def spliced(
        self, path: str, stream: Iterable[bytes], *, size: int, crc32: int, mode: int = 0o644
    ) -> Iterator[bytes]:
        """A regular file whose content is at hand as a raw deflate stream (RFC 1951).

        A gzip layer takes a copy of the stream; in others the content is compressed anew. Yields the inflated chunks,
        which the caller may hash or drop, but must exhaust.

        Raises:
            LayerError: the stream does not inflate to ``size`` bytes with this ``crc32``, or has bytes behind its end.
        """
        copied = self._compression == GZIP
        self._enter(path)
        if not copied and len(self._buffer) >= _SPLIT:
            self._flush()
        self._write(encode_header(path, size=size, mode=mode, mtime=self._mtime))
        if copied:
            self._flush()
            self._emit(GZIP_HEADER)
            stream = self._copy(stream)
        take = self._hashing.put if copied else self._write
        observer = self._observer
        if observer is not None:
            observer.begin_file(path, size)
        written, checksum = 0, 0
        for data in _inflate(path, stream):
            written += len(data)
            if written > size:
                raise LayerError(f"{path}: inflates to more than the {size:,} bytes announced")
            checksum = isal_zlib.crc32(data, checksum)
            take(data)
            if observer is not None:
                observer.feed(data)
            yield data
        if written != size or checksum != crc32:
            raise LayerError(f"{path}: size or CRC is not what the archive's directory says")
        if copied:
            self._emit(end_member(checksum, written))
        if observer is not None:
            observer.end_file()
        self._write(padding(size))

    def finish(self, annotations: dict[str, str] | None = None) -> Layer:
        """End the archive and return the Layer, whose Descriptor has these ``annotations`` and the warnings.

        The output is complete when this returns; it is not closed.
        """
        self._write(TRAILER)
        self._flush()
        self._drain(0)
        self._hashing.finish()
        self._writing.finish()
        descriptor = Descriptor(
            media_type=self._compression.media_type,
            digest=Digest.from_hex(self._digest.hexdigest()),
            size=self._size,
            annotations={
                **(annotations or {}),
                **({ANNOTATION: encode_remarks(self._remarks)} if self._remarks else {}),
            },
        )
        plain = self._digest if self._compression == NONE else self._diff_id
        return Layer(descriptor, Digest.from_hex(plain.hexdigest()))

    # -- inside ----------------------------------------------------------------------------------------------

    def _enter(self, path: str) -> None:
        check_path(path)
        if path in self._paths:
            raise LayerError(f"{path}: written twice into one layer")
        parent = path.rpartition("/")[0]
        if parent and parent not in self._directories:
            if parent in self._paths:
                raise LayerError(f"{path}: {parent} is not a directory")
            self.directory(parent)
        self._paths.add(path)

    def _link(self, path: str, target: str, kind: bytes, mode: int, uid: int, gid: int) -> None:
        if not target or "\0" in target:
            raise LayerError(f"{path}: a link to {target!r}")
        self._enter(path)
        self._write(encode_header(path, kind=kind, mode=mode, uid=uid, gid=gid, mtime=self._mtime, target=target))

    def _write(self, data: bytes) -> None:
        room = _BLOCK - len(self._buffer)
        if len(data) < room:
            self._buffer += data
            return
        view = memoryview(data)  # blocks end at the same places whatever the portions in which data comes
        while len(view) >= room:
            self._buffer += view[:room]
            self._flush()
            view, room = view[room:], _BLOCK
        self._buffer += view

    def _flush(self) -> None:
        if not self._buffer:
            return
        block = bytes(self._buffer)
        self._buffer.clear()
        if self._compression == NONE:
            self._writing.put(block)
            return
        self._hashing.put(block)
        if self._executor is None:
            self._writing.put(self._compress(block))
        else:
            self._pending.append(self._executor.submit(self._compress, block))
            self._drain(_IN_FLIGHT)

    def _copy(self, stream: Iterable[bytes]) -> Iterator[bytes]:
        for raw in stream:
            self._emit(raw)
            yield raw

    def _drain(self, keep: int) -> None:
        """Put out what is ready, and wait for the oldest blocks until at most ``keep`` are left."""
        while self._pending:
            head = self._pending[0]
            if isinstance(head, bytes):
                self._writing.put(head)
            elif len(self._pending) > keep or head.done():
                self._writing.put(head.result())
            else:
                return
            self._pending.popleft()

    def _emit(self, data: bytes) -> None:
        if self._pending:  # behind blocks that are still being compressed
            self._pending.append(data)
            self._drain(_IN_FLIGHT)
        else:
            self._writing.put(data)

    def _put(self, data: bytes) -> None:
        self._digest.update(data)
        self._size += len(data)
        self._output.write(data)


def _inflate(path: str, stream: Iterable[bytes]) -> Iterator[bytes]:
    """The content of a raw deflate ``stream``, which must end where it ends."""
    inflater = isal_zlib.decompressobj(wbits=-15)
    try:
        for raw in stream:
            if inflater.eof and raw:
                raise LayerError(f"{path}: data behind the end of the deflate stream")
            data = inflater.decompress(raw, _INFLATED)
            while data or (inflater.unconsumed_tail and not inflater.eof):
                if data:
                    yield data
                data = inflater.decompress(inflater.unconsumed_tail, _INFLATED)
    except igzip_lib.IsalError as error:  # type: ignore[misc]
        raise LayerError(f"{path}: damaged deflate stream ({error})") from error
    if not inflater.eof or inflater.unused_data:
        raise LayerError(f"{path}: the deflate stream is cut off or followed by other data")
