"""The layer of whole-root state: what maintainer scripts would have done and a container needs.

It is computed from all Debian packages of the image at once and holds no package's own files, so it is small, and made
again whenever a package is added. Left out on purpose, besides what only a running system needs (systemd units
enabled, debconf's cache, logs of apt): ``/etc/hostname``, ``hosts`` and ``resolv.conf``, which every engine provides,
and apt's sources: the mirror that this machine uses may be private, and an image must not depend on where it was built.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from layerforge.layers.step import Recipe, Workbench
from layerforge.layers.tar import TarWriter
from layerforge.oci import Digest

if TYPE_CHECKING:
    from layerforge.sources.debian.rootstate import RootEntry


class RootRecipe(Recipe, frozen=True, tag="root"):
    """The state of a root of the packages ``debs``: all Debian packages of the image.

    ``release`` is a codename (``trixie``), ``architecture`` Debian's name (``amd64``). ``image`` is the manifest of the
    image below, whose root is added to; None where the packages are all there is. ``certificates`` are those of the
    site, each as PEM.
    """

    debs: tuple[Digest, ...]
    release: str
    architecture: str
    image: Digest | None = None
    certificates: tuple[str, ...] = ()


def write(recipe: RootRecipe, tar: TarWriter, bench: Workbench) -> None:
    """Write the layer of ``recipe``.

    Raises:
        LayerError: a package is damaged or unsafe, or packages ship the same file.
        SourceError: a package cannot be had.
    """
    from layerforge.layers.deb_files import write_disputed
    from layerforge.layers.root_state import root_state  # slow to import, and a plan needs the Recipe only
    from layerforge.sources.debian.ownership import settle_ownership

    settlement = settle_ownership(tuple(bench.compressors.map(bench.facts, recipe.debs)))
    facts = settlement.facts
    write_disputed(settlement, recipe.debs, tar, bench)
    for path, entry in sorted(root_state(facts, recipe.release, recipe.architecture).items()):
        _write_entry(tar, path, entry)


def _write_entry(tar: TarWriter, path: str, entry: RootEntry) -> None:
    if entry.kind == "dir":
        tar.directory(path, mode=entry.mode, gid=entry.gid)
    elif entry.kind == "symlink":
        tar.symlink(path, entry.target)
    else:
        tar.file(path, entry.content, mode=entry.mode, gid=entry.gid)
