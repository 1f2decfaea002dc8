"""The layer of one wheel or of a bin of small ones: the wheel's own deflate streams behind tar headers.

Large members are spliced (DESIGN: no compression work at all), small ones are inflated and compressed again in
blocks, because a gzip member for each small file would cost more bytes and time than it saves (:data:`SPLICE_FROM`).
Every file is checked on the way: size and CRC against the zip file, hash against RECORD.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack

import msgspec

from layerforge.errors import LayerError
from layerforge.layers.lanes import Lane
from layerforge.layers.overlap import HINT, Identity, find_overlaps
from layerforge.layers.step import Recipe, Workbench
from layerforge.layers.tar import TarWriter
from layerforge.layers.tree import bytecode_path
from layerforge.layers.wheel_archive import WHOLE, WheelArchive
from layerforge.layers.wheel_plan import Entry, installation_key, plan_wheel, verify_content, verify_digest
from layerforge.layers.wheel_tree import Prefix, RecordLine
from layerforge.oci import Digest

SPLICE_FROM = 8 << 10
"""Members of at least this many compressed bytes are spliced. Part of the format: see docs/architecture.md."""

_COMPILE_BATCH = 16 << 20  # bytes of source handed to the compiler at once, which bounds memory


class WheelFile(msgspec.Struct, frozen=True):
    """One wheel of a layer."""

    filename: str
    digest: Digest


class WheelsRecipe(Recipe, frozen=True, tag="wheels"):
    """A layer of ``wheels``, sorted by file name, for Python ``minor`` (``3.13``), with or without ``bytecode``."""

    wheels: tuple[WheelFile, ...]
    minor: str
    bytecode: bool = True

    def materials(self) -> tuple[Digest, ...]:
        return tuple(wheel.digest for wheel in self.wheels)


def write(recipe: WheelsRecipe, tar: TarWriter, bench: Workbench) -> None:
    """Write the layer that ``recipe`` describes, under ``/usr/local``.

    Where two wheels hold different files under one path, the one that pip would install later wins
    (:func:`installation_key`), and a warning names both.

    Raises:
        LayerError: a wheel is broken or holds what a wheel must not.
        VerificationError: a file is not the one in RECORD.
        SourceError: a wheel cannot be had.
    """
    _write(recipe.wheels, Prefix.of(recipe.minor), recipe.minor if recipe.bytecode else "", tar, bench)


def write_private_wheels(
    wheels: Sequence[WheelFile], folder: str, minor: str, tar: TarWriter, bench: Workbench
) -> None:
    """Write the importable files of ``wheels`` into ``folder`` of the image, without scripts, headers and data.

    Raises:
        LayerError, VerificationError, SourceError: as :func:`write`.
    """
    _write(wheels, Prefix(site_packages=folder), minor, tar, bench)


def _write(wheels: Sequence[WheelFile], prefix: Prefix, minor: str, tar: TarWriter, bench: Workbench) -> None:
    with ExitStack() as stack:
        entries: dict[str, Entry] = {}
        installed: list[tuple[str, dict[str, Identity]]] = []
        for wheel in sorted(wheels, key=lambda wheel: installation_key(wheel.filename)):
            archive = stack.enter_context(WheelArchive(bench.material(wheel.digest), wheel.filename))
            plan = plan_wheel(archive, prefix)
            for notice in plan.notices:
                tar.warn(f"{wheel.filename}: {notice}", "it is for whoever made the wheel to mend")
            entries |= plan.entries
            installed.append((wheel.filename, plan.paths))
        for overlap in find_overlaps(installed):
            tar.warn(str(overlap), HINT)
        compiler = stack.enter_context(ThreadPoolExecutor(1))
        shared = {wheel.filename: wheel.digest for wheel in wheels} if prefix.scripts and len(wheels) > 1 else {}
        bytecode = _compile_ahead(minor, entries, prefix, shared, compiler, bench) if minor else iter(())
        for path in sorted(entries):
            _write_entry(path, entries[path], tar, bench.compressors)
        for path, data in bytecode:
            tar.file(path, data)


# -- files -----------------------------------------------------------------------------------------------------


def _write_entry(path: str, entry: Entry, tar: TarWriter, threads: Executor) -> None:
    archive, member = entry.archive, entry.member
    if archive is None or member is None:
        tar.file(path, entry.data or b"", mode=entry.mode)
    elif member.deflated and (member.packed >= SPLICE_FROM or member.size > WHOLE):
        stream = archive.stream(member)
        try:
            chunks = tar.spliced(path, stream, size=member.size, crc32=member.crc32, mode=entry.mode)
            for _ in _verified(chunks, entry.record, member.name, entry.label, threads):
                pass
        except LayerError as error:
            raise error if error.where else archive.error(error.message) from error
    elif member.size <= WHOLE:
        data = archive.read(member)
        verify_content(data, entry.record, member.name, entry.label)
        tar.file(path, data, mode=entry.mode)
    else:
        chunks = _verified(archive.stream_stored(member), entry.record, member.name, entry.label, threads)
        tar.file(path, chunks, size=member.size, mode=entry.mode)


def _verified(
    chunks: Iterable[bytes], line: RecordLine | None, name: str, label: str, threads: Executor
) -> Iterator[bytes]:
    """``chunks`` themselves, hashed in other threads; raises at the end when their hash is not RECORD's."""
    if line is None or not line.digest:
        yield from chunks
        return
    hasher = hashlib.new(line.algorithm)
    lane = Lane(threads, hasher.update)
    for chunk in chunks:
        lane.put(chunk)
        yield chunk
    lane.finish()
    verify_digest(hasher.digest(), line, name, label)


