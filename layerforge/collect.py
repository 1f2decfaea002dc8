"""Making the store smaller: what has not been used for longest goes first, and what a tag names stays.

Everything in the store can be made or fetched again, so this costs time at most.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from layerforge.blobs import list_blobs
from layerforge.errors import LayerforgeError
from layerforge.layers.tar import Layer
from layerforge.oci import decode
from layerforge.progress import Reporter
from layerforge.store import Store

RECENT = 6 * 3600.0
"""Seconds; what has been used since then may belong to a build that is running."""


class Candidate(msgspec.Struct, frozen=True):
    """A file or folder of the store that may go: when it was used last (seconds since 1970), and its size in bytes."""

    used: float
    size: int
    path: Path


class Collected(msgspec.Struct, frozen=True):
    """What was removed (or would be), and what stays, in bytes; ``count`` files and folders."""

    count: int
    removed: int
    kept: int


def collect(store: Store, most: int, reporter: Reporter, *, dry_run: bool = False, recent: float = RECENT) -> Collected:
    """Remove what was used longest ago until at most ``most`` bytes are left, or nothing that may go is left.

    Blobs of tagged images stay, and what was used within ``recent`` seconds.
    """
    tagged = _list_tagged(store, reporter)
    horizon = time.time() - recent
    every = sorted(_list_candidates(store), key=lambda candidate: candidate.used)
    total = sum(candidate.size for candidate in every)
    count, left = 0, total
    for candidate in every:
        if left <= most:
            break
        if candidate.used > horizon or candidate.path.name in tagged:
            continue
        if not dry_run:
            _remove(candidate.path)
        count, left = count + 1, left - candidate.size
    return Collected(count, total - left, left)


def _list_tagged(store: Store, reporter: Reporter) -> frozenset[str]:
    """The hexadecimal digests of all that tags name."""
    found: set[str] = set()
    for name, descriptor in store.tags().items():
        try:
            found.update(blob.digest.hex for blob in list_blobs(store, descriptor))
        except LayerforgeError as error:
            reporter.warn(f"{name} is damaged: {error}", f"layerforge delete store:{name}")
    return frozenset(found)


def _list_candidates(store: Store) -> Iterator[Candidate]:
    used = _read_uses(store)
    for folder in ("blobs/sha256", "materials/sha256"):
        for path, status in _scan(store.root / folder):
            yield Candidate(max(status.st_atime, status.st_mtime, used.get(path.name, 0)), status.st_size, path)
    for path, status in _scan(store.root / "roots"):
        yield Candidate(status.st_mtime, _measure(path), path)


def _read_uses(store: Store) -> dict[str, float]:
    """When the layer of each key was last asked for, by the digest of its blob."""
    found: dict[str, float] = {}
    for path, status in _scan(store.root / "keys" / "sha256"):
        with suppress(LayerforgeError, OSError):
            digest = decode(path.read_bytes(), Layer).descriptor.digest.hex
            found[digest] = max(found.get(digest, 0), status.st_mtime)
    return found


def _scan(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                yield Path(entry.path), entry.stat(follow_symlinks=False)


def _measure(path: Path) -> int:
    """Bytes below ``path``."""
    if not path.is_dir() or path.is_symlink():
        return path.lstat().st_size
    return sum((Path(parent) / name).lstat().st_size for parent, _, names in os.walk(path) for name in names)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
