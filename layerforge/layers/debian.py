"""Layers of Debian packages: every file where dpkg would put it, and dpkg's record of it; no script is run.

What scripts would have done to the root as a whole is in ``layers/root.py``.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from layerforge.layers.python import write_bytecode
from layerforge.layers.step import Recipe, Workbench
from layerforge.layers.tar import TarWriter
from layerforge.oci import Digest


class DebianRecipe(Recipe, frozen=True, tag="debian"):
    """A layer of the packages ``debs``, in this order.

    ``minor`` is the image's own Debian Python (``3.13``), for which the packages' modules are compiled; empty where
    there is none.
    """

    debs: tuple[Digest, ...]
    minor: str = ""

    def materials(self) -> tuple[Digest, ...]:
        """The packages."""
        return self.debs


def write(recipe: DebianRecipe, tar: TarWriter, bench: Workbench, on_read: Callable[[], None] = lambda: None) -> None:
    """Write the layer of ``recipe``; ``on_read`` is called when its packages have been read.

    Raises:
        LayerError: a package is damaged, unsafe, or has a file that another one has too.
        SourceError: a package cannot be had.
    """
    from layerforge.layers.deb_files import write_debs  # slow to import, and a plan needs the Recipe only

    if not recipe.minor:
        write_debs(recipe.debs, tar, bench)
        on_read()
        return
    folders = rf"lib/python3/dist-packages|lib/python{re.escape(recipe.minor)}|share/python3"
    is_module = re.compile(rf"usr/(?:{folders})/.*\.py").fullmatch
    modules = write_debs(recipe.debs, tar, bench, keep=lambda path: is_module(path) is not None)
    on_read()
    if modules:
        write_bytecode(recipe.minor, modules, tar, bench)
