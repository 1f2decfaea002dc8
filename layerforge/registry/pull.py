"""Blobs of base images, from the repositories that have them: read as they pass, or fetched into the store."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack
from types import TracebackType

from layerforge.errors import LayerforgeError, RegistryError, StoreError, VerificationError
from layerforge.oci import Descriptor
from layerforge.origin import Repository
from layerforge.partial import Partial
from layerforge.progress import SILENCE, Reporter, format_size
from layerforge.reference import Reference
from layerforge.registry.client import Registry
from layerforge.registry.feed import CHUNK
from layerforge.registry.retry import Stopped
from layerforge.store import Store
from layerforge.verify import Source, VerifiedReader

JOBS = 4
"""Blobs that are fetched at a time."""


class Origins:
    """The repositories that ``store`` knows to have blobs it need not hold. Safe to use from several threads.

    Use it as a context manager. Setting ``stop`` ends everything under way.
    """

    def __init__(self, store: Store, *, reporter: Reporter = SILENCE, stop: threading.Event | None = None) -> None:
        self._store = store
        self._reporter = reporter
        self._stop = stop or threading.Event()
        self._open: dict[Repository, Registry] = {}
        self._guard = threading.Lock()
        self._stack = ExitStack()

    def __enter__(self) -> Origins:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def neighbours(self, blob: Descriptor, reference: Reference) -> tuple[str, ...]:
        """Other repositories of the registry of ``reference`` that have the blob."""
        origin = self._store.find_origin(blob.digest)
        known = origin.repositories if origin else ()
        return tuple(
            repository.name
            for repository in known
            if repository.registry == reference.registry and repository.name != reference.repository
        )

    def open_blob(self, blob: Descriptor, *, beginning: Source | None = None, start: int = 0) -> VerifiedReader:
        """The blob's bytes from the first repository that gives them, verified as they are read.

        The first ``start`` of them are read from ``beginning``.

        Raises:
            StoreError: no repository is known to have it.
            RegistryError: none that is known gave it.
        """
        origin = self._store.find_origin(blob.digest)
        failure: LayerforgeError | None = None
        for repository in origin.repositories if origin else ():
            try:
                return self._registry(repository).read_blob(blob, beginning=beginning, start=start)
            except RegistryError as error:
                failure = failure or error
        if failure is not None:
            raise failure
        hint = "build the image again"
        raise StoreError("the store does not have this blob", where=str(blob.digest), hint=hint)

    def _registry(self, repository: Repository) -> Registry:
        with self._guard:
            if repository not in self._open:
                registry = Registry(repository.reference, push=False, reporter=self._reporter, stop=self._stop)
                self._open[repository] = self._stack.enter_context(registry)
            return self._open[repository]


def pull_blobs(store: Store, blobs: Iterable[Descriptor], reporter: Reporter = SILENCE, *, jobs: int = JOBS) -> None:
    """Fetch into ``store`` those of ``blobs`` that it lacks, ``jobs`` at a time, the largest first.

    Raises:
        StoreError: no repository is known to have one.
        RegistryError: none gave it.
        VerificationError: what came is not the blob.
    """
    missing = {blob.digest: blob for blob in blobs if not store.has_blob(blob)}
    if not missing:
        return
    ordered = sorted(missing.values(), key=lambda blob: blob.size, reverse=True)
    stop = threading.Event()
    with (
        Origins(store, reporter=reporter, stop=stop) as origins,
        ThreadPoolExecutor(min(jobs, len(ordered)), thread_name_prefix="pull") as pool,
    ):
        futures = [pool.submit(_pull_blob, store, origins, blob, reporter) for blob in ordered]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            failed = [error for future in done if (error := future.exception()) is not None]
        except BaseException:
            stop.set()
            raise
        if failed:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise next((error for error in failed if not isinstance(error, Stopped)), failed[0])


def _pull_blob(store: Store, origins: Origins, blob: Descriptor, reporter: Reporter) -> None:
    """Fetch a blob, or the rest of what was cut off earlier."""
    with store.key_lock(blob.digest):
        if store.has_blob(blob):
            return
        task = f"fetch layer {blob.digest.short}"
        reporter.start(task, blob.size)
        with Partial(store, blob.digest, folder="blobs") as partial:
            if partial.size >= blob.size:
                partial.clear()
            start = partial.size
            try:
                _copy(origins, blob, partial, task, reporter)
            except VerificationError as error:
                partial.clear()
                if not start:
                    error.hint = "the registry gave other bytes than its manifest names: push the base there again"
                    raise
                _copy(origins, blob, partial, task, reporter)  # what was there may have been wrong
            partial.commit()
        reporter.finish(task, format_size(blob.size))


def _copy(origins: Origins, blob: Descriptor, partial: Partial, task: str, reporter: Reporter) -> None:
    buffer = memoryview(bytearray(CHUNK))
    start, seen = partial.size, 0
    with partial.open() as before, origins.open_blob(blob, beginning=before, start=start) as reader:
        while count := reader.readinto(buffer):
            seen += count
            if seen > start:
                partial.write(buffer[:count])
            reporter.advance(task, count)
