"""The layer that makes ``/usr/local`` the prefix of a Python that is there already: in a base image."""

from __future__ import annotations

from layerforge.layers.python import write_environment
from layerforge.layers.step import Recipe, Workbench
from layerforge.layers.tar import TarWriter

INSTALLED = "/usr/local/bin"
"""The ``home`` of a Python whose prefix is ``/usr/local`` itself, as in the official Python images."""


class EnvironmentRecipe(Recipe, frozen=True, tag="environment"):
    """A way to the Python ``version`` (``3.12.4``) of ``minor`` (``3.12``) whose program is in the folder ``home``."""

    home: str
    minor: str
    version: str


def write(recipe: EnvironmentRecipe, tar: TarWriter, bench: Workbench) -> None:
    """Write the layer of ``recipe``: a virtual environment, or, where there is no need for one, names to call it by."""
    del bench  # nothing is read
    if recipe.home != INSTALLED:
        write_environment(recipe.minor, recipe.version, tar, recipe.home)
        return
    for name in ("python", "python3"):
        tar.symlink(f"usr/local/bin/{name}", f"python{recipe.minor}")
