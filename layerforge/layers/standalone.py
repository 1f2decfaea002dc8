"""The layer of a standalone Python: its archive below ``/opt/python``, compiled, and ``/usr/local`` as its environment.

What is left out, and what is put right on the way, is said in ``sources/pythons/entries.py`` and ``relocation.py``.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing

from layerforge.errors import LayerError
from layerforge.layers.python import write_bytecode, write_environment
from layerforge.layers.step import Recipe, Workbench
from layerforge.layers.tar import TarWriter
from layerforge.oci import Digest

HOME = "/opt/python/bin"
"""The folder of the program in the image."""

_ROOT = "opt/python"


class StandaloneRecipe(Recipe, frozen=True, tag="standalone"):
    """The interpreter ``version`` (``3.12.4``) of ``minor`` (``3.12``) in ``archive``."""

    archive: Digest
    minor: str
    version: str

    def materials(self) -> tuple[Digest, ...]:
        return (self.archive,)


def write(recipe: StandaloneRecipe, tar: TarWriter, bench: Workbench) -> None:
    """Write the layer of ``recipe``.

    Raises:
        LayerError: the archive is damaged or unsafe, or holds another Python.
        SourceError: it cannot be had.
    """
    from layerforge.sources.pythons.entries import ArchiveEntry, read_archive  # a plan needs the Recipe only
    from layerforge.sources.pythons.relocation import is_mended, mend_file

    library = f"lib/python{recipe.minor}/"
    sources: list[tuple[str, bytes]] = []

    def write_file(entry: ArchiveEntry, content: Iterable[bytes]) -> None:
        path, mode = f"{_ROOT}/{entry.path}", 0o755 if entry.executable else 0o644
        is_source = entry.path.startswith(library) and entry.path.endswith(".py")
        if not is_source and not is_mended(entry.path):
            tar.file(path, content, size=entry.size, mode=mode)
            return
        data = b"".join(content)
        if is_mended(entry.path):
            data = mend_file(entry.path, data)
        tar.file(path, data, mode=mode)
        if is_source:
            sources.append((path, data))

    found = False
    with closing(read_archive(bench.material(recipe.archive), "the standalone build's archive")) as entries:
        for entry, content in entries:
            path = f"{_ROOT}/{entry.path}"
            if entry.kind == "dir":
                tar.directory(path)
            elif entry.kind == "symlink":
                tar.symlink(path, entry.target)
            elif entry.kind == "hardlink":
                tar.hardlink(path, f"{_ROOT}/{entry.target}", mode=0o755 if entry.executable else 0o644)
            else:
                write_file(entry, content)
            found = found or entry.path == f"bin/python{recipe.minor}"
    if not found:
        raise LayerError(f"the standalone build's archive holds no bin/python{recipe.minor}")
    tar.directory(f"{_ROOT}/{library}site-packages")
    write_environment(recipe.minor, recipe.version, tar, HOME)
    write_bytecode(recipe.minor, sources, tar, bench)
