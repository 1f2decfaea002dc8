"""Puts the files of Debian packages into a layer, each where dpkg would put it, with dpkg's record of them.

Two packages at most are decompressed ahead while one is written, so that memory stays bounded and two cores are busy.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing

from layerforge.errors import LayerError
from layerforge.layers.step import Workbench
from layerforge.layers.tar import TarWriter
from layerforge.oci import Digest
from layerforge.sources.debian.ahead import DebSource, open_ahead
from layerforge.sources.debian.deb import ControlFile, DebEntry, read_entries
from layerforge.sources.debian.facts import FactCollector
from layerforge.sources.debian.placement import merge, merge_path, record_name
from layerforge.sources.debian.slim import is_dropped

INFO = "var/lib/dpkg/info"


def write_debs(
    debs: Sequence[Digest], tar: TarWriter, bench: Workbench, keep: Callable[[str], bool] | None = None
) -> list[tuple[str, bytes]]:
    """Write the files of ``debs`` and dpkg's records of them; return (path, content) of the files that ``keep`` names.

    The facts that the layer ``root`` needs are collected on the way and given to ``bench``.

    Raises:
        LayerError: a package is damaged, unsafe, or has a file that another one has too.
        SourceError: a package cannot be had.
    """
    kept: list[tuple[str, bytes]] = []
    sources = [DebSource(digest, digest.short, functools.partial(bench.material, digest)) for digest in debs]
    with closing(open_ahead(sources)) as packages:
        for opened in packages:
            control = opened.control
            name = record_name(control)
            facts = FactCollector(control)
            listing = ["/."]
            for entry, chunks in read_entries(opened.data, where=f"package {name}"):
                content = facts.add(entry, chunks)
                listing.append(f"/{entry.path}")
                path = merge_path(entry)
                if is_dropped(path, entry.kind):
                    for _ in content:
                        pass
                elif keep is not None and entry.kind == "file" and keep(path):
                    data = b"".join(content)
                    kept.append((path, data))
                    _write_entry(tar, path, entry, (data,), name)
                else:
                    _write_entry(tar, path, entry, content, name)
            _write_records(tar, name, control, listing)
            bench.keep_facts(opened.digest, facts.finish())
    return kept


def _write_entry(tar: TarWriter, path: str, entry: DebEntry, content: Iterable[bytes], package: str) -> None:
    mode, uid, gid = entry.mode, entry.uid, entry.gid
    try:
        if entry.kind == "dir":
            tar.directory(path, mode=mode, uid=uid, gid=gid)
        elif entry.kind == "file":
            tar.file(path, content, size=entry.size, mode=mode, uid=uid, gid=gid)
        elif entry.kind == "symlink":
            tar.symlink(path, entry.target, uid=uid, gid=gid)
        else:
            target = merge(entry.target, "file")
            if not is_dropped(target):
                tar.hardlink(path, target, mode=mode, uid=uid, gid=gid)
    except LayerError as error:
        raise LayerError(error.message, where=f"package {package}") from error


def _write_records(tar: TarWriter, name: str, control: dict[str, ControlFile], listing: list[str]) -> None:
    text = "\n".join(listing) + "\n"
    tar.file(f"{INFO}/{name}.list", text.encode("utf-8", "surrogateescape"))
    for member in sorted(control):
        if member != "control":
            mode = 0o755 if control[member].mode & 0o111 else 0o644
            tar.file(f"{INFO}/{name}.{member}", control[member].content, mode=mode)
