"""asyncio, where a model needs it: it is a large part of the standard library and is not loaded for others."""

from __future__ import annotations

import os
import sys
from typing import Any


def import_asyncio() -> Any:
    """The module. By now the model's folder is on the path, where it must not be looked for."""
    kept, sys.path[:] = sys.path[:], [entry for entry in sys.path if entry not in ("", os.getcwd())]
    try:
        import asyncio

        from . import concurrent  # noqa: F401 - it uses more of asyncio
    finally:
        sys.path[:] = kept
    return asyncio


def make_loop() -> Any:
    """A new event loop, current in this thread."""
    asyncio = import_asyncio()
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    return loop
