"""Sends an image from the store to a registry: what is missing, in parallel, and the manifest last.

A layer of a base image that the store does not hold is mounted from the base's repository where that is in the same
registry, and else passed on from the one registry to the other, through memory only.

The tag's present manifest is read first. If it is the same, that one request is all; if not, the blobs that it lists
are in the repository and are not asked for again.
"""

from __future__ import annotations

import threading
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait

import msgspec

from layerforge.blobs import is_elsewhere
from layerforge.errors import ImageError, InvalidReference, LayerforgeError, RegistryError, VerificationError
from layerforge.oci import DOCKER_INDEX, INDEX, Descriptor, Digest, ImageConfig, Index, Manifest, decode
from layerforge.origin import Repository
from layerforge.progress import SILENCE, Reporter, format_size
from layerforge.reference import Reference
from layerforge.registry.client import Registry
from layerforge.registry.memory import Memory
from layerforge.registry.pull import Origins
from layerforge.registry.retry import Stopped
from layerforge.store import Store
from layerforge.verify import VerifiedReader

JOBS = 4
_BLOBS_MISSING = frozenset({"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN"})


class _Document(msgspec.Struct, frozen=True):
    """A manifest to push, its bytes, and the blobs that must be there before it, each with a name for people."""

    descriptor: Descriptor
    data: bytes
    blobs: tuple[tuple[Descriptor, str], ...] = ()
    children: tuple[_Document, ...] = ()


def push_image(
    store: Store,
    manifest: Descriptor,
    reference: Reference,
    *,
    jobs: int = JOBS,
    mount_from: tuple[str, ...] = (),
    insecure: bool | None = None,
    reporter: Reporter = SILENCE,
) -> Descriptor:
    """Push the image or index ``manifest`` of ``store`` to the tag (or digest) that ``reference`` names.

    ``jobs`` blobs travel at a time. ``mount_from`` names repositories of the same registry that may have some of them.
    The tag changes at the end, when everything is there, or not at all.

    Raises:
        RegistryError: the registry refused, or could not be reached.
        VerificationError: a blob in the store is damaged.
        SourceError: a file that a layer is read from has changed.
        StoreError: neither the store nor a registry that it knows of has a blob.
    """
    if reference.digest and reference.digest != manifest.digest:
        raise InvalidReference(f"the image to push has digest {manifest.digest}", where=str(reference))
    document = _read_document(store, manifest)
    task = f"push {reference}"
    reporter.start(task, sum(_measure(document).values()))
    stop = threading.Event()
    with (
        Registry(
            reference, insecure=insecure, reporter=reporter, stop=stop, memory=Memory(reference, store)
        ) as registry,
        Origins(store, reporter=reporter, stop=stop) as origins,
    ):
        push = _Push(store, registry, origins, reporter, stop, jobs, mount_from, task)
        push.run(document, reference.tag or manifest.digest)
    reporter.finish(task, format_size(push.sent) if push.sent else "pushed" if push.changed else "up to date")
    return manifest


