"""Any registry that speaks the distribution API."""

from __future__ import annotations

import os

from layerforge.errors import InvalidReference
from layerforge.oci import Descriptor
from layerforge.progress import SILENCE, Reporter
from layerforge.reference import DOCKER_HUB
from layerforge.sinks.content import parse_name
from layerforge.store import Store


class RegistrySink:
    """Pushes to the registry that the name says; ``insecure`` as for :class:`layerforge.registry.Registry`.

    ``jobs`` blobs travel at a time (default: ``COG_PUSH_CONCURRENCY``, else 4).
    """

    def __init__(self, reporter: Reporter = SILENCE, *, jobs: int | None = None, insecure: bool | None = None) -> None:
        self._reporter = reporter
        self._jobs = jobs
        self._insecure = insecure

    def check(self, name: str) -> None:
        """See that ``name`` says where to push to. The registry is not asked.

        Raises:
            InvalidReference: it does not.
        """
        reference = parse_name(name)
        if reference.registry == DOCKER_HUB and reference.repository.startswith("library/"):
            hint = f"name the registry and your part of it: -t registry.example.com/team/{name}"
            raise InvalidReference("no registry to push to in this name", where=name, hint=hint)

    def deliver(self, store: Store, manifest: Descriptor, name: str) -> Descriptor:
        """Push what the registry lacks, then the manifest.

        Raises:
            RegistryError: the registry refused, or could not be reached.
        """
        from layerforge.registry import push_image, read_settings

        jobs = self._jobs or read_settings(os.environ).jobs
        reference = parse_name(name)
        return push_image(store, manifest, reference, jobs=jobs, insecure=self._insecure, reporter=self._reporter)
