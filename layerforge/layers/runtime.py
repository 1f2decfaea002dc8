"""The last layer: our HTTP server with its packages, and the ``cog`` module. The same bytes for every model.

::

    /opt/layerforge/sdk/cog/…                  `import cog`; found through the .pth file below
    /opt/layerforge/lib/…                      the server and its packages, on nobody's path but its own
    /usr/local/lib/pythonX.Y/site-packages/layerforge-sdk.pth
"""

from __future__ import annotations

from layerforge.layers.step import Recipe, Workbench
from layerforge.layers.tar import TarWriter
from layerforge.layers.tree import TreeFile, write_tree
from layerforge.layers.wheels import WheelFile, write_private_wheels
from layerforge.oci import Digest

LIBRARY = "opt/layerforge/lib"
SDK = "opt/layerforge/sdk"


class RuntimeRecipe(Recipe, frozen=True, tag="runtime"):
    """``files`` have their paths in the image; ``wheels`` go to LIBRARY; ``minor`` is the image's Python."""

    files: tuple[TreeFile, ...]
    wheels: tuple[WheelFile, ...]
    minor: str

    def materials(self) -> tuple[Digest, ...]:
        return tuple(wheel.digest for wheel in self.wheels)


def write(recipe: RuntimeRecipe, tar: TarWriter, bench: Workbench) -> None:
    """Write the runtime layer."""
    write_private_wheels(recipe.wheels, LIBRARY, recipe.minor, tar, bench)
    write_tree(recipe.files, recipe.minor, tar, bench)
    tar.file(f"usr/local/lib/python{recipe.minor}/site-packages/layerforge-sdk.pth", f"/{SDK}\n".encode())
