"""All that belongs to an image, and the one way to see that it is in the store."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from layerforge.oci import DOCKER_INDEX, INDEX, Descriptor, Digest, Index, Manifest, decode
from layerforge.progress import Reporter
from layerforge.store import Store
from layerforge.verify import VerifiedReader


def list_blobs(store: Store, descriptor: Descriptor) -> tuple[Descriptor, ...]:
    """Every blob of an image or index, itself included, each once, sorted by digest.

    Raises:
        ImageError: a document cannot be understood.
        StoreError: the store lacks one.
    """
    found: dict[Digest, Descriptor] = {}

    def visit(descriptor: Descriptor) -> None:
        found[descriptor.digest] = descriptor
        data = store.read_blob(descriptor)
        if descriptor.media_type in (INDEX, DOCKER_INDEX):
            for child in decode(data, Index, what=f"index {descriptor.digest}").manifests:
                visit(child)
            return
        manifest = decode(data, Manifest, what=f"manifest {descriptor.digest}")
        found.update({blob.digest: blob for blob in (manifest.config, *manifest.layers)})

    visit(descriptor)
    return tuple(found[digest] for digest in sorted(found))


def require_blobs(store: Store, blobs: Iterable[Descriptor], reporter: Reporter) -> None:
    """See that ``store`` has those of ``blobs`` that can be had elsewhere: layers of base images, from their registry.

    Others are left to whoever opens them, and knows better what to say.

    Raises:
        RegistryError: the registry that has one refused, or could not be reached.
        VerificationError: it gave something else.
    """
    missing = [blob for blob in blobs if is_elsewhere(store, blob)]
    if missing:
        from layerforge.registry.pull import pull_blobs  # what it imports is not needed where nothing is missing

        pull_blobs(store, missing, reporter)


@contextmanager
def open_origins(
    store: Store, blobs: Iterable[Descriptor], reporter: Reporter, stop: threading.Event
) -> Iterator[Callable[[Descriptor], VerifiedReader]]:
    """What opens a blob that is elsewhere. Where ``store`` has all of ``blobs``, nothing of the network is touched."""
    if not any(is_elsewhere(store, blob) for blob in blobs):
        yield store.open_blob
        return
    from layerforge.registry.pull import Origins  # to import what it imports opens a socket

    with Origins(store, reporter=reporter, stop=stop) as origins:
        yield origins.open_blob


def is_elsewhere(store: Store, blob: Descriptor) -> bool:
    """Whether the blob is not in ``store``, but known to be in a registry."""
    return not store.has_blob(blob) and store.find_origin(blob.digest) is not None
