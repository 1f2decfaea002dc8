"""Every kind of layer, and what makes it. A new kind is a file in this package and a row here."""

from __future__ import annotations

from collections.abc import Callable

from layerforge.layers import code, debian, environment, python, root, runtime, standalone, weights, wheels
from layerforge.layers.step import Recipe, Workbench
from layerforge.layers.tar import Layer, TarWriter
from layerforge.segments import Segments


def write_layer(recipe: Recipe, tar: TarWriter, bench: Workbench, on_read: Callable[[], None] = lambda: None) -> None:
    """Write the entries of the layer that ``recipe`` describes.

    ``on_read`` is called as soon as all facts that others want of it have been kept, if that is before its end.
    """
    if isinstance(recipe, _TELLING):
        _WRITERS[type(recipe)](recipe, tar, bench, on_read)
    else:
        _WRITERS[type(recipe)](recipe, tar, bench)


def locate_layer(recipe: Recipe, bench: Workbench) -> tuple[Layer, Segments] | None:
    """The Layer, if its bytes are those of files that exist already; None when it must be written."""
    return weights.locate(recipe, bench) if isinstance(recipe, weights.WeightRecipe) else None


def records_demands(recipe: Recipe) -> bool:
    """Whether the layer lies upon others, whose libraries it may use: what it demands of them is then recorded."""
    return isinstance(recipe, _UPPER)


_UPPER = (wheels.WheelsRecipe, code.CodeRecipe, weights.SmallWeightsRecipe, runtime.RuntimeRecipe)

_TELLING = (debian.DebianRecipe, python.PythonRecipe)
"""Kinds that first read packages, and then work on without them."""

_WRITERS: dict[type[Recipe], Callable[..., None]] = {
    debian.DebianRecipe: debian.write,
    python.PythonRecipe: python.write,
    environment.EnvironmentRecipe: environment.write,
    standalone.StandaloneRecipe: standalone.write,
    root.RootRecipe: root.write,
    wheels.WheelsRecipe: wheels.write,
    code.CodeRecipe: code.write,
    weights.SmallWeightsRecipe: weights.write,
    runtime.RuntimeRecipe: runtime.write,
}
