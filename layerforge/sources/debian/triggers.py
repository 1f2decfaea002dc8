"""What dpkg's triggers would have made of the files of all packages, by the program that they run.

Left out because nothing in a container reads it, or finds the same without it: fontconfig's caches (it reads the fonts
and keeps a cache of its own), icon themes' (GTK reads the folders), the desktop's database of programs, the indexes of
manual pages and of Info, which are left out themselves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import msgspec

from layerforge.sources.debian.keystore import keystore_state
from layerforge.sources.debian.mime_state import mime_state
from layerforge.sources.debian.mime_types import FOLDER as MIME_FOLDER
from layerforge.sources.debian.plugins import gio_state, input_method_state, pixbuf_state
from layerforge.sources.debian.rootstate import Entries
from layerforge.sources.debian.schemas import FOLDER as SCHEMA_FOLDER
from layerforge.sources.debian.schemas import schema_state

FOLDERS = ("usr/lib/", MIME_FOLDER, SCHEMA_FOLDER)
"""Where the files lie that this looks at."""

_PIXBUF = ("libgdk-pixbuf-2.0-0",)
_GTK = ("libgtk-3-0t64", "libgtk-3-0")


class Installed(msgspec.Struct, frozen=True):
    """What is in a root: ``files`` below :data:`FOLDERS` with their contents (None: not known), and each package's
    version."""

    files: Mapping[str, bytes | None]
    versions: Mapping[str, str]

    def of(self, folder: str) -> dict[str, bytes] | None:
        """The contents below ``folder``; None if not all of them are known."""
        found = {path: data for path, data in self.files.items() if path.startswith(folder)}
        known = {path: data for path, data in found.items() if data is not None}
        return known if len(known) == len(found) else None


def unknown_plugins(root: Installed) -> tuple[str, ...]:
    """Plug-in modules that programs will not find, because what they can do is not known here."""
    return (*pixbuf_state(root.files, "")[1], *input_method_state(root.files, "", "")[1])


def trusted_by_java(root: Installed, certificates: Mapping[str, bytes]) -> Entries:
    """Java's key store, where one is wanted: ca-certificates-java's hook of ``update-ca-certificates``.

    ``certificates`` are the trusted ones by path.
    """
    if not _version(root, "ca-certificates-java")[0]:
        return {}
    named = ((f"{path.rpartition('/')[2].removesuffix('.crt')}.pem", data) for path, data in certificates.items())
    return keystore_state(sorted(named))


def _pixbuf(root: Installed) -> Entries:
    return pixbuf_state(root.files, _version(root, *_PIXBUF)[1])[0]


def _gio(root: Installed) -> Entries:
    return gio_state(root.files)[0]


def _input_methods(root: Installed) -> Entries:
    name, version = _version(root, *_GTK)
    return input_method_state(root.files, version, name)[0]


def _mime(root: Installed) -> Entries:
    """Where a base image has types whose definition is not known, its own files stay as they are."""
    files = root.of(MIME_FOLDER)
    return mime_state(files, _version(root, "shared-mime-info")[1]) if files else {}


def _schemas(root: Installed) -> Entries:
    """As for MIME types."""
    files = root.of(SCHEMA_FOLDER)
    known = {path: data for path, data in (files or {}).items() if not path.endswith(".compiled")}
    return schema_state(known)


TRIGGERS: dict[str, Callable[[Installed], Entries]] = {
    "gdk-pixbuf-query-loaders": _pixbuf,
    "gio-querymodules": _gio,
    "glib-compile-schemas": _schemas,
    "gtk-query-immodules-3.0": _input_methods,
    "update-mime-database": _mime,
}
"""Makers by the name of the program that scripts and triggers call."""


def _version(root: Installed, *names: str) -> tuple[str, str]:
    """The first of ``names`` that is installed, and its upstream version as a row of numbers; else nothing."""
    for name in names:
        if name in root.versions:
            match = re.match(r"[\d.]*\d", root.versions[name].rpartition(":")[2])
            return name, match[0] if match else ""
    return "", ""
