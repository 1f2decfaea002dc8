"""What the bottom layers of an image were made of: a label, enough to make newer ones without cog.yaml. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from layerforge.base_image import BaseImage
from layerforge.config import Config
from layerforge.errors import ImageError
from layerforge.lock import LockedBase, LockedPython, PlatformLock
from layerforge.oci import ContainerConfig, decode, encode

LABEL = "run.layerforge.foundation"
"""The label that holds the record."""

_REVISION = 1


class FoundationRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """The lowest ``layers`` layers.

    ``wanted`` and ``provider`` are what cog.yaml says about Python, ``python`` is what came of it; ``system`` are the
    names of Debian packages that it asks for. ``packages`` maps every Debian package of these layers, but for those in
    the image below them, to its version. ``certificates`` are those of the site. ``image`` is the image below.
    ``compression`` is how cog.yaml wants them stored. ``variables``, ``labels`` and ``ports`` name what was taken over
    from the image below: the rest is the image's own.
    """

    layers: int
    release: str
    wanted: str
    python: LockedPython
    provider: str = ""
    system: tuple[str, ...] = ()
    packages: dict[str, str] = {}
    certificates: tuple[str, ...] = ()
    image: LockedBase | None = None
    variables: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    compression: str = ""
    revision: int = _REVISION


def describe_foundation(
    config: Config, lock: PlatformLock, layers: int, certificates: tuple[str, ...], base: BaseImage | None
) -> FoundationRecord:
    """The record of an image that is being planned; ``layers`` are its bottom ones. Nothing is inherited yet."""
    return FoundationRecord(
        layers=layers,
        release=lock.release,
        wanted=str(config.python_version),
        provider=config.settings.python,
        # Where an archive can be had is the builder's affair, and may not be public.
        python=msgspec.structs.replace(lock.python, archive=None),
        system=tuple(entry.text.strip() for entry in config.system_packages),
        packages={deb.name: deb.version for deb in lock.debs},
        certificates=certificates,
        image=lock.image if base is not None else None,
        compression=config.settings.compression,
    )


def read_foundation(container: ContainerConfig, where: str) -> FoundationRecord:
    """The record of an image.

    Raises:
        ImageError: it has none, or a later one.
    """
    text = container.labels.get(LABEL)
    if text is None:
        hint = "only images that this version of Layerforge built can be rebased: build it again"
        raise ImageError(f"says nothing of what its base was made of (label {LABEL})", where=where, hint=hint)
    record = decode(text.encode("utf-8", "surrogateescape"), FoundationRecord, what=f"{where}: label {LABEL}")
    if record.revision != _REVISION:
        hint = "use the version of Layerforge that built the image, or a later one"
        raise ImageError(f"its label {LABEL} has revision {record.revision}", where=where, hint=hint)
    return record


def label_of(record: FoundationRecord) -> str:
    """The record as a label."""
    return encode(record).decode()


def list_changes(old: FoundationRecord, new: FoundationRecord) -> Iterator[str]:
    """What is different, a line each: packages, Python, the image below."""
    for name in sorted(old.packages.keys() | new.packages.keys()):
        before, after = old.packages.get(name, ""), new.packages.get(name, "")
        if before != after:
            yield f"{name} {before or '(new)'} → {after or '(removed)'}"
    if old.python.version != new.python.version:
        yield f"Python {old.python.version} → {new.python.version}"
    if old.image and new.image and old.image.manifest != new.image.manifest:
        yield f"{new.image.reference} {old.image.manifest.short} → {new.image.manifest.short}"
