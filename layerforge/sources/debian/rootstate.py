"""What the state of a whole root is computed from, and what it is made of: facts in, entries out."""

from __future__ import annotations

import msgspec

from layerforge.sources.debian.deb import ControlFile


class RootEntry(msgspec.Struct, frozen=True):
    """One path of the root: a file with ``content``, a link to ``target``, or a folder."""

    kind: str
    content: bytes = b""
    target: str = ""
    mode: int = 0o644
    gid: int = 0


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
    """A shared library in a folder (relative to the root, ``usr/lib/x86_64-linux-gnu``) under its file name."""

    folder: str
    filename: str
    soname: str


class DebFacts(msgspec.Struct, frozen=True):
    """What one package contributes to the state of the root.

    ``record`` is dpkg's name for it, ``stanza`` its control file, ``conffiles`` pairs of path and MD5, ``files`` the
    contents that some part of the state is made from.
    """

    record: str
    fields: dict[str, str]
    control: dict[str, ControlFile]
    conffiles: tuple[tuple[str, str], ...] = ()
    libraries: tuple[Library, ...] = ()
    files: dict[str, bytes] = {}

    @property
    def name(self) -> str:
        """The package's name."""
        return self.fields["Package"]


Entries = dict[str, RootEntry]
"""Entries by path, relative to the root."""
