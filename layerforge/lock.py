"""The lock: everything that decides the image, as frozen values, and its form on disk (PEP 751)."""

from __future__ import annotations

import msgspec

from layerforge.oci import Digest


class LockedDeb(msgspec.Struct, frozen=True):
    """One Debian binary package.

    ``archive`` is ``debian`` or ``debian-security``; ``path`` is relative to that archive's root (``pool/main/…``), so
    that any mirror will do. ``size`` is in bytes.
    """

    name: str
    version: str
    architecture: str
    archive: str
    path: str
    size: int
    digest: Digest


class LockedWheel(msgspec.Struct, frozen=True):
    """One wheel: ``name`` is normalised (PEP 503), ``size`` is in bytes.

    ``bin`` names the layer that carries it: the package's own name for a layer of its own.
    """

    name: str
    version: str
    filename: str
    url: str
    size: int
    digest: Digest
    bin: str


class LockedPython(msgspec.Struct, frozen=True):
    """The interpreter: ``minor`` as ``3.13``, ``version`` as ``3.13.5``, ``provider`` as ``debian``."""

    minor: str
    version: str
    provider: str


class PlatformLock(msgspec.Struct, frozen=True):
    """What one platform's image is made of. ``base`` and ``interpreter`` are disjoint sets of .debs, sorted by name."""

    platform: str
    release: str
    python: LockedPython
    base: tuple[LockedDeb, ...]
    interpreter: tuple[LockedDeb, ...]
    packages: tuple[LockedWheel, ...]
    runtime: tuple[LockedWheel, ...]


class Lock(msgspec.Struct, frozen=True):
    """A whole lock. ``inputs`` is the digest of what was asked for: when it differs, the lock is stale."""

    inputs: Digest
    platforms: tuple[PlatformLock, ...]
