"""The lock that fits a cog.yaml: the one beside it, or a new one, which is then written there."""

from __future__ import annotations

import difflib
import os
import tempfile
from pathlib import Path

from layerforge import __version__
from layerforge.config import Config
from layerforge.errors import ImageError, LockError, OutdatedLockError
from layerforge.ignore import LOCK_NAME
from layerforge.lock import Lock
from layerforge.oci import Digest, Platform, decode, encode
from layerforge.progress import Reporter
from layerforge.request import Request, make_request
from layerforge.requirements import normalise_name
from layerforge.sources.credentials import learn_indexes
from layerforge.staleness import EVERYTHING, NO_UPGRADE, Touched, Upgrade, find_touched, list_differences
from layerforge.store import Store


def load_lock(folder: Path, store: Store) -> Lock | None:
    """The lock beside cog.yaml, or None. A file that ``store`` has seen before is not parsed and checked again.

    Raises:
        LockError: it is damaged, or of a newer format.
    """
    path = folder / LOCK_NAME
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LockError(f"cannot be read: {error.strerror}", where=str(path)) from error
    topic, digest = f"lock-{__version__}", Digest.of(data)
    note = store.find_note(topic, digest)
    if note is not None:
        try:
            return decode(note, Lock)
        except ImageError:  # torn by a power cut: as good as absent
            pass
    from layerforge.lockfile import decode_lock  # what it imports takes as long as all the rest of such a build

    lock = decode_lock(data, LOCK_NAME)
    store.keep_note(topic, digest, encode(lock))
    return lock


def lock_model(
    folder: Path,
    config: Config,
    store: Store,
    reporter: Reporter,
    platforms: tuple[Platform, ...],
    *,
    locked: bool = False,
    upgrade: Upgrade = NO_UPGRADE,
) -> Lock:
    """The lock that fits ``config`` and has ``platforms``, perhaps among others: the one at hand, or a new one.

    A new one is written beside cog.yaml, and keeps the platforms that the old one had, unless cog.yaml lists them. Only
    what changed is resolved again, and what ``upgrade`` names. With ``locked`` nothing is resolved.

    Raises:
        LockError: with ``locked``, when there is no lock, it is stale, or lacks a platform; else when it is damaged, or
            has no package that ``upgrade`` names.
        ResolveError: nothing satisfies what is asked for.
    """
    previous = _load_previous(folder, store, reporter, locked, upgrade)
    request = make_request(config, folder, platforms, reporter)
    packages = request.packages
    places = (line.origin.url for line in packages.lines if line.origin is not None)
    learn_indexes((packages.index_url, *packages.extra_index_urls, *packages.find_links, *places))
    known = [section.platform for section in previous.platforms] if previous else []
    touched = find_touched(previous.wanted, request.wanted) if previous is not None else EVERYTHING
    missing = [name for name in request.platforms if name not in known]
    if previous is not None and not touched.anything and not missing and not upgrade.anything:
        return previous
    if locked:
        raise _describe_stale(previous, request, missing)
    from layerforge.lockfile import encode_lock
    from layerforge.resolve import resolve  # what it imports is needed here only

    reporter.note(_describe_work(previous, touched, missing, upgrade))
    kept = () if config.settings.platforms else tuple(name for name in known if name not in request.platforms)
    lock = resolve(request, kept, previous, store, reporter, upgrade)
    _check_names(upgrade.names, lock)
    _write_lock(folder / LOCK_NAME, encode_lock(lock), reporter)
    return lock


def _load_previous(folder: Path, store: Store, reporter: Reporter, locked: bool, upgrade: Upgrade) -> Lock | None:
    """The lock at hand, unless it cannot be read and need not be."""
    try:
        return load_lock(folder, store)
    except LockError as error:
        if locked or not (upgrade.everything or isinstance(error, OutdatedLockError)):
            raise
        reporter.warn(f"{error}: everything is resolved anew")
        return None


def _describe_stale(previous: Lock | None, request: Request, missing: list[str]) -> LockError:
    hint = "run `layerforge lock`, look at it, and commit it"
    if previous is None:
        return LockError("the lock does not exist", where=LOCK_NAME, hint=hint)
    differences = [f"  {line}" for line in list_differences(previous.wanted, request.wanted)]
    if not differences:
        return LockError(f"the lock has no section for {' and '.join(missing)}", where=LOCK_NAME, hint=hint)
    differences += [f"  platform: + {name}" for name in missing]
    return LockError("\n".join(("the lock does not fit cog.yaml any more:", *differences)), where=LOCK_NAME, hint=hint)


def _describe_work(previous: Lock | None, touched: Touched, missing: list[str], upgrade: Upgrade) -> str:
    if previous is None or upgrade.everything:
        return "resolving packages"
    if not touched.anything:
        return f"resolving packages for {' and '.join(missing)}" if missing else "resolving what is to be upgraded"
    parts = {"Debian packages": touched.system, "Python packages": touched.packages, "the runtime": touched.runtime}
    if not any(parts.values()):
        return "the lock is stale: packages are spread over layers again"
    again = "everything" if touched.foundation else " and ".join(name for name, touch in parts.items() if touch)
    return f"the lock is stale: resolving {again} again"


def _check_names(names: frozenset[str], lock: Lock) -> None:
    known = {
        item.name
        for section in lock.platforms
        for items in (section.debs, section.packages, section.runtime)
        for item in items
    }
    for name in sorted(names):
        if name in known or normalise_name(name) in known:
            continue
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]}?" if near else "give the name of a Python or Debian package in the lock"
        raise LockError(f"there is no package {name!r} to upgrade", where=LOCK_NAME, hint=hint)


def _write_lock(path: Path, data: bytes, reporter: Reporter) -> None:
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            temporary.chmod(0o644)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        reporter.warn(f"{path.name} cannot be written: {error.strerror}", "the next build will resolve again")
