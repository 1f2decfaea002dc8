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


class VerifiedReader(io.RawIOBase):
    """Reads ``source`` and raises once its end shows another digest or size than announced.

    Bytes are handed out before the end is seen: whoever writes them somewhere must discard them on the error.
    ``size`` is in bytes; None when only the digest is known. Closing closes ``source``.

    Raises:
        VerificationError: on the read that meets the end of ``source``, or runs past ``size``.
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
            if self._expected is not None and self._seen > self._expected:
                raise VerificationError(f"more than the {self._expected:,} bytes announced", where=self._what)
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
