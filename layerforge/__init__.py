"""Builds container images of machine learning models from ``cog.yaml``, without Docker."""

__version__ = "0.1.0"
