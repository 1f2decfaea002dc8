"""Sends large new files while they are hashed for the first time, so that they are read once.

A digest is needed to end an upload, not to begin it. But who does not know the digest cannot ask whether the registry
has the blob; so only files that are new or changed since this store's last build of the same image are sent this way.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from layerforge.errors import LayerforgeError, RegistryError
from layerforge.oci import DOCKER_INDEX, INDEX, LAYER_TAR, Descriptor, Digest, Index, Manifest, decode
from layerforge.origin import Repository
from layerforge.progress import Reporter
from layerforge.reference import Reference
from layerforge.registry.client import Registry
from layerforge.registry.memory import Memory
from layerforge.registry.retry import Stopped
from layerforge.segments import FileState
from layerforge.store import Store

_LEAST = 16 << 20  # bytes of a blob: less is read twice sooner than it is worth to begin early
_JOBS = 4


class EagerUploads:
    """Uploads to the repository of ``reference``. Use it as a context manager; safe to use from several threads."""

    jobs = _JOBS

    def __init__(self, reference: Reference, store: Store, reporter: Reporter) -> None:
        self._reference = reference
        self._store = store
        self._reporter = reporter
        self._stop = threading.Event()
        self._seen = _list_states(store, reference)
        self._guard = threading.Lock()
        self._registry: Registry | None = None

    def __enter__(self) -> EagerUploads:
        return self

    def __exit__(self, *_: object) -> None:
        if self._registry is not None:
            self._registry.close()

    def stop(self) -> None:
        """End what is under way."""
        self._stop.set()

    def send(
        self, files: Sequence[tuple[Path, FileState]], size: int, pieces: Callable[[], Iterator[bytes | memoryview]]
    ) -> Digest | None:
        """Send the blob of ``size`` bytes that ``pieces`` gives, read from ``files``; its digest.

        None when that is not to be done, or did not work: then it is to be hashed first, as usual.

        Raises:
            SourceError: of ``pieces``.
        """
        if size < _LEAST or not self._are_new(files):
            return None
        hasher = hashlib.sha256()

        def hashed() -> Iterator[bytes | memoryview]:
            nonlocal hasher
            hasher = hashlib.sha256()  # anew, should the request be sent again
            for piece in pieces():
                hasher.update(piece)
                yield piece

        try:
            if not self._open().push_stream(size, hashed, lambda: Digest.from_hex(hasher.hexdigest())):
                return None
        except RegistryError as error:
            self._reporter.note(f"{error}; trying again when everything is made")
            return None
        except Stopped:
            return None
        digest = Digest.from_hex(hasher.hexdigest())
        repository = Repository(self._reference.registry, self._reference.repository)
        self._store.add_origin(Descriptor(LAYER_TAR, digest, size), repository)
        return digest

    def _are_new(self, files: Sequence[tuple[Path, FileState]]) -> bool:
        return self._seen is not None and all(self._seen.get(str(path)) != state for path, state in files)

    def _open(self) -> Registry:
        with self._guard:
            if self._registry is None:
                memory = Memory(self._reference, self._store)
                self._registry = Registry(self._reference, reporter=self._reporter, stop=self._stop, memory=memory)
            return self._registry


def _list_states(store: Store, reference: Reference) -> dict[str, FileState] | None:
    """The files that the image has that the store calls so, in the state in which they were read; None without one."""
    try:
        descriptor = store.resolve_tag(str(reference))
        if descriptor is None:
            return None
        found: dict[str, FileState] = {}
        children: Sequence[Descriptor] = (descriptor,)
        if descriptor.media_type in (INDEX, DOCKER_INDEX):
            children = decode(store.read_blob(descriptor), Index).manifests
        for child in children:
            for layer in decode(store.read_blob(child), Manifest).layers:
                segments = store.find_segments(layer.digest)
                parts = segments.parts if segments is not None else ()
                found |= {part.path: part.state for part in parts if part.state is not None}
        return found
    except LayerforgeError:  # a damaged store: nothing is known
        return None
