"""Images of registries as a base: fetched as far as needed, and what they hold."""

from layerforge.sources.base.facts import BaseFacts, FoundPython, describe_base, guess_facts
from layerforge.sources.base.fetch import load_base, lock_base
from layerforge.sources.base.root import BaseRoot
from layerforge.sources.base.scan import scan_base

__all__ = [
    "BaseFacts",
    "BaseRoot",
    "FoundPython",
    "describe_base",
    "guess_facts",
    "load_base",
    "lock_base",
    "scan_base",
]
