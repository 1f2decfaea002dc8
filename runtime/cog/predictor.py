"""The base classes of models. Deriving from them is optional."""

from __future__ import annotations

import os
import warnings
from typing import Any

from .scope import Scope, current_scope
from .types import Path


class BaseRunner:
    """A model: ``setup()`` is called once, then ``run()`` for each prediction."""

    def setup(self, weights: Path | str | None = None) -> None:
        """Load what predictions need. ``weights`` is given if the method takes it: the value of ``COG_WEIGHTS``."""

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Make one prediction; a subclass defines it, with one described argument for each input.

        Raises:
            NotImplementedError: the subclass does not.
        """
        if overrides(type(self), "predict"):
            return self.predict(*args, **kwargs)
        raise NotImplementedError("run has not been implemented by parent class.")

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """The old name of :meth:`run`."""
        name = type(self).__name__
        warnings.warn(f"{name}.predict() is deprecated; use run() instead", DeprecationWarning, stacklevel=2)
        return self.run(*args, **kwargs)

    @property
    def scope(self) -> Scope:
        """The running prediction; outside of one, a scope that ignores what it is told."""
        return current_scope()

    def record_metric(self, key: str, value: Any, mode: str = "replace") -> None:
        """Record a metric of the running prediction; :meth:`cog.scope.Scope.record_metric` has the rules."""
        current_scope().record_metric(key, value, mode=mode)


class BasePredictor(BaseRunner):
    """The old name of :class:`BaseRunner`."""


def overrides(cls: type, method: str) -> bool:
    """Whether the author of ``cls`` wrote ``method``: bases after BaseRunner in the resolution order do not count."""
    for owner in cls.__mro__:
        if owner in (BaseRunner, BasePredictor, object):
            return False
        if callable(owner.__dict__.get(method)):
            return True
    return False


def extract_setup_weights(predictor: object) -> str | None:  # noqa: ARG001 - Cog's signature
    """What ``setup(weights=…)`` is called with."""
    return os.environ.get("COG_WEIGHTS") or None
