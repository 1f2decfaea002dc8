"""Layers that images in registries have already, found by the key of the step that would make them.

A manifest is data from outside, so who may speak for a key is decided here. The repository that the image is for is
believed: whoever can write there can replace the image itself. So is a manifest that was named by its digest: these
bytes were chosen. Others are refused.
"""

from __future__ import annotations

from collections.abc import Sequence

from layerforge.errors import InvalidReference, LayerforgeError
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


def choose_sources(references: Sequence[Reference], target: Reference, *, push: bool) -> tuple[Reference, ...]:
    """The images that may serve: those that ``--cache-from`` names, else the tag that is about to be pushed to.

    ``target`` is what the image will be called.

    Raises:
        InvalidReference: one of ``references`` is not to be believed.
    """
    for reference in references:
        beside = (reference.registry, reference.repository) == (target.registry, target.repository)
        if not beside and reference.digest is None:
            hint = "name the image by its digest (REF@sha256:…), or take one of the repository that you push to"
            message = "a tag of another repository may change, and could put any layer into the image"
            raise InvalidReference(message, where=str(reference), hint=hint)
    return tuple(references) or ((target,) if push else ())


class RemoteCache:
    """What the images of ``sources`` have.

    Nothing is read before the first question, and what cannot be read is passed over.
    """

    def __init__(self, sources: Sequence[Reference], store: Store, reporter: Reporter) -> None:
        self._sources = sources
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

    def _read(self, reference: Reference, found: dict[Digest, tuple[Layer, Repository]]) -> None:
        try:
            manifests = self._read_manifests(reference)
        except LayerforgeError as error:
            if getattr(error, "status", 0) != 404:
                self._reporter.note(f"{reference} does not serve as a cache: {error}")
            return
        repository = Repository(reference.registry, reference.repository)
        for manifest in manifests:
            for descriptor in manifest.layers:
                named = identify_layer(descriptor) if descriptor.media_type in _LAYERS and descriptor.size > 0 else None
                if named is not None:
                    found.setdefault(named[0], (named[1], repository))

    def _read_manifests(self, reference: Reference) -> list[Manifest]:
        from layerforge.registry import Registry  # what it imports is needed here only

        with Registry(reference, push=False, reporter=self._reporter) as registry:
            found, data = registry.get_manifest(reference.digest or reference.tag)
            if found.media_type not in (INDEX, DOCKER_INDEX):
                return [decode(data, Manifest, what=f"{reference}")]
            children = decode(data, Index, what=f"{reference}").manifests[:_MOST_CHILDREN]
            return [decode(registry.get_manifest(child.digest)[1], Manifest, what=f"{reference}") for child in children]
