"""Where the runtime's own files are on this machine, and where they go in an image.

In a checkout they lie in ``runtime/``; in an installed Layerforge, beside its code (see ``pyproject.toml``).
"""

from __future__ import annotations

import functools
from pathlib import Path

from layerforge.errors import SourceError
from layerforge.layers.runtime import LIBRARY, SDK
from layerforge.layers.tree import TreeFile
from layerforge.store import digest_file

PREFIX = "@runtime/"
"""What the ``source`` of such a file starts with, so that no file of a project can stand in for it."""

_IMAGE_FOLDERS = {"cog": SDK, "layerforge_runtime": LIBRARY}


@functools.cache
def runtime_root() -> Path:
    """The folder with the packages ``cog`` and ``layerforge_runtime``.

    Raises:
        SourceError: this installation of Layerforge lacks them.
    """
    package = Path(__file__).parent
    for folder in (package / "_runtime", package.parent / "runtime"):
        if (folder / "cog").is_dir() and (folder / "requirements.txt").is_file():
            return folder
    raise SourceError("the runtime's files are missing", where=str(package), hint="install layerforge again")


def runtime_requirements() -> str:
    """The text of the runtime's requirements file."""
    return (runtime_root() / "requirements.txt").read_text("utf-8")


def list_runtime_files() -> tuple[TreeFile, ...]:
    """The runtime's files, sorted by their path in the image."""
    root = runtime_root()
    files = []
    for package, folder in _IMAGE_FOLDERS.items():
        for path in (root / package).rglob("*"):
            if path.is_file() and path.suffix != ".pyc":
                source = path.relative_to(root).as_posix()
                digest, size = digest_file(path)
                files.append(TreeFile(f"{folder}/{source}", PREFIX + source, size, 0o644, digest))
    return tuple(sorted(files, key=lambda file: file.path))
