"""The one writer of layers: tar headers, gzip members, digests.

Nothing else in the project writes a tar header or a gzip header. Two calls with the same entries give the same
bytes on every machine: names, modes, owners and times come from the caller alone, and compression is done by
libdeflate, whose output depends on nothing but input, level and version (ISA-L's and zlib's differ between
processors and builds; see ``docs/architecture.md``, "Compression").

Tar format: POSIX.1-2001 (pax), extended headers only where ustar has no room. Gzip: RFC 1952, many members a file.
"""

from __future__ import annotations

import hashlib
import struct
import tarfile
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future
from typing import Protocol

import deflate
import msgspec
from isal import igzip_lib, isal_zlib

from layerforge.errors import LayerError
from layerforge.layers.remarks import ANNOTATION, Remark, encode_remarks
from layerforge.oci import LAYER_GZIP, LAYER_TAR, Descriptor, Digest

LEVEL = 1
"""libdeflate's level. A higher one saves 5 % of the size for twice the time."""

COMPRESSOR = "deflate-0.9.0/1"
"""Compressor, version and level: part of the key of every layer."""

EPOCH = 315_619_200
"""The time of every entry: 1980-01-02, the first day that a zip file can hold in every time zone."""

CHUNK = 1 << 20
"""Bytes read or inflated at a time."""

_BLOCK = 4 << 20  # a gzip member holds at most this much
_SPLIT = 256 << 10  # ... or this much, when a new file begins: files stay reachable on their own
_IN_FLIGHT = 6  # blocks being compressed at once, which bounds memory

_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"  # no name, no time, unknown OS
_ZEROS = bytes(512)


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


def padding(size: int) -> bytes:
    """The zero bytes that fill a file of ``size`` bytes up to tar's 512-byte records."""
    return _ZEROS[: -size % 512]


TRAILER = bytes(1024)
"""The two empty records that end an archive."""


_USTAR = struct.Struct("100s8s8s8s12s12s8s1s100s8s32s32s8s8s155s12x")
_MAGIC = b"ustar\x0000"
_NUMBERS = (("size", 8**11), ("mtime", 8**11), ("uid", 8**7), ("gid", 8**7))


def encode_header(
    path: str,
    *,
    kind: bytes = tarfile.REGTYPE,
    size: int = 0,
    mode: int = 0o644,
    uid: int = 0,
    gid: int = 0,
    mtime: int = EPOCH,
    target: str = "",
    xattrs: Mapping[str, bytes] = {},
) -> bytes:
    """The tar header of one entry, pax records included. ``path`` is relative, POSIX, without a leading ``./``.

    ``xattrs`` are extended attributes by name (``security.capability``), as star, GNU tar and engines record them.

    Written here rather than by ``tarfile`` so that the bytes are the same under every Python; it is also eight times
    as fast. Source: POSIX.1-2017, pax, "ustar Interchange Format" and "pax Extended Header".
    """
    name = (path + "/" if kind == tarfile.DIRTYPE else path).encode("utf-8", "surrogateescape")
    link = target.encode("utf-8", "surrogateescape")
    plain = path.isascii() and target.isascii() and not xattrs and mtime < 8**11
    if plain and size < 8**11 and len(link) <= 100 and uid < 8**7 and gid < 8**7:
        prefix, fits = b"", len(name) <= 100
        if not fits:  # the name is cut at a slash, which is not stored
            cut = name.find(b"/", len(name) - 101, -1)
            fits = 0 < cut <= 155
            if fits:
                prefix, name = name[:cut], name[cut + 1 :]
        if fits:
            return _encode_ustar(name, kind, size, mode, uid, gid, mtime, link, prefix)
    return _encode_pax(name, kind, {"size": size, "mtime": mtime, "uid": uid, "gid": gid}, mode, link, xattrs)


def _encode_ustar(
    name: bytes, kind: bytes, size: int, mode: int, uid: int, gid: int, mtime: int, link: bytes, prefix: bytes = b""
) -> bytes:
    fields = (b"%07o" % (mode & 0o7777), b"%07o" % uid, b"%07o" % gid, b"%011o" % size, b"%011o" % mtime)
    block = _USTAR.pack(name, *fields, b" " * 8, kind, link, _MAGIC, b"", b"", b"0000000", b"0000000", prefix)
    return b"%b%06o\0 %b" % (block[:148], sum(block), block[156:])


def _encode_pax(
    name: bytes, kind: bytes, numbers: dict[str, int], mode: int, link: bytes, xattrs: Mapping[str, bytes]
) -> bytes:
    records: dict[str, bytes] = {}
    for key, value, room in (("path", name, 100), ("linkpath", link, 100)):
        if len(value) > room or not value.isascii():
            records[key] = value
    for key, limit in _NUMBERS:
        if numbers[key] >= limit:
            records[key] = b"%d" % numbers[key]
            numbers[key] = 0
    extended = b"" if all(map(_is_utf8, records.values())) else _encode_record("hdrcharset", b"BINARY")
    records |= {f"SCHILY.xattr.{key}": value for key, value in xattrs.items()}
    extended += b"".join(_encode_record(key, records[key]) for key in sorted(records))
    blocks = _encode_ustar(b"././@PaxHeader", tarfile.XHDTYPE, len(extended), 0o644, 0, 0, 0, b"")
    plain = _encode_ustar(
        name[:100], kind, numbers["size"], mode, numbers["uid"], numbers["gid"], numbers["mtime"], link[:100]
    )
    return b"".join((blocks, extended, padding(len(extended)), plain))


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _encode_record(key: str, value: bytes) -> bytes:
    """``<length> <key>=<value>\\n``, where the length counts its own digits."""
    body = b" %b=%b\n" % (key.encode(), value)
    length = len(body) + len(str(len(body)))
    length = len(body) + len(str(length))
    return b"%d%b" % (length, body)


