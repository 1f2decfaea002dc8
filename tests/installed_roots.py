"""Roots that dpkg made in a folder, as what a base image has."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from layerforge.sources.debian.rootstate import Listed, RootBase


def read_base(folder: Path, known: Callable[[str], bool] = lambda _: True) -> RootBase:
    """The root in ``folder`` as a base image; ``known`` says of which files the content is known."""
    paths, contents = {}, {}
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place, name)
            relative, mode = str(path.relative_to(folder)), path.lstat().st_mode & 0o7777
            if path.is_symlink():
                paths[relative] = Listed(relative, "symlink", 0o777, target=str(path.readlink()))
            elif path.is_dir():
                paths[relative] = Listed(relative, "dir", mode)
            else:
                paths[relative] = Listed(relative, "file", mode, size=path.stat().st_size)
                if known(relative):
                    contents[relative] = path.read_bytes()
    return RootBase(paths, contents)
