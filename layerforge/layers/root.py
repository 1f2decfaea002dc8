"""The layer of whole-root state: what maintainer scripts would have done and a container needs.

It is computed from all Debian packages of the image at once and holds no package's own files, so it is small, and made
again whenever a package is added. Left out on purpose, besides what only a running system needs (systemd units
enabled, debconf's cache, logs of apt): ``/etc/hostname``, ``hosts`` and ``resolv.conf``, which every engine provides,
and apt's sources: the mirror that this machine uses may be private, and an image must not depend on where it was built.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import TYPE_CHECKING

from layerforge.layers.step import Recipe, Workbench
from layerforge.layers.tar import TarWriter
from layerforge.oci import Digest

if TYPE_CHECKING:
    from layerforge.sources.debian.rootstate import Entries, Origin, RootEntry


_SITE_ALONE = (
    "the base image has no CA certificates: programs in the image will trust those of COG_CA_CERT and no others"
)
_SITE_ALONE_HINT = "add ca-certificates to build.system_packages, or take a base that has them"


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
    from layerforge.sources.debian.rootstate import RootEntry
    from layerforge.sources.debian.upgrades import list_left_behind

    settlement = settle_ownership(tuple(bench.compressors.map(bench.facts, recipe.debs)))
    base = None if recipe.image is None else bench.base_root()
    state = root_state(settlement, recipe.release, recipe.architecture, base=base, certificates=recipe.certificates)
    facts = state.settlement.facts
    for warning in state.warnings:
        tar.warn(str(warning))
    if state.trusts_site_alone:
        tar.warn(_SITE_ALONE, hint=_SITE_ALONE_HINT)
    digests = {each.record: digest for each, digest in zip(facts, recipe.debs, strict=True)}
    entries = dict(state.entries)
    for path in list_left_behind(facts, base) if base is not None else ():
        entries.setdefault(path, RootEntry("absent"))
    shipped = _read_shipped(entries, digests, bench)
    for path, entry in sorted(entries.items()):
        content = entry.content if entry.origin is None else shipped[entry.origin]
        _write_entry(tar, path, entry, content)
    write_disputed(state.settlement, recipe.debs, tar, bench)


def _read_shipped(entries: Entries, digests: Mapping[str, Digest], bench: Workbench) -> dict[Origin, bytes]:
    """The contents of packages' and the base's files that scripts move or change: few, so they are read here."""
    from layerforge.sources.debian.deb import DebFile, read_entries
    from layerforge.sources.debian.placement import merge_path
    from layerforge.sources.debian.rootstate import Origin

    wanted: dict[str, set[str]] = {}
    for entry in entries.values():
        if entry.origin is not None:
            wanted.setdefault(entry.origin.record, set()).add(entry.origin.path)
    below = wanted.pop("", None)
    found = {Origin("", path): data for path, data in bench.base_files(below).items()} if below else {}
    for record, paths in wanted.items():
        with DebFile(bench.material(digests[record]), where=record) as deb, closing(deb.data_chunks()) as chunks:
            for item, content in read_entries(chunks, where=f"package {record}"):
                names = paths & {item.path, merge_path(item)}  # a hard link names the merged path
                data = b"".join(content) if names else None
                if data is None:
                    for _ in content:
                        pass
                else:
                    found |= {Origin(record, name): data for name in names}
    return found


def _write_entry(tar: TarWriter, path: str, entry: RootEntry, content: bytes) -> None:
    if entry.kind == "dir":
        tar.directory(path, mode=entry.mode, uid=entry.uid, gid=entry.gid)
    elif entry.kind == "symlink":
        tar.symlink(path, entry.target, uid=entry.uid, gid=entry.gid)
    elif entry.kind == "absent":
        folder, slash, name = path.rpartition("/")
        tar.file(f"{folder}{slash}.wh.{name}", b"")
    else:
        xattrs = {"security.capability": entry.capability} if entry.capability else {}
        tar.file(path, content, mode=entry.mode, uid=entry.uid, gid=entry.gid, xattrs=xattrs)
