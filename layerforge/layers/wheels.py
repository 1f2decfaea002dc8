"""The layer of one wheel or of a bin of small ones: the wheel's own deflate streams behind tar headers.

Large members are spliced (DESIGN: no compression work at all), small ones are inflated and compressed again in
blocks, because a gzip member for each small file would cost more bytes and time than it saves (:data:`SPLICE_FROM`).
Every file is checked on the way: size and CRC against the zip file, hash against RECORD.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import msgspec

from layerforge.errors import LayerError, VerificationError
from layerforge.layers.step import Recipe, Workbench
from layerforge.layers.tar import TarWriter
from layerforge.layers.tree import bytecode_path
from layerforge.layers.wheel_archive import WHOLE, Member, WheelArchive
from layerforge.layers.wheel_tree import (
    INSTALLER,
    Prefix,
    RecordLine,
    check_wheel_version,
    format_digest,
    format_record,
    generate_scripts,
    parse_record,
    place_member,
    rewrite_shebang,
)
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


class _Entry(msgspec.Struct, frozen=True):
    """One file to be: either ``data`` at hand, or ``member`` of ``archive`` with what RECORD says of it."""

    mode: int
    label: str
    data: bytes | None = None
    archive: WheelArchive | None = None
    member: Member | None = None
    record: RecordLine | None = None

    @property
    def identity(self) -> tuple[int, int | bytes]:
        """Equal for equal contents, as far as the archives' directories tell."""
        return (self.member.size, self.member.crc32) if self.member else (len(self.data or b""), self.data or b"")


