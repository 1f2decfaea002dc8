"""The Python of a base image on this machine, taken out of its layers by ``sources/base/programs.py``."""

from __future__ import annotations

from pathlib import Path

from layerforge.errors import SourceError
from layerforge.sources.interpreters.debian import LOADERS
from layerforge.sources.interpreters.worker import Program


def use_base(folder: Path, minor: str, architecture: str) -> Program:
    """The Python ``minor`` in ``folder``, started through the base's own dynamic loader.

    Raises:
        SourceError: there is none.
    """
    loader, program = folder / "libraries" / LOADERS[architecture], folder / f"prefix/bin/python{minor}"
    if not loader.exists() or not program.exists():
        raise SourceError(f"the base holds no Python {minor} that runs here", where=str(folder))
    return Program((str(loader), "--library-path", str(folder / "libraries"), str(program)), folder / "prefix")
