"""Keeps the memory of a build in bounds."""

from __future__ import annotations

import ctypes
import functools

_M_MMAP_THRESHOLD = -3  # <malloc.h> of the GNU C library
_M_ARENA_MAX = -8
_ARENAS = 2
_LARGE = 512 << 10
"""Bytes from which on a buffer is given back as soon as it is free: chunks of packages have 1 MiB, blocks 4."""


@functools.cache
def bound_heap() -> None:
    """Let all threads share two heaps without large buffers in them, where the C library is GNU's.

    By default each thread has a heap of its own, and the size from which on a buffer is mapped by itself grows to
    that of the largest one that was ever freed. Buffers of some megabytes that come and go in a dozen threads then
    leave holes that are never given back. Measured on a model with ffmpeg and build-essential, three layers of Debian
    packages made on two processors: 238 to 397 MiB without this, the more the busier the machine, 170 MiB with it,
    and the same processor time. The C library counts heaps at the first thread beyond eight, so call it early.
    """
    try:
        library = ctypes.CDLL(None)
        library.mallopt(_M_ARENA_MAX, _ARENAS)
        library.mallopt(_M_MMAP_THRESHOLD, _LARGE)
    except (OSError, AttributeError):
        pass
