"""Pins the archive of a standalone build: its digest and size, before anything is built with it.

The catalogue that comes with uv has no digests. The project publishes them beside its archives, in one ``SHA256SUMS``
for each release, and in a ``.sha256`` for each file of its older ones; where a server has neither, the archive itself
is downloaded into the store and hashed.
Source: python-build-standalone, ``src/github.rs``, and its releases.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

from layerforge.errors import ImageError, SourceError
from layerforge.lock import LockedFile
from layerforge.oci import Digest
from layerforge.progress import Reporter
from layerforge.sources.http import open_url, read_url, redact
from layerforge.sources.pythons.catalogue import Build
from layerforge.sources.pythons.mirrors import ArchiveSettings, list_locations, without_user
from layerforge.store import Store

_CHUNK = 1 << 18
_SUMS_LIMIT = 4 << 20


def pin_archive(build: Build, settings: ArchiveSettings, store: Store, reporter: Reporter) -> LockedFile:
    """The archive of ``build`` as a lock names it.

    Raises:
        SourceError: it cannot be reached, or the digest published for it is none.
    """
    locations = list_locations(build.url, settings)
    failure: SourceError | None = None
    for url in locations:
        try:
            digest, size = _pin(url, build.sha256, store, reporter)
        except SourceError as error:
            failure = failure or error
        else:
            return LockedFile(_filename(build.url), without_user(build.url), size, digest)
    raise failure or SourceError("the catalogue does not say where it is", where=_filename(build.url))


def _pin(url: str, known: str, store: Store, reporter: Reporter) -> tuple[Digest, int]:
    text = known or _find_published(url)
    if not text:
        return _download(url, store, reporter)
    try:
        digest = Digest.from_hex(text)
    except ImageError as error:
        raise SourceError(f"{text!r} is published as its sha256", where=redact(url)) from error
    path = store.material_path(digest)
    if path.exists():
        return digest, path.stat().st_size
    with open_url(url) as response:
        size = response.headers.get("Content-Length", "")
    if size.isdecimal():
        return digest, int(size)
    found, measured = _download(url, store, reporter)
    if found != digest:
        raise SourceError(f"has the sha256 {found.hex}, where {text} is published", where=redact(url))
    return digest, measured


def _find_published(url: str) -> str:
    """The sha256 that the server has for the file at ``url``, or nothing."""
    name = _filename(url)
    for address, pattern in (
        (f"{url.rpartition('/')[0]}/SHA256SUMS", rf"^([0-9a-fA-F]{{64}}) [ *]{re.escape(name)}\s*$"),
        (f"{url}.sha256", r"^\s*([0-9a-fA-F]{64})\b"),
    ):
        try:
            text = read_url(address, limit=_SUMS_LIMIT).decode("utf-8", "replace")
        except SourceError as error:
            if getattr(error, "status", 0) in (401, 403, 404, 410):
                continue
            raise
        match = re.search(pattern, text, re.MULTILINE)
        if match:
            return match[1].lower()
    return ""


def _download(url: str, store: Store, reporter: Reporter) -> tuple[Digest, int]:
    """Put what is at ``url`` into the store, whatever it is."""
    task = f"download {_filename(url)}"
    hasher, size = hashlib.sha256(), 0
    with open_url(url) as response, store.write_blob() as blob:
        length = response.headers.get("Content-Length", "")
        reporter.start(task, int(length) if length.isdecimal() else None)
        while chunk := response.read(_CHUNK):
            hasher.update(chunk)
            size += len(chunk)
            blob.write(chunk)
            reporter.advance(task, len(chunk))
        if length.isdecimal() and size != int(length):
            raise SourceError(f"is cut off: {size:,} of {int(length):,} bytes", where=redact(url))
        digest = Digest.from_hex(hasher.hexdigest())
        blob.commit(digest, folder="materials")
    reporter.finish(task, "downloaded")
    return digest, size


def _filename(url: str) -> str:
    return unquote(urlsplit(url).path.rpartition("/")[2])


def archive_urls(archive: LockedFile, settings: ArchiveSettings) -> Sequence[str]:
    """Where a locked archive may be had, best first."""
    return list_locations(archive.url, settings)
