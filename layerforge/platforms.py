"""Which platforms there are, and which one this machine is."""

from __future__ import annotations

import platform as machine
from collections.abc import Iterable

from layerforge.errors import LayerforgeError
from layerforge.oci import LINUX_AMD64, LINUX_ARM64, Platform

PLATFORMS = (LINUX_AMD64, LINUX_ARM64)
"""What images can be built for."""


def host_platform() -> Platform:
    """The Linux platform of this machine's processor.

    Raises:
        LayerforgeError: a processor that no image is built for.
    """
    name = machine.machine().lower()
    if name in {"x86_64", "amd64"}:
        return LINUX_AMD64
    if name in {"aarch64", "arm64"}:
        return LINUX_ARM64
    raise LayerforgeError(f"no images for this machine's processor ({name})", hint="build on amd64 or arm64")


def parse_platforms(texts: Iterable[str]) -> tuple[Platform, ...]:
    """The platforms named by ``texts``, each once; an item may hold several, with commas between them.

    Raises:
        LayerforgeError: one is not to be had.
    """
    names = [name.strip() for text in texts for name in text.split(",") if name.strip()]
    known = {str(platform): platform for platform in PLATFORMS}
    for name in names:
        if name not in known:
            raise LayerforgeError(f"{name!r} is not a platform", hint=f"the platforms are {' and '.join(known)}")
    return tuple(known[name] for name in dict.fromkeys(names))
