"""Python packages in a base that other versions of them take the place of, as pip would uninstall them. Pure."""

from __future__ import annotations

import csv
import posixpath
import re
from collections.abc import Iterator

from layerforge.sources.debian.rootstate import RootBase


def list_replaced(base: RootBase, folder: str, names: frozenset[str]) -> list[str]:
    """What is to be taken away below ``folder`` (``…/site-packages``), sorted: the distributions called ``names``.

    A folder in which nothing else lies goes as a whole, and with it the bytecode in it. What RECORD lists and the base
    does not have is passed over. Source: the specification "Recording installed projects".
    """
    gone: set[str] = set()
    for path, content in base.contents.items():
        match = re.fullmatch(rf"{re.escape(folder)}/([^/]+?)-[^/-]+\.dist-info/RECORD", path)
        if match is not None and re.sub(r"[-_.]+", "-", match[1]).lower() in names:
            gone |= {entry for entry in _read_record(content, folder) if entry in base.paths}
            gone.add(posixpath.dirname(path))
    tops = {f"{folder}/{entry[len(folder) + 1 :].split('/')[0]}" for entry in gone if entry.startswith(f"{folder}/")}
    left = {
        f"{folder}/{path[len(folder) + 1 :].split('/')[0]}"
        for path, entry in base.paths.items()
        if path.startswith(f"{folder}/") and entry.kind != "dir" and path not in gone and not path.endswith(".pyc")
    }
    infos = {path for path in gone if path.endswith(".dist-info")}
    whole = (tops - left) | infos
    single = {path for path in gone if not any(path == top or path.startswith(f"{top}/") for top in whole)}
    return sorted(whole | single)


def _read_record(content: bytes, folder: str) -> Iterator[str]:
    """The files of a RECORD, relative to the root; those outside of it are passed over."""
    for row in csv.reader(content.decode("utf-8", "replace").splitlines()):
        if row and row[0] and not row[0].startswith("/"):
            path = posixpath.normpath(f"/{folder}/{row[0]}").lstrip("/")
            if path.startswith("usr/local/"):
                yield path
