"""Debian's archive: mirrors, signed indexes, dependency resolution, and the packages themselves."""

from layerforge.sources.debian.archive import architecture_of, debian_urls, open_index
from layerforge.sources.debian.locking import GLIBC, NEWEST, LockedDebian, choose_release, lock_debian
from layerforge.sources.debian.mirrors import Mirrors, find_mirrors

__all__ = [
    "GLIBC",
    "NEWEST",
    "LockedDebian",
    "Mirrors",
    "architecture_of",
    "choose_release",
    "debian_urls",
    "find_mirrors",
    "lock_debian",
    "open_index",
]
