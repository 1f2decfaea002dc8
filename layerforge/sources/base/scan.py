"""One pass over the layers of a base image: every path, and the content of the few files that anyone asks about.

A layer is inflated as it arrives, and nothing of it is stored but what was found, by the layer's digest: a layer that
images share, or that was read before an interruption, is not read again. Memory is bounded by what is kept of a layer.
"""

from __future__ import annotations

import re
import threading
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import msgspec

from layerforge.base_image import BaseImage
from layerforge.blobs import open_origins
from layerforge.errors import LayerError
from layerforge.layers.tar import Layer
from layerforge.progress import SILENCE, Reporter, format_size
from layerforge.sources.base.root import BaseRoot
from layerforge.sources.base.stream import Open, read_layer
from layerforge.sources.debian import wanted
from layerforge.sources.debian.rootstate import Listed
from layerforge.store import Store

_WANTED = re.compile(
    r"etc/.*|var/lib/dpkg/(?!info/.*\.(?:md5sums|shlibs|symbols)$).*|usr/lib/os-release"
    r"|usr(?:/local)?/share/ca-certificates/.*|(?:.*/)?include/python3\.\d+\w*/patchlevel\.h"
    r"|usr/local/lib/python3\.\d+/site-packages/[^/]+\.dist-info/RECORD"
)
"""Files whose content is kept, besides those that ``wanted.py`` names for Debian's packages."""

_C_LIBRARY = re.compile(r"(?:.*/)?libc(?:-2\.\d+)?\.so(?:\.6)?")
_PYTHON = re.compile(r"(?:.*/)?(?:lib)?python3\.(\d+)(?:\.so[0-9.]*)?")
"""Programs that say their version: glibc in ``csu/version.c``, Python in ``Include/patchlevel.h``."""

_CHOICE = repr((3, _WANTED.pattern, _C_LIBRARY.pattern, _PYTHON.pattern, wanted.FOLDERS))
_TOPIC = f"base-layer-{zlib.crc32(_CHOICE.encode()):08x}"
_SMALL, _LARGE = 1 << 20, 64 << 20
_MOST = 128 << 20
"""Bytes that are kept of one layer."""
_OVERLAP = 128
_THREADS = 3
_OPAQUE, _WHITEOUT = ".wh..wh..opq", ".wh."


class LayerScan(msgspec.Struct, frozen=True, array_like=True):
    """What one layer does: ``entries`` in its order, what it takes away, ``contents`` and ``versions`` by path."""

    entries: tuple[Listed, ...]
    whiteouts: tuple[str, ...]
    opaque: tuple[str, ...]
    contents: dict[str, bytes]
    versions: dict[str, str]


_encoder, _decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(LayerScan)


def scan_base(base: BaseImage, store: Store, reporter: Reporter = SILENCE) -> BaseRoot:
    """The root of ``base``; each layer that was not seen before is read once, several at a time.

    Raises:
        RegistryError: a layer cannot be had.
        VerificationError: its bytes are not those of its digest, or of the configuration's DiffID.
        LayerError: it is damaged.
    """
    scans = {layer.descriptor.digest: scan for layer in base.layers if (scan := _find(layer, store)) is not None}
    missing = [layer for layer in base.layers if layer.descriptor.digest not in scans]
    if missing:
        task, size = "read the base's layers", sum(layer.descriptor.size for layer in missing)
        reporter.start(task, size)
        stop = threading.Event()
        with (
            open_origins(store, (layer.descriptor for layer in missing), reporter, stop) as open_origin,
            ThreadPoolExecutor(_THREADS, thread_name_prefix="scan") as pool,
        ):
            futures = [pool.submit(_scan, layer, store, open_origin, reporter, task) for layer in missing]
            try:
                for layer, future in zip(missing, futures, strict=True):
                    scans[layer.descriptor.digest] = future.result()
            except BaseException:
                stop.set()
                pool.shutdown(cancel_futures=True)
                raise
        reporter.finish(task, format_size(size))
    root = BaseRoot()
    for number, layer in enumerate(base.layers):
        scan = scans[layer.descriptor.digest]
        root.apply(number, scan.entries, scan.whiteouts, scan.opaque, scan.contents, scan.versions)
    return root


def _find(layer: Layer, store: Store) -> LayerScan | None:
    note = store.find_note(_TOPIC, layer.descriptor.digest)
    if note is None:
        return None
    try:
        return _decoder.decode(zlib.decompress(note))
    except (zlib.error, msgspec.DecodeError):  # torn by a power cut: as good as absent
        return None


def _scan(layer: Layer, store: Store, open_origin: Open, reporter: Reporter, task: str) -> LayerScan:
    entries = read_layer(layer, store, open_origin, lambda count: reporter.advance(task, count))
    scan = scan_entries(entries, where=f"layer {layer.descriptor.digest} of the base")
    store.keep_note(_TOPIC, layer.descriptor.digest, zlib.compress(_encoder.encode(scan), 1))
    return scan


def scan_entries(entries: Iterable[tuple[Listed, Iterator[bytes]]], *, where: str) -> LayerScan:
    """What the layer with these entries does.

    Raises:
        LayerError: it has more files of interest than any system has.
    """
    listing: list[Listed] = []
    whiteouts: list[str] = []
    opaque: list[str] = []
    contents: dict[str, bytes] = {}
    versions: dict[str, str] = {}
    kept = 0
    for entry, content in entries:
        folder, _, name = entry.path.rpartition("/")
        if name == _OPAQUE:
            opaque.append(folder)
        elif name.startswith(_WHITEOUT):
            whiteouts.append(f"{folder}/{name[len(_WHITEOUT) :]}".lstrip("/"))
        elif entry.path:
            listing.append(entry)
            if entry.kind != "file":
                continue
            if _is_wanted(entry):
                contents[entry.path] = b"".join(content)
                kept += entry.size
                if kept > _MOST:
                    raise LayerError(f"more than {_MOST >> 20} MiB of settings", where=where)
            elif version := _search(entry.path, content):
                versions[entry.path] = version
    return LayerScan(tuple(listing), tuple(whiteouts), tuple(opaque), contents, versions)


def _is_wanted(entry: Listed) -> bool:
    if entry.path.startswith("var/lib/dpkg/status") or entry.path.endswith("/RECORD"):
        return entry.size <= _LARGE and _WANTED.fullmatch(entry.path) is not None
    return entry.size <= _SMALL and bool(_WANTED.fullmatch(entry.path) or entry.path.startswith(wanted.FOLDERS))


def _search(path: str, content: Iterator[bytes]) -> str:
    """The version that a program says of itself, if it is one of those that are asked."""
    python = _PYTHON.fullmatch(path)
    if python is not None:  # at the end of a string, for linkers let strings share their ends
        pattern = re.compile(rb"(?<![\d.])(3\.%s\.\d+)(?:rc\d+|\+)?\0" % python[1].encode())
    elif _C_LIBRARY.fullmatch(path):
        pattern = re.compile(rb"stable release version (2\.\d+)")
    else:
        return ""
    rest = b""
    for chunk in content:
        found = pattern.search(rest + chunk)
        if found:
            return found[1].decode()
        rest = chunk[-_OVERLAP:]
    return ""
