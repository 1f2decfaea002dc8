"""A model's folder as a value: its files with their digests, code and weights apart. Pure; ``scan.py`` makes it."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping

import msgspec

from layerforge.bins import choose_bin
from layerforge.oci import Digest

WEIGHT_SUFFIXES = frozenset(
    ".safetensors .gguf .ggml .pt .pth .ckpt .onnx .h5 .hdf5 .keras .tflite .pdparams .mar .engine .plan".split()  # noqa: SIM905
)
"""Endings that only weights have: such a file is a weight whatever its size."""

AMBIGUOUS_SUFFIXES = frozenset(
    ".bin .pkl .pickle .joblib .npy .npz .pb .model .msgpack .dat .index .weights".split()  # noqa: SIM905
)
"""Endings that weights share with other data: a weight from AMBIGUOUS_SIZE bytes on."""

AMBIGUOUS_SIZE = 1 << 20
LARGE_SIZE = 16 << 20
"""A file of this many bytes is a weight whatever its name, and has a layer of its own."""

WEIGHT_BINS = 4
"""The number of layers that large weights share when there are too many of them, where the budget allows."""


class ProjectFile(msgspec.Struct, frozen=True):
    """A file (``digest`` of its content) or a symbolic link (``link`` is its target) at ``path`` in the project.

    ``size`` is in bytes; ``mode`` is 0o755 for what its owner may execute, else 0o644.
    """

    path: str
    size: int = 0
    mode: int = 0o644
    digest: Digest | None = None
    link: str = ""


class WeightLayer(msgspec.Struct, frozen=True):
    """Large weights in one layer, mostly a single one. ``name`` is that one's path, or a bin's.

    ``files`` have no digests of their own: ``digest`` is the layer's.
    """

    name: str
    files: tuple[ProjectFile, ...]
    digest: Digest

    @property
    def size(self) -> int:
        """Bytes of the files in all."""
        return sum(file.size for file in self.files)


class Project(msgspec.Struct, frozen=True):
    """All that goes into the image from the folder, sorted by path. ``ignored`` counts what .gitignore left out."""

    code: tuple[ProjectFile, ...]
    weights: tuple[ProjectFile, ...]
    large_weights: tuple[WeightLayer, ...]
    empty_folders: tuple[str, ...] = ()
    ignored: int = 0


def is_weight(path: str, size: int) -> bool:
    """Whether the file at ``path`` with ``size`` bytes goes into a layer of weights rather than of code."""
    suffix = posixpath.splitext(path)[1].lower()
    if suffix in WEIGHT_SUFFIXES or size >= LARGE_SIZE:
        return True
    return suffix in AMBIGUOUS_SUFFIXES and size >= AMBIGUOUS_SIZE


def group_weights(sizes: Mapping[str, int], layers: int) -> dict[str, tuple[str, ...]]:
    """Which of the large weights (path to size) share a layer, when weights may have ``layers``: name to paths.

    One layer is left for the small weights. The largest have a layer each, named like them; where there are too many,
    the smallest share bins, each going to the bin that the hash of its path says.
    """
    bins = tuple(f"bin.{index}" for index in range(min(WEIGHT_BINS, (layers - 1) // 2)))
    ordered = sorted(sizes, key=lambda path: (-sizes[path], path))
    alone = max(0, layers - 1 - len(bins))
    groups = {path: [path] for path in ordered[:alone]}
    for path in ordered[alone:]:
        if bins:
            groups.setdefault(choose_bin(path, bins), []).append(path)
    return {name: tuple(sorted(groups[name])) for name in sorted(groups, key=lambda name: (name in bins, name))}
