"""The lock: everything that decides the image, as frozen values, and its form on disk (PEP 751)."""

from __future__ import annotations

import msgspec

from layerforge.oci import Digest, encode


class LockedDeb(msgspec.Struct, frozen=True):
    """One Debian (or Ubuntu) binary package.

    ``archive`` names the archive (``debian``, ``debian-security``, ``ubuntu`` …); ``path`` is relative to the root of
    that archive (``pool/main/…``), so that any mirror will do. ``size`` is in bytes.
    """

    name: str
    version: str
    architecture: str
    archive: str
    path: str
    size: int
    digest: Digest


class LockedSource(msgspec.Struct, frozen=True):
    """What a wheel is built from, where nobody offers the wheel itself.

    ``kind`` is ``sdist`` (a source archive of an index), ``archive``, ``git`` or ``folder``. It is found at ``url``,
    which has no credentials, or at ``path`` in the project. ``size`` is in bytes, ``digest`` that of the archive.
    ``commit`` is what git's ``reference`` (a branch or tag, perhaps empty) meant. ``subdirectory`` is where in
    the source the package is. What is ``editable`` is imported from the project's own folder. ``requires`` are the
    packages that it was built with (``name==version``), so that another machine builds the same.
    """

    kind: str
    url: str = ""
    path: str = ""
    size: int = 0
    digest: Digest | None = None
    reference: str = ""
    commit: str = ""
    subdirectory: str = ""
    editable: bool = False
    requires: tuple[str, ...] = ()


class LockedWheel(msgspec.Struct, frozen=True):
    """One wheel: ``name`` is normalised (PEP 503), ``size`` is in bytes.

    It is fetched from ``url``, or lies at ``path`` in the project, or is built from ``source``: one of the three.
    ``bin`` names the layer that carries it: the package's own name for a layer of its own.
    """

    name: str
    version: str
    filename: str
    url: str
    size: int
    digest: Digest
    bin: str
    path: str = ""
    source: LockedSource | None = None


class LockedFile(msgspec.Struct, frozen=True):
    """A file that is downloaded as it is: ``size`` is in bytes."""

    filename: str
    url: str
    size: int
    digest: Digest


class LockedPython(msgspec.Struct, frozen=True):
    """The interpreter: ``minor`` as ``3.13``, ``version`` as ``3.13.5``.

    ``provider`` is ``debian`` (the release's own packages), ``standalone`` (``archive``, unpacked to ``/opt/python``)
    or ``base`` (it is in the base image). ``home`` is the folder of its program in the image, as in ``pyvenv.cfg``;
    ``/usr/local/bin`` means that ``/usr/local`` is the installation itself. ``reason`` says why it was chosen.
    """

    minor: str
    version: str
    provider: str
    home: str = "/usr/bin"
    reason: str = ""
    archive: LockedFile | None = None


class LockedBase(msgspec.Struct, frozen=True):
    """An image of a registry at the bottom: ``reference`` as it was asked for, and what it was then.

    ``manifest`` is the digest of the manifest for the platform, ``size`` its size in bytes.
    """

    reference: str
    manifest: Digest
    size: int
    media_type: str


class PlatformLock(msgspec.Struct, frozen=True):
    """What one platform's image is made of.

    ``base``, ``interpreter`` and ``system`` are disjoint sets of .debs, sorted by name; ``base`` is empty on an
    ``image``. ``release`` is the code name of the Debian or Ubuntu release; empty when an image does not say.
    """

    platform: str
    release: str
    python: LockedPython
    base: tuple[LockedDeb, ...]
    interpreter: tuple[LockedDeb, ...]
    system: tuple[LockedDeb, ...]
    packages: tuple[LockedWheel, ...]
    runtime: tuple[LockedWheel, ...]
    image: LockedBase | None = None

    @property
    def debs(self) -> tuple[LockedDeb, ...]:
        """All Debian packages, in the order of their layers."""
        return self.base + self.interpreter + self.system


class Wanted(msgspec.Struct, frozen=True):
    """What a lock was made for, as texts that do not depend on where they were written.

    ``python`` is the version asked for (``3.13`` or ``3.13.5``), ``provider`` where it shall come from, ``base`` the
    reference of the image at the bottom; both empty for whatever is usual. ``system`` are the names of Debian packages,
    ``packages`` and ``runtime`` the requirements and index options of the model and of Layerforge's server.
    ``revision`` is that of the rules by which it was resolved. ``max_layers`` is the budget of layers for packages and
    weights; 0 for the usual one. No text holds a password.
    """

    python: str
    provider: str = ""
    base: str = ""
    system: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    runtime: tuple[str, ...] = ()
    revision: int = 0
    max_layers: int = 0

    @property
    def digest(self) -> Digest:
        """One digest of all of it."""
        return Digest.of(encode(self))


class Lock(msgspec.Struct, frozen=True):
    """A whole lock: what it was made for, and a section for each platform, sorted by the platforms' names.

    When what is asked for differs from ``wanted``, the lock is stale.
    """

    wanted: Wanted
    platforms: tuple[PlatformLock, ...]