def write(recipe: WheelsRecipe, tar: TarWriter, bench: Workbench) -> None:
    """Write the layer that ``recipe`` describes, under ``/usr/local``.

    Where two wheels hold different files under one path, the later one in the recipe wins, as with pip, and a
    warning names both.

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


def list_wheel_paths(path: Path, filename: str, minor: str) -> dict[str, tuple[int, int | bytes]]:
    """The paths that the wheel at ``path`` installs, each with a value that is equal for equal contents.

    Only the archive's directory and its metadata are read. Two wheels with one path and different values collide.

    Raises:
        LayerError: the wheel is broken.
    """
    with WheelArchive(path, filename) as archive:
        return {place: entry.identity for place, entry in _plan_wheel(archive, Prefix.of(minor)).items()}


def _write(wheels: Sequence[WheelFile], prefix: Prefix, minor: str, tar: TarWriter, bench: Workbench) -> None:
    with ExitStack() as stack:
        entries: dict[str, _Entry] = {}
        for wheel in wheels:
            archive = stack.enter_context(WheelArchive(bench.material(wheel.digest), wheel.filename))
            for path, entry in _plan_wheel(archive, prefix).items():
                _warn_of_collision(path, entries.get(path), entry, tar)
                entries[path] = entry
        _check_folders(entries)
        compiler = stack.enter_context(ThreadPoolExecutor(1))
        bytecode = _compile_ahead(minor, entries, prefix, compiler, bench) if minor else iter(())
        for path in sorted(entries):
            _write_entry(path, entries[path], tar)
        for path, data in bytecode:
            tar.file(path, data)


def _plan_wheel(archive: WheelArchive, prefix: Prefix) -> dict[str, _Entry]:
    label, dist_info = archive.label, archive.dist_info
    check_wheel_version(_read_text(archive, f"{dist_info}/WHEEL"), label)
    record = parse_record(_read_text(archive, f"{dist_info}/RECORD"), label)
    own_record = f"{dist_info}/RECORD"
    entries: dict[str, _Entry] = {}
    rows: dict[str, tuple[str, int | None]] = {}
    for member in archive.members:
        place = place_member(member.name, member.executable, dist_info, prefix, label)
        if place is None or member.name in (own_record, f"{dist_info}/INSTALLER"):
            continue
        line = record.get(member.name)
        if place.path in entries:
            raise archive.error(f"{member.name} and another file would both become /{place.path}")
        if place.is_script and archive.peek(member, 8) == b"#!python":
            data = archive.read(member)
            _verify(data, line, member.name, label)
            entries[place.path] = _add_generated(rewrite_shebang(data), place.path, place.mode, label, rows)
            continue
        entries[place.path] = _Entry(place.mode, label, archive=archive, member=member, record=line)
        rows[place.path] = (f"{line.algorithm}={line.digest}" if line and line.digest else "", member.size)
    if prefix.scripts and archive.find(f"{dist_info}/entry_points.txt"):
        text = _read_text(archive, f"{dist_info}/entry_points.txt")
        for path, script in generate_scripts(text, prefix, label).items():
            entries[path] = _add_generated(script, path, 0o755, label, rows)
    path = f"{prefix.site_packages}/{dist_info}/INSTALLER"
    entries[path] = _add_generated(INSTALLER, path, 0o644, label, rows)
    path = f"{prefix.site_packages}/{own_record}"
    entries[path] = _Entry(0o644, label, data=format_record(rows, path, prefix))
    return entries


def _add_generated(data: bytes, path: str, mode: int, label: str, rows: dict[str, tuple[str, int | None]]) -> _Entry:
    rows[path] = (f"sha256={format_digest(hashlib.sha256(data).digest())}", len(data))
    return _Entry(mode, label, data=data)


def _read_text(archive: WheelArchive, name: str) -> str:
    member = archive.find(name)
    if member is None:
        raise archive.error(f"has no {name}")
    try:
        return archive.read(member).decode("utf-8")
    except UnicodeDecodeError as error:
        raise archive.error(f"{name} is not UTF-8 text") from error


def _warn_of_collision(path: str, before: _Entry | None, entry: _Entry, tar: TarWriter) -> None:
    if before is not None and before.identity != entry.identity:
        tar.warn(
            f"{before.label} and {entry.label} both install /{path}, and differently: the latter's is used",
            hint="if one of them replaces the other, require only one of them",
        )


def _check_folders(entries: dict[str, _Entry]) -> None:
    """Refuse what no file system can hold: a path that is a file for one wheel and a folder for another."""
    checked: set[str] = set()
    for path, entry in entries.items():
        folder = path.rpartition("/")[0]
        while folder and folder not in checked:
            if folder in entries:
                names = f"{entries[folder].label} and {entry.label}"
                raise LayerError(f"/{folder} is a file in one and a folder in the other", where=names)
            checked.add(folder)
            folder = folder.rpartition("/")[0]


# -- files -----------------------------------------------------------------------------------------------------


def _write_entry(path: str, entry: _Entry, tar: TarWriter) -> None:
    archive, member = entry.archive, entry.member
    if archive is None or member is None:
        tar.file(path, entry.data or b"", mode=entry.mode)
    elif member.deflated and (member.packed >= SPLICE_FROM or member.size > WHOLE):
        stream = archive.stream(member)
        try:
            chunks = tar.spliced(path, stream, size=member.size, crc32=member.crc32, mode=entry.mode)
            for _ in _verified(chunks, entry.record, member.name, entry.label):
                pass
        except LayerError as error:
            raise error if error.where else archive.error(error.message) from error
    elif member.size <= WHOLE:
        data = archive.read(member)
        _verify(data, entry.record, member.name, entry.label)
        tar.file(path, data, mode=entry.mode)
    else:
        chunks = _verified(archive.stream_stored(member), entry.record, member.name, entry.label)
        tar.file(path, chunks, size=member.size, mode=entry.mode)


def _verify(data: bytes, line: RecordLine | None, name: str, label: str) -> None:
    if line is not None and line.digest:
        _compare(hashlib.new(line.algorithm, data).digest(), line, name, label)


def _verified(chunks: Iterable[bytes], line: RecordLine | None, name: str, label: str) -> Iterator[bytes]:
    """``chunks`` themselves; raises at the end when their hash is not RECORD's."""
    if line is None or not line.digest:
        yield from chunks
        return
    hasher = hashlib.new(line.algorithm)
    for chunk in chunks:
        hasher.update(chunk)
        yield chunk
    _compare(hasher.digest(), line, name, label)


def _compare(digest: bytes, line: RecordLine, name: str, label: str) -> None:
    found = format_digest(digest)
    if found != line.digest:
        raise VerificationError(
            f"{name} has {line.algorithm} {found}, but the wheel's RECORD says {line.digest}",
            where=label,
            hint="the wheel is broken as published: ask for another version of the package",
        )


# -- bytecode --------------------------------------------------------------------------------------------------


def _compile_ahead(
    minor: str, entries: dict[str, _Entry], prefix: Prefix, compiler: ThreadPoolExecutor, bench: Workbench
) -> Iterator[tuple[str, bytes]]:
    """Path and content of every ``.pyc``, in order of the sources; one batch is compiled ahead of what is taken."""

    def compile_batch(paths: list[str]) -> list[tuple[str, bytes]]:
        compiled = bench.compile_bytecode(minor, [(path, _read_source(entries[path])) for path in paths])
        return [(bytecode_path(path, minor), code) for path, code in zip(paths, compiled, strict=True) if code]

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


def _batch_sources(entries: dict[str, _Entry], site_packages: str) -> Iterator[list[str]]:
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


def _read_source(entry: _Entry) -> bytes:
    if entry.archive is None or entry.member is None:
        return entry.data or b""
    return entry.archive.read(entry.member)
