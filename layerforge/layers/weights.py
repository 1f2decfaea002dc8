"""Layers of weights: one for each large file, whose bytes stay where they are, and one for the small files."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from layerforge.errors import SourceError
from layerforge.layers.step import Recipe, Workbench
from layerforge.layers.tar import TRAILER, Layer, TarWriter, encode_header, padding
from layerforge.layers.tree import TreeFile, write_file
from layerforge.oci import LAYER_TAR, Descriptor, Digest
from layerforge.segments import FileState, Segment, Segments


class WeightLayout(msgspec.Struct, frozen=True):
    """What stands before and behind the content in the layer of one weight."""

    header: bytes
    trailer: bytes


def weight_layout(path: str, size: int, mode: int) -> WeightLayout:
    """The layout of the layer that holds only the file ``path`` (in the image) of ``size`` bytes.

    Parent directories have no entries: they come from the code layer or are made by the engine with mode 755.
    """
    return WeightLayout(encode_header(path, size=size, mode=mode), padding(size) + TRAILER)


class WeightRecipe(Recipe, frozen=True, tag="weight"):
    """One large file. ``layer`` is the digest of the finished layer, which was hashed when the project was scanned."""

    path: str
    source: str
    size: int
    mode: int
    layer: Digest


def locate(recipe: WeightRecipe, bench: Workbench) -> tuple[Layer, Segments]:
    """The finished Layer, and the segments that its bytes are read from.

    Raises:
        SourceError: the file is gone or has another size.
    """
    # A file of any kind is a weight when it is large: it may be a library. Imported when a layer is made only.
    from layerforge.abi.demands import ANNOTATION, encode_demands, summarize_demands
    from layerforge.abi.survey import survey_file

    layout = weight_layout(recipe.path, recipe.size, recipe.mode)
    path = Path(os.path.realpath(bench.project_path(recipe.source)))
    try:
        state = FileState.of(path.stat())
    except OSError as error:
        raise SourceError(f"cannot be read: {error.strerror}", where=str(path)) from error
    if state.size != recipe.size:
        raise SourceError("changed while the image was being built", where=str(path), hint="build again")
    segments = Segments((Segment(layout.header), Segment(path=str(path), state=state), Segment(layout.trailer)))
    annotations = {ANNOTATION: encode_demands(summarize_demands(survey_file(path, recipe.path)))}
    return Layer(Descriptor(LAYER_TAR, recipe.layer, segments.size, annotations), recipe.layer), segments


class SmallWeightsRecipe(Recipe, frozen=True, tag="weights"):
    """The small weight files, in one uncompressed layer."""

    files: tuple[TreeFile, ...]


def write(recipe: SmallWeightsRecipe, tar: TarWriter, bench: Workbench) -> None:
    """Write the layer of small weights."""
    for file in recipe.files:
        write_file(file, tar, bench)
