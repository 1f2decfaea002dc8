"""Measures the image's server against Cog's own, coglet. ``python -m benchmarks.runtime`` runs it."""
