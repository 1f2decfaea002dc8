"""Layerforge against ``docker build`` and ``docker push``: ``python -m benchmarks``."""
