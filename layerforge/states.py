"""Remembers the digest of a file by its state, so that an unchanged file is never read again."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from layerforge.errors import ImageError
from layerforge.oci import Digest
from layerforge.segments import FileState

_SETTLED_NS = 50_000_000
"""A file younger than this when it was hashed may change again within one tick of the file system's clock."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS digests (
    device INTEGER, inode INTEGER, size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER, use TEXT, digest TEXT,
    PRIMARY KEY (device, inode, use)
) WITHOUT ROWID
"""


class FileStates:
    """A table from (state, use) to digest. ``use`` tells apart digests of different things made from one file.

    Losing it costs time only, so a damaged or locked table is passed over. Safe to use from several threads.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._connection = self._connect(path)

    def find(self, state: FileState, use: str = "content") -> Digest | None:
        """The digest recorded for a file in exactly this state."""
        query = "SELECT size, mtime_ns, ctime_ns, digest FROM digests WHERE device = ? AND inode = ? AND use = ?"
        try:
            with self._lock:
                row = self._connection.execute(query, (state.device, state.inode, use)).fetchone()
            if row and row[:3] == (state.size, state.mtime_ns, state.ctime_ns):
                return Digest(row[3])
        except (sqlite3.Error, ImageError):
            pass
        return None

    def remember(
        self, state: FileState, digest: Digest, use: str = "content", *, beside: Sequence[FileState] = ()
    ) -> None:
        """Record ``digest`` for a file in ``state``, unless it, or one of those ``beside`` it, changed a moment ago."""
        newest = max(max(each.mtime_ns, each.ctime_ns) for each in (state, *beside))
        if time.time_ns() - newest < _SETTLED_NS:
            return
        row = (state.device, state.inode, state.size, state.mtime_ns, state.ctime_ns, use, str(digest))
        try:
            with self._lock:
                self._connection.execute("INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        except sqlite3.Error:
            pass

    def close(self) -> None:
        """Write what was remembered."""
        try:
            with self._lock:
                self._connection.commit()
                self._connection.close()
        except sqlite3.Error:
            pass

    @staticmethod
    def _connect(path: Path) -> sqlite3.Connection:
        for place in (str(path), ":memory:"):
            try:
                connection = sqlite3.connect(place, timeout=2, check_same_thread=False)
                connection.execute("PRAGMA synchronous = OFF")
                connection.execute(_SCHEMA)
                connection.commit()
                return connection
            except sqlite3.DatabaseError:
                continue
        raise AssertionError("an in-memory table can always be made")
