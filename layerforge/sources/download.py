"""Files by digest, into the store: verified as they arrive, and taken up where a connection or a process broke off."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from layerforge.errors import SourceError, VerificationError
from layerforge.network import require_network
from layerforge.oci import Digest
from layerforge.partial import Partial
from layerforge.progress import SILENCE, Reporter
from layerforge.sources.http import open_url, redact
from layerforge.store import Store
from layerforge.verify import Joined, Source, VerifiedReader

if TYPE_CHECKING:
    import urllib3

_CHUNK = 1 << 18
_MOST_CUTS = 20
"""Connections tried for one file, each of which must have brought something new."""


def download(
    store: Store, urls: Iterable[str], digest: Digest, *, size: int = 0, name: str = "", reporter: Reporter = SILENCE
) -> Path:
    """The store's verified copy of the file with ``digest``, fetched from the first of ``urls`` that has it.

    ``size`` is in bytes, 0 if unknown. Nothing is fetched when the store has it, and ``urls`` are not looked at. What
    an earlier call left unfinished is continued, from whichever URL. A file that is too long or has another digest is
    discarded and the next URL tried.

    Raises:
        SourceError: no URL gave the file; the message is the last one's.
        StoreError: the disk is full.
    """
    if (path := find_download(store, digest, size)) is not None:
        return path
    require_network(name or str(digest))
    with store.key_lock(digest):
        if (path := find_download(store, digest, size)) is not None:
            return path
        failure: SourceError | None = None
        with Partial(store, digest) as partial:
            for url in urls:
                try:
                    return _download_one(partial, url, digest, size, name, reporter)
                except SourceError as error:
                    failure = error
        if getattr(failure, "status", 0) in (404, 410):
            assert failure is not None
            failure.hint = "it has vanished from there since it was locked: `layerforge lock` takes what is there now"
        raise failure or SourceError(f"nowhere to get {name or digest} from", where=name)


def find_download(store: Store, digest: Digest, size: int = 0) -> Path | None:
    """The store's copy of the file with ``digest`` and ``size`` (in bytes, 0 if unknown), if it has one."""
    path = store.material_path(digest)
    try:
        found = path.stat().st_size
    except OSError:
        return None
    return path if not size or found == size else None


def _download_one(partial: Partial, url: str, digest: Digest, size: int, name: str, reporter: Reporter) -> Path:
    task = f"download {name or digest.short}"
    for _ in range(_MOST_CUTS):
        start = partial.size
        try:
            _continue(partial, url, digest, size, task, reporter)
            path = partial.commit()
            reporter.finish(task, "downloaded")
            return path
        except VerificationError as error:
            partial.clear()
            if not start:  # else what was there may have been wrong: once more, from the beginning
                error.hint = "the server gave another file than the one locked; if it was replaced there, lock again"
                raise
        except SourceError as error:
            if getattr(error, "status", 0) == 416 and start:
                partial.clear()
            elif getattr(error, "status", 0) or partial.size <= start:
                raise
    raise SourceError(f"broke off {_MOST_CUTS} times", where=redact(url), hint="check the network, then try again")


def _continue(partial: Partial, url: str, digest: Digest, size: int, task: str, reporter: Reporter) -> None:
    """Fetch what ``partial`` lacks; all of it, old and new, is verified."""
    headers = {"Range": f"bytes={partial.size}-"} if partial.size else None
    with open_url(url, headers=headers) as response:
        if partial.size and not _continues_at(response, partial.size):
            partial.clear()
        start, seen = partial.size, 0
        announced = response.headers.get("Content-Length", "")
        if size and announced.isdecimal() and start + int(announced) < size:
            raise VerificationError(f"has {start + int(announced):,} bytes, not {size:,}", where=redact(url))
        reporter.start(task, size or None)
        with partial.open() as before:
            rest = _Whole(response, size - start if size else 0, redact(url))
            reader = VerifiedReader(Joined(before, rest), digest, size or None, what=redact(url))
            while chunk := reader.read(_CHUNK):
                seen += len(chunk)
                if seen > start:  # what was there comes first, and chunks do not mix the two
                    partial.write(chunk)
                reporter.advance(task, len(chunk))


def _continues_at(response: urllib3.BaseHTTPResponse, position: int) -> bool:
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return response.status == 206 and match is not None and int(match[1]) == position


class _Whole:
    """A response that is to bring ``size`` more bytes (0 if unknown): ending earlier, it was cut off."""

    def __init__(self, response: Source, size: int, where: str) -> None:
        self._response = response
        self._left = size
        self._where = where

    def readinto(self, buffer: memoryview, /) -> int | None:
        count = self._response.readinto(buffer)
        if not count and self._left > 0:
            raise SourceError(f"broke off {self._left:,} bytes before its end", where=self._where)
        self._left -= count or 0
        return count

    def close(self) -> None:
        """Nothing: it belongs to the caller."""
