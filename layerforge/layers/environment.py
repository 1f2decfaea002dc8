"""The layer that makes ``/usr/local`` the prefix of a Python that is there already: in a base image."""

from __future__ import annotations

from layerforge.layers.python import write_environment
from layerforge.layers.step import Recipe, Workbench
from layerforge.layers.tar import TarWriter
from layerforge.oci import Digest

INSTALLED = "/usr/local/bin"
"""The ``home`` of a Python whose prefix is ``/usr/local`` itself, as in the official Python images."""


class EnvironmentRecipe(Recipe, frozen=True, tag="environment"):
    """A way to the Python ``version`` (``3.12.4``) of ``minor`` (``3.12``) whose program is in the folder ``home``.

    The packages of the base can still be imported. Where ours are to lie among them, in the prefix itself, ``image`` is
    the base's manifest and ``packages`` are our names (PEP 503), sorted: another version of one is taken away.
    """

    home: str
    minor: str
    version: str
    image: Digest | None = None
    packages: tuple[str, ...] = ()


def write(recipe: EnvironmentRecipe, tar: TarWriter, bench: Workbench) -> None:
    """Write the layer of ``recipe``: a virtual environment, or, where there is no need for one, names to call it by.

    Raises:
        RegistryError: a layer of the base cannot be had.
        LayerError: a layer of the base is damaged.
    """
    if recipe.home != INSTALLED:
        write_environment(recipe.minor, recipe.version, tar, recipe.home, inherit=True)
        return
    for name in ("python", "python3"):
        tar.symlink(f"usr/local/bin/{name}", f"python{recipe.minor}")
    if recipe.packages:
        from layerforge.sources.base.distributions import list_replaced  # a plan needs the Recipe only

        folder = f"usr/local/lib/python{recipe.minor}/site-packages"
        for path in list_replaced(bench.base_root(), folder, frozenset(recipe.packages)):
            parent, _, name = path.rpartition("/")
            tar.file(f"{parent}/.wh.{name}", b"")