def check_path(path: str) -> str:
    """``path`` itself, if it stays inside the root.

    Raises:
        LayerError: absolute, empty, with an empty, ``.`` or ``..`` component, or with a NUL.
    """
    if not path or "\0" in path or any(part in {"", ".", ".."} for part in path.split("/")):
        raise LayerError(f"{path!r} cannot be a path in a layer")
    return path


class TarWriter:
    """Writes one layer's tar to ``output``, compressed or not, hashing both forms on the way.

    Entries appear in the order of the calls. Missing parent directories are written first, once, with mode 755.
    A path may be written once; a directory may be repeated and only the first counts. With an ``executor``, blocks
    are compressed there in parallel; the bytes do not depend on it. Not safe for use from several threads.

    ``observer`` is told of every entry. ``mtime`` is in seconds since 1970. Use :meth:`finish` to get the Layer;
    without it nothing is valid.
    """

    def __init__(
        self,
        output: Writable,
        *,
        compress: bool = True,
        mtime: int = EPOCH,
        executor: Executor | None = None,
        observer: Observer | None = None,
    ) -> None:
        self._output = output
        self._observer = observer
        self._compress = compress
        self._mtime = mtime
        self._executor = executor
        self._digest = hashlib.sha256()
        self._diff_id = hashlib.sha256()
        self._size = 0
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
        """A regular file whose content is at hand as a raw deflate stream (RFC 1951): copied, not recompressed.

        Yields the inflated chunks, which the caller may hash or drop, but must exhaust.

        Raises:
            LayerError: the stream does not inflate to ``size`` bytes with this ``crc32``, or has bytes behind its end.
        """
        self._enter(path)
        header = encode_header(path, size=size, mode=mode, mtime=self._mtime)
        if not self._compress:
            raise TypeError("splicing needs a gzip layer")
        self._write(header)
        self._flush()
        inflater = isal_zlib.decompressobj(wbits=-15)
        observer = self._observer
        if observer is not None:
            observer.begin_file(path, size)
        self._emit(_GZIP_HEADER)
        written, checksum = 0, 0
        try:
            for raw in stream:
                if inflater.eof and raw:
                    raise LayerError(f"{path}: data behind the end of the deflate stream")
                self._emit(raw)
                data = inflater.decompress(raw, CHUNK)
                while True:
                    if data:
                        written += len(data)
                        if written > size:
                            raise LayerError(f"{path}: inflates to more than the {size:,} bytes announced")
                        checksum = isal_zlib.crc32(data, checksum)
                        self._diff_id.update(data)
                        if observer is not None:
                            observer.feed(data)
                        yield data
                    elif inflater.eof or not inflater.unconsumed_tail:
                        break
                    data = inflater.decompress(inflater.unconsumed_tail, CHUNK)
        except igzip_lib.IsalError as error:  # type: ignore[misc]
            raise LayerError(f"{path}: damaged deflate stream ({error})") from error
        if not inflater.eof or inflater.unused_data:
            raise LayerError(f"{path}: the deflate stream is cut off or followed by other data")
        if written != size or checksum != crc32:
            raise LayerError(f"{path}: size or CRC is not what the archive's directory says")
        self._emit(struct.pack("<II", checksum, written & 0xFFFFFFFF))
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
        descriptor = Descriptor(
            media_type=LAYER_GZIP if self._compress else LAYER_TAR,
            digest=Digest.from_hex(self._digest.hexdigest()),
            size=self._size,
            annotations={
                **(annotations or {}),
                **({ANNOTATION: encode_remarks(self._remarks)} if self._remarks else {}),
            },
        )
        return Layer(descriptor, Digest.from_hex(self._diff_id.hexdigest()))

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
        self._diff_id.update(data)
        if not self._compress:
            self._emit(data)
            return
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
        if self._executor is None:
            self._emit(compress_member(block))
            return
        self._pending.append(self._executor.submit(compress_member, block))
        self._drain(_IN_FLIGHT)

    def _drain(self, keep: int) -> None:
        """Put out what is ready, and wait for the oldest blocks until at most ``keep`` are left."""
        while self._pending:
            head = self._pending[0]
            if isinstance(head, bytes):
                self._put(head)
            elif len(self._pending) > keep or head.done():
                self._put(head.result())
            else:
                return
            self._pending.popleft()

    def _emit(self, data: bytes) -> None:
        if self._pending:  # behind blocks that are still being compressed
            self._pending.append(data)
            self._drain(_IN_FLIGHT)
        else:
            self._put(data)

    def _put(self, data: bytes) -> None:
        self._digest.update(data)
        self._size += len(data)
        self._output.write(data)


def compress_member(data: bytes) -> bytes:
    """``data`` as one gzip member."""
    body = deflate.deflate_compress(data, LEVEL)
    return b"".join((_GZIP_HEADER, body, struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF)))
