"""Upload sessions that may be taken up again, also by another process.

A session's URL may hold a signed permission to write, so files are readable by their owner only.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
import time
from contextlib import suppress
from pathlib import Path

from layerforge.oci import Digest

_LARGE = 8 << 20  # bytes of a blob; less is sent again as quickly as it is asked for
_LIFETIME = 24 * 3600  # seconds; registries forget sessions after some hours to a week


class Sessions:
    """The unfinished uploads to the repository ``name`` (with its registry), kept below ``folder`` where there is one.

    A session belongs to one process at a time: while it is in use, its file is locked. Safe to use from several
    threads; each blob is uploaded by one thread at a time.
    """

    def __init__(self, name: str, folder: Path | None = None) -> None:
        self._name = name
        self._folder = folder
        self._known: dict[Digest, str] = {}
        self._files: dict[Digest, int] = {}
        self._guard = threading.Lock()

    def keeps(self, size: int) -> bool:
        """Whether the upload of a blob of ``size`` bytes can be taken up by another process."""
        return self._folder is not None and size >= _LARGE

    def recall(self, digest: Digest, size: int) -> str:
        """The URL of an unfinished upload of the blob, or nothing."""
        with self._guard:
            if digest in self._known:
                return self._known[digest]
            handle = self._lock(digest, size)
        if handle is None:
            return ""
        try:
            text = os.pread(handle, 16 << 10, 0).decode("utf-8", "replace")
            fresh = time.time() - os.fstat(handle).st_mtime < _LIFETIME
        except OSError:
            return ""
        return text if fresh and text.startswith(("http://", "https://")) else ""

    def remember(self, digest: Digest, size: int, url: str) -> None:
        """The upload goes on at ``url``."""
        with self._guard:
            self._known[digest] = url
            handle = self._lock(digest, size)
        if handle is not None:
            with suppress(OSError):
                os.ftruncate(handle, 0)
                os.pwrite(handle, url.encode(), 0)

    def forget(self, digest: Digest) -> None:
        """The upload has ended, or cannot be taken up again."""
        with self._guard:
            self._known.pop(digest, None)
            handle = self._files.pop(digest, None)
            if handle is not None and self._folder is not None:
                with suppress(OSError):
                    self._path(self._folder, digest).unlink()
                os.close(handle)

    def close(self) -> None:
        """Let other processes have what is unfinished."""
        with self._guard:
            for handle in self._files.values():
                os.close(handle)
            self._files.clear()

    def _path(self, folder: Path, digest: Digest) -> Path:
        return folder / hashlib.sha256(f"{self._name} {digest}".encode()).hexdigest()

    def _lock(self, digest: Digest, size: int) -> int | None:
        """The blob's file, locked by us; None when it has none, or another process has it."""
        if self._folder is None or not self.keeps(size):
            return None
        if digest in self._files:
            return self._files[digest]
        try:
            handle = os.open(self._path(self._folder, digest), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return None  # a full or foreign disk: then it is remembered by this process only
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            return None
        self._files[digest] = handle
        return handle
