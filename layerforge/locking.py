"""The lock that fits a cog.yaml: the one beside it, or a new one, which is then written there."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from layerforge import __version__
from layerforge.config import Config
from layerforge.errors import ImageError, LockError
from layerforge.ignore import LOCK_NAME
from layerforge.lock import Lock
from layerforge.oci import Digest, Platform, decode, encode
from layerforge.progress import Reporter
from layerforge.request import make_request
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
    renew: bool = False,
) -> Lock:
    """The lock that fits ``config`` and has ``platforms``, perhaps among others: the one at hand, or a new one.

    A new one is written beside cog.yaml, and keeps the platforms that the old one had, unless cog.yaml lists them. With
    ``locked`` nothing is resolved; with ``renew`` what is at hand is not used.

    Raises:
        LockError: with ``locked``, when there is no lock, it is stale, or lacks a platform.
        ResolveError: nothing satisfies what is asked for.
    """
    previous = None if renew else load_lock(folder, store)
    request = make_request(config, folder, platforms, reporter)
    known = [section.platform for section in previous.platforms] if previous else []
    fits = previous is not None and previous.inputs == request.digest
    missing = [name for name in request.platforms if name not in known]
    if previous is not None and fits and not missing:
        return previous
    if locked:
        state = "does not exist" if previous is None else "does not fit cog.yaml any more"
        if fits:
            state = f"has no section for {' and '.join(missing)}"
        raise LockError(f"the lock {state}", where=LOCK_NAME, hint="run `layerforge lock`, look at it, and commit it")
    from layerforge.lockfile import encode_lock
    from layerforge.resolve import resolve  # what it imports is needed here only

    news = "resolving packages" if previous is None else "the lock is stale: resolving again"
    reporter.note(f"resolving packages for {' and '.join(missing)}" if fits else news)
    kept = () if config.settings.platforms else tuple(name for name in known if name not in request.platforms)
    lock = resolve(request, kept, previous, store, reporter)
    _write_lock(folder / LOCK_NAME, encode_lock(lock), reporter)
    return lock


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