class _Push:
    def __init__(
        self,
        store: Store,
        registry: Registry,
        origins: Origins,
        reporter: Reporter,
        stop: threading.Event,
        jobs: int,
        mount_from: tuple[str, ...],
        task: str,
    ) -> None:
        self._store = store
        self._registry = registry
        self._origins = origins
        self._repository = Repository(registry.reference.registry, registry.reference.repository)
        self._reporter = reporter
        self._stop = stop
        self._jobs = jobs
        self._mount_from = mount_from
        self._task = task
        self.sent = 0
        self.changed = False

    def run(self, document: _Document, name: str) -> None:
        """Make ``name`` hold ``document``."""
        present = self._find(name)
        if present is not None and present[0].digest == document.descriptor.digest:
            return
        self.changed = True
        known = _list_blobs(present[1]) if present else frozenset()
        try:
            self._push(document, name, known)
        except RegistryError as error:
            if not known or error.code not in _BLOBS_MISSING:
                raise
            self._push(document, name, frozenset())  # the present manifest lists what the registry no longer has

    def _find(self, name: str) -> tuple[Descriptor, bytes] | None:
        try:
            return self._registry.find_manifest(name)
        except VerificationError:  # damaged: to be replaced, not believed
            return None

    def _push(self, document: _Document, name: str, known: frozenset[Digest]) -> None:
        for child in document.children:
            if self._find(child.descriptor.digest) is None:
                self._push(child, child.descriptor.digest, known)
        blobs = {blob.digest: (blob, title) for blob, title in document.blobs}
        for digest in known & blobs.keys():
            self._reporter.advance(self._task, blobs.pop(digest)[0].size)
        self._push_blobs(blobs)
        self._registry.push_manifest(name, document.descriptor, document.data)

    def _push_blobs(self, blobs: dict[Digest, tuple[Descriptor, str]]) -> None:
        """Largest first, so that no long one is left to travel alone at the end."""
        ordered = sorted(blobs.values(), key=lambda item: item[0].size, reverse=True)
        pool = ThreadPoolExecutor(min(self._jobs, len(ordered)) or 1, thread_name_prefix="push")
        try:
            futures = [pool.submit(self._push_blob, blob, title) for blob, title in ordered]
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            if any(future.exception() for future in done):
                wait(futures)
                raise _choose_error(futures)
        except BaseException:
            self._stop.set()
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    def _push_blob(self, blob: Descriptor, title: str) -> None:
        if self._stop.is_set():
            raise Stopped
        try:
            mount_from = (*self._origins.neighbours(blob, self._registry.reference), *self._mount_from)
            expected = not self._store.is_new(blob.digest) or self._store.find_origin(blob.digest) is not None
            sent = self._registry.push_blob(
                blob, lambda: self._open(blob), mount_from=mount_from, expected=expected, task=self._task
            )
            self._store.add_origin(blob, self._repository)
        except BaseException:
            self._stop.set()  # here and now, before this thread takes the next blob
            raise
        if sent:
            self.sent += blob.size
            self._reporter.note(f"pushed {title} ({format_size(blob.size)})")
        else:
            self._reporter.advance(self._task, blob.size)

    def _open(self, blob: Descriptor) -> VerifiedReader:
        return self._origins.open_blob(blob) if is_elsewhere(self._store, blob) else self._store.open_blob(blob)


def _choose_error(futures: list[Future[None]]) -> BaseException:
    """What went wrong, rather than what was stopped because of it."""
    errors = [future.exception() for future in futures if not future.cancelled()]
    real = [error for error in errors if error is not None and not isinstance(error, Stopped)]
    return real[0] if real else Stopped()


def _read_document(store: Store, descriptor: Descriptor) -> _Document:
    data = store.read_blob(descriptor)
    if descriptor.media_type in (INDEX, DOCKER_INDEX):
        children = decode(data, Index, what=f"index {descriptor.digest}").manifests
        return _Document(descriptor, data, (), tuple(_read_document(store, child) for child in children))
    manifest = decode(data, Manifest, what=f"manifest {descriptor.digest}")
    titles = _read_titles(store, manifest)
    blobs = ((manifest.config, "configuration"), *zip(manifest.layers, titles, strict=True))
    return _Document(descriptor, data, blobs)


def _read_titles(store: Store, manifest: Manifest) -> list[str]:
    """What people call each layer: the step in the image's history, else its digest."""
    try:
        config = decode(store.read_blob(manifest.config), ImageConfig)
        made = [entry.created_by.removeprefix("layerforge ") for entry in config.history if not entry.empty_layer]
    except ImageError:
        made = []
    if len(made) != len(manifest.layers):
        return [layer.digest.short for layer in manifest.layers]
    return [title[:60] or layer.digest.short for title, layer in zip(made, manifest.layers, strict=True)]


def _measure(document: _Document) -> dict[Digest, int]:
    """The size in bytes of every blob, each once."""
    sizes = {blob.digest: blob.size for blob, _ in document.blobs}
    for child in document.children:
        sizes.update(_measure(child))
    return sizes


def _list_blobs(data: bytes) -> frozenset[Digest]:
    """What the manifest ``data`` refers to; nothing when it is no image's."""
    try:
        manifest = decode(data, Manifest)
    except LayerforgeError:
        return frozenset()
    return frozenset({manifest.config.digest, *(layer.digest for layer in manifest.layers)})
