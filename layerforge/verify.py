"""Readers that check what passes through them, so that nobody can forget to."""

from __future__ import annotations

import hashlib
import io
from typing import Protocol

from layerforge.errors import VerificationError
from layerforge.oci import Digest


class Source(Protocol):
    """What a VerifiedReader reads from: an unbuffered file, a response."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Fill ``buffer`` from its start; 0 at the end."""

    def close(self) -> None:
        """Give back what it holds."""


class Joined:
    """The beginning of something, and the source of its rest, as one; a read gives bytes of one of the two.

    What the beginning's file gets while the rest is read is no part of it.
    """

    def __init__(self, beginning: Source, rest: Source) -> None:
        self._sources = [beginning, rest]

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Fill ``buffer`` from its start; 0 at the end."""
        count = self._sources[0].readinto(buffer)
        if not count and len(self._sources) > 1:
            self._sources.pop(0).close()
            return self.readinto(buffer)
        return count

    def close(self) -> None:
        """Close both."""
        for source in self._sources:
            source.close()


class VerifiedReader(io.RawIOBase):
    """Reads ``source`` and raises once it shows another digest or size than announced.

    ``size`` is in bytes. With it, the last bytes are given only when all of them have been found right and ``source``
    has ended; with None, the read behind the last bytes is the one that raises. In both cases earlier bytes are handed
    out before: whoever writes them somewhere must discard them on the error. Closing closes ``source``.

    Raises:
        VerificationError: on the read that completes the content, meets its end too early, or runs past ``size``.
    """

    def __init__(self, source: Source, digest: Digest, size: int | None = None, *, what: str = "") -> None:
        super().__init__()
        self._source = source
        self._digest = digest
        self._expected = size
        self._what = what or str(digest)
        self._hash = hashlib.sha256()
        self._seen = 0

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        """Read into ``buffer``; 0 at the (verified) end."""
        view = memoryview(buffer)
        count = self._source.readinto(view)
        if count:
            self._seen += count
            self._hash.update(view[:count])
            if self._seen == self._expected and self._source.readinto(memoryview(bytearray(1))):
                self._seen += 1
            if self._expected is not None and self._seen > self._expected:
                raise VerificationError(f"more than the {self._expected:,} bytes announced", where=self._what)
            if self._seen == self._expected:
                self._check()
            return count
        self._check()
        return 0

    def _check(self) -> None:
        if self._expected is not None and self._seen != self._expected:
            raise VerificationError(f"{self._seen:,} bytes where {self._expected:,} were announced", where=self._what)
        found = self._hash.hexdigest()
        if found != self._digest.hex:
            raise VerificationError(f"content has digest sha256:{found}, not {self._digest}", where=self._what)

    def close(self) -> None:
        """Close the source too."""
        self._source.close()
        super().close()
