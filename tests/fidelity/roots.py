"""A root as a table of its paths, read from tar archives; and how two of them differ."""

from __future__ import annotations

import hashlib
import stat
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec
from isal import igzip

_KEPT = 512 << 10
"""Files up to this many bytes keep their content, so that a difference can be shown."""

_CHUNK = 1 << 20


class Node(msgspec.Struct, frozen=True):
    """One path of a root. ``digest`` is the sha256 of a file; ``content`` is there for small files only."""

    kind: str
    mode: int
    uid: int = 0
    gid: int = 0
    target: str = ""
    size: int = 0
    digest: str = ""
    content: bytes = b""


Root = dict[str, Node]
"""Nodes by path, relative to the root."""


class Difference(msgspec.Struct, frozen=True, order=True):
    """``aspect`` is ``missing`` (from ours), ``extra`` (in ours), ``kind mode owner target`` or ``content``."""

    path: str
    aspect: str
    ours: str
    theirs: str

    def __str__(self) -> str:
        return f"{self.path}: {self.aspect}: ours {self.ours}, theirs {self.theirs}"


def read_root(archives: Iterable[Path]) -> Root:
    """The root that results when ``archives`` (layers, lowest first) are unpacked one over the other."""
    root: Root = {}
    for archive in archives:
        opened = igzip.open(archive, "rb") if archive.suffix == ".gz" else archive.open("rb")
        with opened, tarfile.open(fileobj=opened, mode="r|") as tar:
            for member in tar:
                path = member.name.removeprefix("./").rstrip("/")
                if path not in ("", "."):
                    root[path] = _read_node(tar, member, root)
                tar.members = []  # type: ignore[attr-defined]  # tarfile would remember them all
    return root


def _read_node(tar: tarfile.TarFile, member: tarfile.TarInfo, root: Mapping[str, Node]) -> Node:
    mode, uid, gid = stat.S_IMODE(member.mode), member.uid, member.gid
    if member.isdir():
        return Node("dir", mode, uid, gid)
    if member.issym():
        return Node("symlink", 0o777, uid, gid, target=member.linkname)
    if member.islnk():
        return root[member.linkname.removeprefix("./")]
    if not member.isreg():
        return Node("special", mode, uid, gid)
    digest = hashlib.sha256()
    kept = bytearray()
    file = tar.extractfile(member)
    assert file is not None
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
        if member.size <= _KEPT:
            kept += chunk
    return Node("file", mode, uid, gid, size=member.size, digest=digest.hexdigest(), content=bytes(kept))


def compare_roots(ours: Mapping[str, Node], theirs: Mapping[str, Node]) -> Iterator[Difference]:
    """Every difference, by path."""
    for path in sorted(ours.keys() | theirs.keys()):
        own, other = ours.get(path), theirs.get(path)
        if own is None:
            yield Difference(path, "missing", "nothing", describe(other))
        elif other is None:
            yield Difference(path, "extra", describe(own), "nothing")
        elif own.kind != other.kind:
            yield Difference(path, "kind", describe(own), describe(other))
        else:
            for aspect, left, right in (
                ("mode", f"{own.mode:o}", f"{other.mode:o}"),
                ("owner", f"{own.uid}:{own.gid}", f"{other.uid}:{other.gid}"),
                ("target", own.target, other.target),
                ("content", describe(own), describe(other)),
            ):
                if left != right and (aspect != "content" or own.digest != other.digest):
                    yield Difference(path, aspect, left, right)


def describe(node: Node | None) -> str:
    """A node in few words."""
    if node is None:
        return "nothing"
    if node.kind == "symlink":
        return f"link to {node.target}"
    return f"file of {node.size} bytes {node.digest[:12]}" if node.kind == "file" else node.kind
