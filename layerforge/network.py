"""Whether the network may be used: a build that is told ``--offline`` opens no connection.

Whoever is about to open one asks here first. It is a property of the process and not of a value that is passed along,
so that no path to the network, old or new, can be forgotten: a test forbids it and looks for sockets.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from layerforge.errors import SourceError

FETCH = "run `layerforge fetch` where there is a network; `export-store` and `import-store` carry its result elsewhere"

_forbidden: list[None] = []


@contextmanager
def forbid_network() -> Iterator[None]:
    """Refuse every connection until the block ends."""
    _forbidden.append(None)
    try:
        yield
    finally:
        _forbidden.pop()


def require_network(where: str) -> None:
    """See that a connection may be opened, to ``where``.

    Raises:
        SourceError: it may not.
    """
    if _forbidden:
        raise SourceError("is needed, and --offline forbids to fetch it", where=where, hint=FETCH)
