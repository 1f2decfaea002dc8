"""The interpreter's layer: Debian's packages of it, ``/usr/local`` as a virtual environment, compiled bytecode.

Debian compiles bytecode in postinst scripts, with time stamps. Here it is hash-based and unchecked (PEP 552), so that
it is the same everywhere and start-up does not look at the sources. The virtual environment (PEP 405) is what makes
``/usr/local`` the prefix, as in the official Python images.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from layerforge.layers.step import Recipe, Workbench
from layerforge.layers.tar import TarWriter
from layerforge.layers.tree import bytecode_path
from layerforge.oci import Digest


class PythonRecipe(Recipe, frozen=True, tag="python"):
    """The interpreter ``version`` (``3.13.5``) of ``minor`` (``3.13``), from the packages ``debs``."""

    debs: tuple[Digest, ...]
    minor: str
    version: str

    def materials(self) -> tuple[Digest, ...]:
        """The packages."""
        return self.debs


def write(recipe: PythonRecipe, tar: TarWriter, bench: Workbench, on_read: Callable[[], None] = lambda: None) -> None:
    """Write the layer of ``recipe``; ``on_read`` is called when its packages have been read.

    Raises:
        LayerError: a package is damaged or unsafe.
        SourceError: a package cannot be had.
    """
    from layerforge.layers.deb_files import write_debs  # slow to import, and a plan needs the Recipe only

    is_source = re.compile(rf"usr/lib/python(?:{re.escape(recipe.minor)}|3/dist-packages)/.*\.py").fullmatch
    sources = write_debs(recipe.debs, tar, bench, keep=lambda path: is_source(path) is not None)
    on_read()
    write_environment(recipe.minor, recipe.version, tar)
    write_bytecode(recipe.minor, sources, tar, bench)


def write_environment(
    minor: str, version: str, tar: TarWriter, home: str = "/usr/bin", *, inherit: bool = False
) -> None:
    """``/usr/local`` as a virtual environment of the program ``pythonX.Y`` in the folder ``home``.

    With ``inherit`` the packages of that installation can be imported too, behind the environment's own.
    """
    visible = "true" if inherit else "false"
    configuration = f"home = {home}\ninclude-system-site-packages = {visible}\nversion = {version}\n"
    tar.file("usr/local/pyvenv.cfg", configuration.encode())
    for name in ("python", "python3", f"python{minor}"):
        tar.symlink(f"usr/local/bin/{name}", f"{home}/python{minor}")
    tar.directory(f"usr/local/lib/python{minor}/site-packages")


def write_bytecode(minor: str, sources: list[tuple[str, bytes]], tar: TarWriter, bench: Workbench) -> None:
    """The ``.pyc`` of each (path, source) that compiles, in ``__pycache__`` beside it."""
    ordered = sorted(sources)
    for path, compiled in zip((path for path, _ in ordered), bench.compile_bytecode(minor, ordered), strict=True):
        if compiled is not None:
            tar.file(bytecode_path(path, minor), compiled)
