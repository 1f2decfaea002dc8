"""Layers that images in registries have already, found by the key of the step that would make them.

A manifest is data from outside, so who may speak for a key is decided here. The repository that is about to be pushed
to is believed: whoever can write there can replace the image itself. So is a manifest that was named by its digest. Of
any other repository a layer is taken only where the lock records the same bytes for the same key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from layerforge.errors import LayerforgeError
from layerforge.image import identify_layer
from layerforge.layers.tar import Layer
from layerforge.oci import DOCKER_INDEX, INDEX, LAYER_GZIP, LAYER_TAR, LAYER_ZSTD, Digest, Index, Manifest, decode
from layerforge.origin import Repository
from layerforge.progress import Reporter
from layerforge.reference import Reference
from layerforge.store import Store

_LAYERS = frozenset({LAYER_TAR, LAYER_GZIP, LAYER_ZSTD})
_MOST_CHILDREN = 16
"""Manifests of an index that are read; an image for more platforms than this is none of ours."""


class CacheSource(msgspec.Struct, frozen=True):
    """An image whose layers may serve. ``trusted``: what its manifest says of a key is believed."""

    reference: Reference
    trusted: bool


def choose_sources(texts: Sequence[Reference], target: Reference | None) -> tuple[CacheSource, ...]:
    """The sources that ``--cache-from`` names, else the tag that is about to be pushed to, if any."""

    def is_trusted(reference: Reference) -> bool:
        beside = target is not None and (reference.registry, reference.repository) == (
            target.registry,
            target.repository,
        )
        return beside or reference.digest is not None

    references = texts or ((target,) if target is not None else ())
    return tuple(CacheSource(reference, is_trusted(reference)) for reference in references)


class RemoteCache:
    """What the images of ``sources`` have.

    Nothing is read before the first question, and what cannot be read is passed over. ``recorded`` are the layers that
    the lock knows by their keys.
    """

    def __init__(
        self, sources: Sequence[CacheSource], recorded: Mapping[Digest, Layer], store: Store, reporter: Reporter
    ) -> None:
        self._sources = sources
        self._recorded = recorded
        self._store = store
        self._reporter = reporter
        self._found: dict[Digest, tuple[Layer, Repository]] | None = None

    def find(self, key: Digest) -> Layer | None:
        """The layer of ``key`` that a repository has; the store remembers which."""
        if self._found is None:
            self._found = {}
            for source in self._sources:
                self._read(source, self._found)
        layer, repository = self._found.get(key, (None, None))
        if layer is not None and repository is not None:
            self._store.add_origin(layer.descriptor, repository)
        return layer

    def _read(self, source: CacheSource, found: dict[Digest, tuple[Layer, Repository]]) -> None:
        reference = source.reference
        try:
            manifests = self._read_manifests(reference)
        except LayerforgeError as error:
            if getattr(error, "status", 0) != 404:
                self._reporter.note(f"{reference} does not serve as a cache: {error}")
            return
        repository = Repository(reference.registry, reference.repository)
        strange = 0
        for manifest in manifests:
            for descriptor in manifest.layers:
                named = identify_layer(descriptor) if descriptor.media_type in _LAYERS and descriptor.size > 0 else None
                if named is None:
                    continue
                key, layer = named
                recorded = self._recorded.get(key)
                if recorded != layer if recorded is not None else not source.trusted:
                    strange += 1
                elif key not in found:
                    found[key] = layer, repository
        if strange:
            self._reporter.warn(
                f"{strange} layers of {reference} are not used: the lock does not vouch for them",
                "commit the lock that `layerforge build` writes, or name the image by its digest, if you trust it",
            )

    def _read_manifests(self, reference: Reference) -> list[Manifest]:
        from layerforge.registry import Registry  # what it imports is needed here only

        with Registry(reference, push=False, reporter=self._reporter) as registry:
            found, data = registry.get_manifest(reference.digest or reference.tag)
            if found.media_type not in (INDEX, DOCKER_INDEX):
                return [decode(data, Manifest, what=f"{reference}")]
            children = decode(data, Index, what=f"{reference}").manifests[:_MOST_CHILDREN]
            return [decode(registry.get_manifest(child.digest)[1], Manifest, what=f"{reference}") for child in children]
