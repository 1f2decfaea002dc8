"""Names that Cog keeps for old models only."""

from __future__ import annotations

from .scope import current_scope


class ExperimentalFeatureWarning(FutureWarning):
    """No warning of this class is ever given; old models name it in their warning filters."""


def emit_metric(name: str, value: float) -> None:
    """Record a metric of the running prediction, like ``current_scope().record_metric(name, value)``."""
    current_scope().record_metric(name, value)
