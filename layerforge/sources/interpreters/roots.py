"""Unpacked folders in the store: whole, or not there."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from layerforge.store import Store, translate_os_errors


def make_root(store: Store, name: str, fill: Callable[[Path], None]) -> Path:
    """The folder ``name`` of the store's roots; ``fill`` makes its content the first time, in a folder that is given.

    Raises:
        StoreError: the disk is full.
    """
    root = store.root / "roots" / name
    if not root.is_dir():
        fresh = new_root(store)
        with translate_os_errors(root):
            fill(fresh)
        place_root(store, name, fresh)
    return root


def new_root(store: Store) -> Path:
    """An empty folder for :func:`place_root`."""
    return Path(tempfile.mkdtemp(dir=store.scratch))


def place_root(store: Store, name: str, fresh: Path) -> None:
    """Make ``fresh`` the folder ``name`` of the store's roots; drop it where there is one."""
    root = store.root / "roots" / name
    with translate_os_errors(root):
        try:
            fresh.rename(root)
        except OSError:  # another process was faster
            if not root.is_dir():
                raise
            shutil.rmtree(fresh, ignore_errors=True)
