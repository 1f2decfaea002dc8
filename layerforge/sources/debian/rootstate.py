"""What the state of a whole root is computed from, and what it is made of: facts in, entries out."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from layerforge.sources.debian.deb import ControlFile
from layerforge.sources.debian.slim import is_dropped


class Origin(msgspec.Struct, frozen=True):
    """The file at ``path`` (as shipped, relative to the root) of the package that dpkg records as ``record``.

    Without ``record`` it is the one at ``path`` of the base image.
    """

    record: str
    path: str


class RootEntry(msgspec.Struct, frozen=True):
    """One path of the root: a ``file`` with ``content``, a ``symlink`` to ``target``, a ``dir``, or ``absent``.

    A file with an ``origin`` has the content of that file of a package. ``absent`` takes away what layers below have.
    ``capability`` is the value of its ``security.capability``, empty for none.
    """

    kind: str
    content: bytes = b""
    target: str = ""
    mode: int = 0o644
    gid: int = 0
    uid: int = 0
    origin: Origin | None = None
    capability: bytes = b""


def file_entry(content: bytes | str, mode: int = 0o644, gid: int = 0) -> RootEntry:
    """A file."""
    data = content.encode() if isinstance(content, str) else content
    return RootEntry("file", content=data, mode=mode, gid=gid)


def link_entry(target: str) -> RootEntry:
    """A symbolic link."""
    return RootEntry("symlink", target=target, mode=0o777)


def folder_entry(mode: int = 0o755, gid: int = 0) -> RootEntry:
    """A folder."""
    return RootEntry("dir", mode=mode, gid=gid)


class Library(msgspec.Struct, frozen=True):
    """A shared library in a folder (relative to the root, ``usr/lib/x86_64-linux-gnu``) under its file name.

    ``soname`` is its DT_SONAME, empty if it has none.
    """

    folder: str
    filename: str
    soname: str


class Listed(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One entry of a package as it lies in our usr-merged root, whether it is left out there or not.

    ``kind``, ``size`` (bytes) and ``target`` as in :class:`DebEntry`; a hard link's target is placed like ``path``.
    ``shipped`` is the path in the package where that is another one (``lib/x`` for ``usr/lib/x``), else empty.
    """

    path: str
    kind: str
    mode: int
    uid: int = 0
    gid: int = 0
    size: int = 0
    target: str = ""
    shipped: str = ""

    @property
    def is_dropped(self) -> bool:
        """Whether it is left out of the root (documentation, or a hard link to it); dpkg's list names it anyway."""
        return is_dropped(self.path, self.kind) or (self.kind == "hardlink" and is_dropped(self.target))


class DebFacts(msgspec.Struct, frozen=True):
    """What one package contributes to the state of the root.

    ``record`` is dpkg's name for it, ``fields`` its control file, ``conffiles`` pairs of path and MD5, ``files`` the
    contents that some part of the state is made from (``wanted.py``), ``paths`` all its entries in their order.
    """

    record: str
    fields: dict[str, str]
    control: dict[str, ControlFile]
    conffiles: tuple[tuple[str, str], ...] = ()
    libraries: tuple[Library, ...] = ()
    files: dict[str, bytes] = {}
    paths: tuple[Listed, ...] = ()

    @property
    def name(self) -> str:
        """The package's name."""
        return self.fields["Package"]


class RootBase(msgspec.Struct, frozen=True):
    """A root that exists already, below the layers that are made: that of a base image.

    ``paths`` has everything in it by its path relative to the root, ``contents`` what is known of its files: at least
    ``/etc/passwd``, ``group``, ``shadow`` and ``gshadow``, the CA bundle and its configuration, ``/etc/ld.so.conf*``,
    and everything below ``/var/lib/dpkg`` except the lists and sums of packages.
    """

    paths: Mapping[str, Listed]
    contents: Mapping[str, bytes]


Entries = dict[str, RootEntry]
"""Entries by path, relative to the root."""
