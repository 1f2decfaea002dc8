"""Where a package's files lie in our roots, and under which name dpkg records the package."""

from __future__ import annotations

import re
from collections.abc import Mapping

from layerforge.errors import LayerError
from layerforge.sources.debian.control import parse_fields
from layerforge.sources.debian.deb import ControlFile, DebEntry

_MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libo32", "libx32")
"""Top-level folders that are links into ``usr`` (https://wiki.debian.org/UsrMerge)."""

_MOVED = {"var/run": "run", "var/lock": "run/lock"}
"""Folders that base-files ships, and its postinst replaces by links."""


def merge_path(entry: DebEntry) -> str:
    """Where ``entry`` lies in a root whose ``/bin``, ``/lib`` … are links into ``/usr``."""
    return merge(entry.path, entry.kind)


def merge(path: str, kind: str = "file") -> str:
    """Where ``path``, relative to the root and of this kind, lies in a usr-merged root."""
    if path.startswith("usr/"):
        return path
    top, slash, _ = path.partition("/")
    if top in _MERGED and (slash or kind == "dir"):
        return f"usr/{path}"
    for link, folder in _MOVED.items():
        if path == link or path.startswith(f"{link}/"):
            return folder + path[len(link) :]
    return path


def record_name(control: Mapping[str, ControlFile]) -> str:
    """The name under which dpkg records a package: with its architecture where several can be installed together.

    Raises:
        LayerError: the control file names no package.
    """
    fields = parse_fields(control["control"].content.decode("utf-8", "replace"))
    name, architecture = fields.get("Package", ""), fields.get("Architecture", "")
    if not _is_name(name):
        raise LayerError(f"a package with the name {name!r}")
    if fields.get("Multi-Arch") == "same" and not _is_name(architecture):
        raise LayerError(f"package {name} is for the architecture {architecture!r}")
    return name_record(fields)


def name_record(fields: Mapping[str, str]) -> str:
    """:func:`record_name` of the package with these control fields."""
    name = fields["Package"]
    return f"{name}:{fields.get('Architecture', '')}" if fields.get("Multi-Arch") == "same" else name


_is_name = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._-]*").fullmatch
"""What dpkg accepts as a package's name (``pkg_name_is_illegal`` in ``lib/dpkg/parsehelp.c``)."""
