"""Which weights an image has: a label, so that they can be replaced without the project and compared. Pure."""

from __future__ import annotations

import msgspec

from layerforge.errors import ImageError
from layerforge.oci import ContainerConfig, Digest, decode, encode
from layerforge.project import Project

LABEL = "run.layerforge.weights"
"""The label that holds the record: absent when an image has no weights."""


class WeightEntry(msgspec.Struct, frozen=True):
    """One weight of ``size`` bytes. ``digest`` is its content's; of a large one, its layer's."""

    size: int
    digest: Digest


def record_weights(project: Project) -> dict[str, WeightEntry]:
    """The weights of ``project`` by their path in it; links are not among them."""
    small = {file.path: WeightEntry(file.size, file.digest) for file in project.weights if file.digest is not None}
    large = {file.path: WeightEntry(file.size, layer.digest) for layer in project.large_weights for file in layer.files}
    return dict(sorted({**small, **large}.items()))


def label_weights(record: dict[str, WeightEntry]) -> dict[str, str]:
    """The record as labels: one, or none."""
    return {LABEL: encode(record).decode()} if record else {}


def read_weights(container: ContainerConfig, where: str) -> dict[str, WeightEntry]:
    """The record of an image.

    Raises:
        ImageError: it cannot be understood.
    """
    text = container.labels.get(LABEL)
    if text is None:
        return {}
    try:
        return decode(text.encode("utf-8", "surrogateescape"), dict[str, WeightEntry], what=f"{where}: label {LABEL}")
    except UnicodeEncodeError as error:
        raise ImageError(f"label {LABEL} is not UTF-8", where=where) from error
