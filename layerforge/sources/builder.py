"""What resolving asks of whoever builds wheels from sources."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import msgspec

from layerforge.lock import LockedSource, LockedWheel
from layerforge.requirements import Origin


class Order(msgspec.Struct, frozen=True):
    """A wheel to be built: from what, of which project (empty where nobody knows yet), and what to tell the backend.

    ``where`` is the requirement's place, for messages.
    """

    source: LockedSource
    name: str = ""
    settings: tuple[str, ...] = ()
    where: str = ""


class Builder(Protocol):
    """Builds wheels for one target. What was built once is in the store."""

    def pin(self, origin: Origin, hashes: tuple[str, ...], where: str) -> LockedSource:
        """What ``origin`` is now: a branch's commit, an archive's digest.

        Raises:
            SourceError: it cannot be had.
            ResolveError: it has none of the sha256 ``hashes``.
        """

    def build(self, order: Order) -> LockedWheel:
        """The wheel of ``order``, which is in the store then.

        Raises:
            ResolveError: it cannot be built, or not for the target.
            SourceError: something that it takes cannot be had.
        """

    def find(self, wheel: LockedWheel) -> Path:
        """Where the file of a wheel lies."""
