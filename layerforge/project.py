"""A model's folder as a value: its files with their digests, code and weights apart. Pure; ``scan.py`` makes it."""

from __future__ import annotations

import posixpath

import msgspec

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

MOST_LAYERS = 40
"""At most this many weights have a layer of their own, the largest ones."""


class ProjectFile(msgspec.Struct, frozen=True):
    """A file (``digest`` of its content) or a symbolic link (``link`` is its target) at ``path`` in the project.

    ``size`` is in bytes; ``mode`` is 0o755 for what its owner may execute, else 0o644.
    """

    path: str
    size: int = 0
    mode: int = 0o644
    digest: Digest | None = None
    link: str = ""


class LargeWeight(msgspec.Struct, frozen=True):
    """A weight with a layer of its own: ``digest`` is that layer's, not the content's."""

    path: str
    size: int
    mode: int
    digest: Digest


class Project(msgspec.Struct, frozen=True):
    """All that goes into the image from the folder, sorted by path. ``ignored`` counts what .gitignore left out."""

    code: tuple[ProjectFile, ...]
    weights: tuple[ProjectFile, ...]
    large_weights: tuple[LargeWeight, ...]
    empty_folders: tuple[str, ...] = ()
    ignored: int = 0


def is_weight(path: str, size: int) -> bool:
    """Whether the file at ``path`` with ``size`` bytes goes into a layer of weights rather than of code."""
    suffix = posixpath.splitext(path)[1].lower()
    if suffix in WEIGHT_SUFFIXES or size >= LARGE_SIZE:
        return True
    return suffix in AMBIGUOUS_SUFFIXES and size >= AMBIGUOUS_SIZE
