"""What the resolver asks of an archive."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from layerforge.sources.debian.control import Package


class Index(Protocol):
    """What is known of the archive."""

    def candidate(self, name: str) -> Package | None:
        """The version of the package ``name`` that would be installed."""

    def versions(self, name: str) -> tuple[Package, ...]:
        """All versions of the package ``name``, the highest first."""

    def in_suite(self, name: str, suite: str) -> Package | None:
        """The version of the package ``name`` in one suite."""

    def providers(self, name: str) -> tuple[Package, ...]:
        """The candidates of other names that provide ``name``."""

    def essential(self) -> tuple[Package, ...]:
        """The candidates that no system is without."""

    def names(self) -> Iterable[str]:
        """All names, for suggestions."""

    def first_mentions(self, names: Iterable[str]) -> Mapping[str, tuple[int, ...]]:
        """Where the index first speaks of each of ``names``."""

    @property
    def architecture(self) -> str:
        """Debian's name for the architecture that it is for."""

    @property
    def suites(self) -> tuple[str, ...]:
        """The suites that it is made of."""
