"""From a Request to a Lock: asks the Debian archive and the package index what is to be had, once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from layerforge.config import Config
from layerforge.lock import Lock, LockedWheel, PlatformLock
from layerforge.oci import Digest, Platform, encode
from layerforge.plan import parse_platform
from layerforge.progress import Reporter
from layerforge.runtime_files import runtime_requirements
from layerforge.store import Store

REVISION = 1
"""Raised by hand when the same request should be resolved differently: every older lock is then stale."""


class Request(msgspec.Struct, frozen=True):
    """All that a lock depends on: when any of it changes, the lock is stale."""

    python: str
    platforms: tuple[str, ...]
    packages: tuple[str, ...]
    runtime: str
    revision: int = REVISION

    @property
    def digest(self) -> Digest:
        """What the lock made for this request carries as ``inputs``."""
        return Digest.of(encode(self))