# -- bytecode --------------------------------------------------------------------------------------------------


def _compile_ahead(
    minor: str,
    entries: dict[str, Entry],
    prefix: Prefix,
    shared: Mapping[str, Digest],
    compiler: ThreadPoolExecutor,
    bench: Workbench,
) -> Iterator[tuple[str, bytes]]:
    """Path and content of every ``.pyc``, in order of the sources; one batch is compiled ahead of what is taken.

    ``shared`` are the wheels of a bin, by file name: their bytecode is kept, for the bin is made anew when another
    wheel of it changes.
    """

    def compile_batch(paths: list[str]) -> list[tuple[str, bytes]]:
        compiled = _compile_kept(minor, paths, entries, shared, bench)
        return [(bytecode_path(path, minor), code) for path in paths if (code := compiled[path])]

    batches = _batch_sources(entries, prefix.site_packages)
    first = next(batches, None)
    pending = compiler.submit(compile_batch, first) if first else None

    def take() -> Iterator[tuple[str, bytes]]:
        nonlocal pending
        while pending is not None:
            done = pending.result()
            following = next(batches, None)
            pending = compiler.submit(compile_batch, following) if following else None
            yield from done

    return take()


def _compile_kept(
    minor: str, paths: list[str], entries: dict[str, Entry], shared: Mapping[str, Digest], bench: Workbench
) -> dict[str, bytes | None]:
    """The bytecode of the sources at ``paths``, as far as it is kept for the wheels that they are ``shared`` from."""
    compiled: dict[str, bytes | None] = {}
    groups: dict[Digest, list[str]] = {}
    for path in paths:
        if (digest := shared.get(entries[path].label)) is not None:
            groups.setdefault(digest, []).append(path)
    for digest, group in list(groups.items()):
        kept = bench.find_bytecode(minor, digest)
        if kept.keys() >= set(group):
            compiled |= {path: kept[path] for path in groups.pop(digest)}
    missing = [path for path in paths if path not in compiled]
    made = bench.compile_bytecode(minor, [(path, _read_source(entries[path])) for path in missing])
    compiled |= zip(missing, made, strict=True)
    for digest, group in groups.items():
        bench.keep_bytecode(minor, digest, {path: compiled[path] for path in group})
    return compiled


def _batch_sources(entries: dict[str, Entry], site_packages: str) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for path in sorted(entries):
        member = entries[path].member
        if member is None or not path.endswith(".py") or not path.startswith(site_packages):
            continue
        if member.size > _COMPILE_BATCH:
            continue
        if batch and size + member.size > _COMPILE_BATCH:
            yield batch
            batch, size = [], 0
        batch.append(path)
        size += member.size
    if batch:
        yield batch


def _read_source(entry: Entry) -> bytes:
    if entry.archive is None or entry.member is None:
        return entry.data or b""
    return entry.archive.read(entry.member)
