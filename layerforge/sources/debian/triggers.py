"""What dpkg's triggers would have made of the files of all packages, by the program that they run.

Left out because nothing in a container reads it, or finds the same without it: fontconfig's caches (it reads the fonts
and keeps a cache of its own), icon themes' (GTK reads the folders), the desktop's database of programs, the indexes of
manual pages and of Info, which are left out themselves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from layerforge.sources.debian.keystore import keystore_state
from layerforge.sources.debian.mime_state import mime_state
from layerforge.sources.debian.mime_types import FOLDER as MIME_FOLDER
from layerforge.sources.debian.plugins import gio_state, input_method_state, pixbuf_state
from layerforge.sources.debian.rootstate import DebFacts, Entries

_CERTIFICATES = "usr/share/ca-certificates/"


def trigger_state(facts: Sequence[DebFacts]) -> Entries:
    """All that :data:`TRIGGERS` make for a root of these packages.

    Raises:
        LayerError: a file that they read is damaged.
    """
    return {path: entry for make in TRIGGERS.values() for path, entry in make(facts).items()}


def unknown_plugins(facts: Sequence[DebFacts]) -> tuple[str, ...]:
    """Plug-in modules that programs will not find, because what they can do is not known here."""
    paths = _paths(facts)
    return (*pixbuf_state(paths, "")[1], *input_method_state(paths, "", "")[1])


def _pixbuf(facts: Sequence[DebFacts]) -> Entries:
    return pixbuf_state(_paths(facts), _version(facts, "libgdk-pixbuf-2.0-0")[1])[0]


def _gio(facts: Sequence[DebFacts]) -> Entries:
    return gio_state(_paths(facts))[0]


def _input_methods(facts: Sequence[DebFacts]) -> Entries:
    name, version = _version(facts, "libgtk-3-0t64", "libgtk-3-0")
    return input_method_state(_paths(facts), version, name)[0]


def _mime(facts: Sequence[DebFacts]) -> Entries:
    _, version = _version(facts, "shared-mime-info")
    files = {path: data for package in facts for path, data in package.files.items() if path.startswith(MIME_FOLDER)}
    return mime_state(files, version) if version else {}


def _keystore(facts: Sequence[DebFacts]) -> Entries:
    if not _version(facts, "ca-certificates-java")[1]:
        return {}
    files = sorted(item for package in facts for item in package.files.items() if item[0].startswith(_CERTIFICATES))
    return keystore_state((f"{path.rpartition('/')[2].removesuffix('.crt')}.pem", data) for path, data in files)


TRIGGERS: dict[str, Callable[[Sequence[DebFacts]], Entries]] = {
    "gdk-pixbuf-query-loaders": _pixbuf,
    "gio-querymodules": _gio,
    "gtk-query-immodules-3.0": _input_methods,
    "update-mime-database": _mime,
    "jks-keystore": _keystore,
}
"""Makers by the name of the program that scripts and triggers call."""


def _paths(facts: Sequence[DebFacts]) -> list[str]:
    return [item.path for package in facts for item in package.paths if item.kind != "dir"]


def _version(facts: Sequence[DebFacts], *names: str) -> tuple[str, str]:
    """The first of ``names`` that is among the packages, and its upstream version as a row of numbers; else nothing."""
    for name in names:
        for package in facts:
            if package.name == name:
                match = re.search(r"(?:^|:)([\d.]+)", package.fields["Version"])
                return name, match[1].rstrip(".") if match else ""
    return "", ""
