"""The local store itself: the image is there already and gets its name."""

from __future__ import annotations

from layerforge.oci import Descriptor
from layerforge.sinks.content import parse_name
from layerforge.store import Store


class LocalSink:
    """Tags in the local store, under the whole reference (``index.docker.io/library/model:latest``)."""

    def check(self, name: str) -> None:
        """See that ``name`` is a reference.

        Raises:
            InvalidReference: it is not.
        """
        parse_name(name)

    def deliver(self, store: Store, manifest: Descriptor, name: str) -> Descriptor:
        """Point the tag at ``manifest``."""
        store.tag(str(parse_name(name)), manifest)
        return manifest
