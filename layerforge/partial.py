"""A download under way, as a file of the store: what arrived before a cut, a kill or Ctrl-C is not fetched again."""

from __future__ import annotations

from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from layerforge.errors import StoreError
from layerforge.oci import Digest
from layerforge.store import Store, translate_os_errors


class Partial:
    """The first bytes of what has ``digest``; they are unverified. Held under the digest's lock by one process.

    ``folder`` is the one of the store where the whole belongs. Leaving the ``with`` block keeps them, unless the disk
    was full.
    """

    def __init__(self, store: Store, digest: Digest, *, folder: str = "materials") -> None:
        self._path = store.partial_path(digest)
        self._destination = store.root / folder / "sha256" / digest.hex
        with translate_os_errors(self._path):
            self._file: BinaryIO = self._path.open("ab", buffering=1 << 18)
        self.size = self._path.stat().st_size

    def __enter__(self) -> Partial:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        is_full = isinstance(error, StoreError)
        try:
            with translate_os_errors(self._path):
                self._file.close()
        except (OSError, StoreError):  # the same disk as before: what is in the buffer is not wanted then
            is_full = True
        if is_full or not self.size:
            self._path.unlink(missing_ok=True)

    def open(self) -> FileIO:
        """What is there, for reading."""
        with translate_os_errors(self._path):
            self._file.flush()
            return self._path.open("rb", buffering=0)

    def write(self, data: bytes | memoryview) -> None:
        """Append.

        Raises:
            StoreError: the disk is full.
        """
        with translate_os_errors(self._path):
            self._file.write(data)
        self.size += len(data)

    def clear(self) -> None:
        """Begin again."""
        with translate_os_errors(self._path):
            self._file.flush()
            self._file.truncate(0)
        self.size = 0

    def commit(self) -> Path:
        """Give the whole file its place; the caller has verified it."""
        with translate_os_errors(self._path):
            self._file.close()
            self._path.chmod(0o644)
            self._path.replace(self._destination)
        return self._destination
