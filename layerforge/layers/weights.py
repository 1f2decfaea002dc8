"""Layers of weights: those of large files, whose bytes stay where they are, and one of the small files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from layerforge.errors import SourceError
from layerforge.layers.headers import TRAILER, encode_header, padding
from layerforge.layers.step import Recipe, Workbench
from layerforge.layers.tar import Layer, TarWriter
from layerforge.layers.tree import TreeFile, write_file
from layerforge.oci import LAYER_TAR, Descriptor, Digest
from layerforge.project import ProjectFile
from layerforge.segments import FileState, Segment, Segments


class WeightFile(msgspec.Struct, frozen=True):
    """A large weight at ``path`` in the image, whose ``size`` bytes are the project's file ``source``."""

    path: str
    source: str
    size: int
    mode: int


def lay_out_weights(files: Sequence[WeightFile]) -> tuple[bytes, ...]:
    """What stands before each of the files in their layer, and, as the last, what stands behind them.

    Parent directories have no entries: they come from the code layer or are made by the engine with mode 755.
    """
    between, filler = [], b""
    for file in files:
        between.append(filler + encode_header(file.path, size=file.size, mode=file.mode))
        filler = padding(file.size)
    return (*between, filler + TRAILER)


def place_weights(files: Iterable[ProjectFile], folder: str) -> tuple[WeightFile, ...]:
    """The large weights ``files`` of a project that lies in ``folder`` of the image."""
    return tuple(WeightFile(f"{folder}/{file.path}", file.path, file.size, file.mode) for file in files)


class WeightRecipe(Recipe, frozen=True, tag="weight"):
    """Large files. ``layer`` is the digest of the finished layer, which was hashed when the project was scanned."""

    files: tuple[WeightFile, ...]
    layer: Digest


def locate(recipe: WeightRecipe, bench: Workbench) -> tuple[Layer, Segments]:
    """The finished Layer, and the segments that its bytes are read from.

    Raises:
        SourceError: a file is gone or has another size.
    """
    # A file of any kind is a weight when it is large: it may be a library. Imported when a layer is made only.
    from layerforge.abi.demands import ANNOTATION, encode_demands, summarize_demands
    from layerforge.abi.survey import survey_files

    *before, end = lay_out_weights(recipe.files)
    parts: list[Segment] = []
    paths: dict[str, Path] = {}
    for file, literal in zip(recipe.files, before, strict=True):
        path = Path(os.path.realpath(bench.project_path(file.source)))
        try:
            state = FileState.of(path.stat())
        except OSError as error:
            raise SourceError(f"cannot be read: {error.strerror}", where=str(path)) from error
        if state.size != file.size:
            raise SourceError("changed while the image was being built", where=str(path), hint="build again")
        parts += [Segment(literal), Segment(path=str(path), state=state)]
        paths[file.path] = path
    segments = Segments((*parts, Segment(end)))
    annotations = {ANNOTATION: encode_demands(summarize_demands(survey_files(paths)))}
    return Layer(Descriptor(LAYER_TAR, recipe.layer, segments.size, annotations), recipe.layer), segments


class SmallWeightsRecipe(Recipe, frozen=True, tag="weights"):
    """The small weight files, in one uncompressed layer."""

    files: tuple[TreeFile, ...]


def write(recipe: SmallWeightsRecipe, tar: TarWriter, bench: Workbench) -> None:
    """Write the layer of small weights."""
    for file in recipe.files:
        write_file(file, tar, bench)
