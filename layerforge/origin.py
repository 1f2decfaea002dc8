"""Where a blob that the store need not hold can be had: the layers of base images stay in their registries. Pure."""

from __future__ import annotations

import msgspec

from layerforge.reference import Reference

_MOST = 8
"""Repositories remembered for a blob."""


class Repository(msgspec.Struct, frozen=True):
    """One repository of a registry."""

    registry: str
    name: str

    @property
    def reference(self) -> Reference:
        """The repository as a Reference."""
        return Reference(self.registry, self.name)

    def __str__(self) -> str:
        return f"{self.registry}/{self.name}"


class Origin(msgspec.Struct, frozen=True):
    """The repositories that had a blob of ``size`` bytes, the last one seen first."""

    size: int
    repositories: tuple[Repository, ...]


def add_repository(origin: Origin | None, size: int, repository: Repository) -> Origin:
    """``origin`` with ``repository`` in front."""
    known = origin.repositories if origin is not None and origin.size == size else ()
    others = tuple(other for other in known if other != repository)
    return Origin(size, (repository, *others)[:_MOST])
