"""Puts the files of Debian packages into a layer, each where dpkg would put it, with dpkg's record of them.

The next packages are decompressed while one is written. Their control files are read before, since a package may own
paths of others: packages are written in the order in which they claim paths.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing

from layerforge.errors import LayerError
from layerforge.layers.step import Workbench
from layerforge.layers.tar import TarWriter
from layerforge.oci import Digest
from layerforge.sources.debian.ahead import DebSource, OpenedDeb, open_ahead
from layerforge.sources.debian.deb import ControlFile, DebEntry, DebFile, read_entries
from layerforge.sources.debian.facts import FactCollector
from layerforge.sources.debian.ownership import Claimant, Claims, Settlement, Verdict, order_claims, parse_claimant
from layerforge.sources.debian.placement import merge, merge_path
from layerforge.sources.debian.slim import is_dropped
from layerforge.sources.interpreters.packages import Unpacking

INFO = "var/lib/dpkg/info"


def write_debs(
    debs: Sequence[Digest], tar: TarWriter, bench: Workbench, keep: Callable[[str], bool] | None = None
) -> list[tuple[str, bytes]]:
    """Write the files of ``debs`` and dpkg's records of them; return (path, content) of the files that ``keep`` names.

    The facts that the layer ``root`` needs are collected on the way and given to ``bench``. Of a path that two packages
    contest the first one's file is written: ``root`` has what is there in the end.

    Raises:
        LayerError: a package is damaged, unsafe, or has a file that another one has too.
        SourceError: a package cannot be had.
    """
    kept: list[tuple[str, bytes]] = []
    with ExitStack() as stack:
        begin_unpacking = stack.enter_context(bench.expect_packages(debs))
        read = list(bench.compressors.map(functools.partial(_read_claimant, bench), debs))
        order = order_claims([claimant for claimant, _ in read])
        sources = [
            DebSource(debs[i], read[i][0].record, functools.partial(bench.material, debs[i]), read[i][1]) for i in order
        ]
        packages = stack.enter_context(closing(open_ahead(sources)))
        claims = Claims()
        for index, opened in zip(order, packages, strict=True):
            claimant = read[index][0]
            unpacking = begin_unpacking(opened.digest)
            kept += _write_package(opened, claimant, claims, tar, bench, keep, unpacking)
            if unpacking is not None:
                unpacking.finish()
    return kept


def _write_package(
    opened: OpenedDeb,
    claimant: Claimant,
    claims: Claims,
    tar: TarWriter,
    bench: Workbench,
    keep: Callable[[str], bool] | None,
    unpacking: Unpacking | None,
) -> list[tuple[str, bytes]]:
    control = opened.control
    facts = FactCollector(control)
    kept: list[tuple[str, bytes]] = []
    listing = ["/."]
    for entry, chunks in read_entries(opened.data, where=f"package {claimant.record}"):
        path = merge_path(entry)
        content = facts.add(entry, path, chunks)
        if unpacking is not None:
            content = unpacking.add(entry, path, content)
        is_left_out = is_dropped(path, entry.kind)
        verdict = Verdict.OWNED if is_left_out else claims.claim(path, entry.kind, claimant)
        if verdict is not Verdict.LOST:
            listing.append(f"/{entry.path}")
        if is_left_out or verdict is not Verdict.OWNED:
            for _ in content:
                pass
        elif keep is not None and entry.kind == "file" and keep(path):
            data = b"".join(content)
            kept.append((path, data))
            _write_entry(tar, path, entry, (data,), claimant, claims)
        else:
            _write_entry(tar, path, entry, content, claimant, claims)
    _write_records(tar, claimant.record, control, listing)
    bench.keep_facts(opened.digest, facts.finish())
    return kept


def write_disputed(settlement: Settlement, debs: Sequence[Digest], tar: TarWriter, bench: Workbench) -> None:
    """Write what layers that do not know each other cannot have right when a package replaces files of another.

    That is the owner's file, since the other one's may lie in a layer above it, and dpkg's list of who lost it.
    ``debs`` are the packages of ``settlement.facts``, in their order.

    Raises:
        LayerError: such a path is a hard link.
    """
    disputed: dict[str, set[str]] = {}
    for facts in settlement.facts:
        for path, owner in settlement.lost.get(facts.record, {}).items():
            disputed.setdefault(owner, set()).add(path)
        if facts.record in settlement.lost:
            listing = ["/.", *(f"/{item.shipped or item.path}" for item in facts.paths)]
            tar.file(f"{INFO}/{facts.record}.list", ("\n".join(listing) + "\n").encode())
    for digest, facts in zip(debs, settlement.facts, strict=True):
        paths = disputed.get(facts.record)
        if not paths:
            continue
        claimant = parse_claimant(facts.control)
        with DebFile(bench.material(digest), where=facts.record, digest=digest) as deb:
            for entry, content in read_entries(deb.data_chunks(), where=f"package {facts.record}"):
                path = merge_path(entry)
                if path in paths:
                    _write_entry(tar, path, entry, content, claimant, Claims())


def _read_claimant(bench: Workbench, digest: Digest) -> tuple[Claimant, dict[str, ControlFile]]:
    with DebFile(bench.material(digest), where=f"package {digest.short}") as deb:
        return parse_claimant(deb.control), deb.control


def _write_entry(
    tar: TarWriter, path: str, entry: DebEntry, content: Iterable[bytes], claimant: Claimant, claims: Claims
) -> None:
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
            if not claims.is_owner(claimant, target) and not is_dropped(target):
                raise LayerError(f"{path} is a hard link to {target}, which is no file of this package before it")
            if not is_dropped(target):
                tar.hardlink(path, target, mode=mode, uid=uid, gid=gid)
    except LayerError as error:
        raise LayerError(error.message, where=f"package {claimant.record}", hint=error.hint) from error


def _write_records(tar: TarWriter, name: str, control: dict[str, ControlFile], listing: list[str]) -> None:
    text = "\n".join(listing) + "\n"
    tar.file(f"{INFO}/{name}.list", text.encode("utf-8", "surrogateescape"))
    for member in sorted(control):
        if member != "control":
            mode = 0o755 if control[member].mode & 0o111 else 0o644
            tar.file(f"{INFO}/{name}.{member}", control[member].content, mode=mode)
