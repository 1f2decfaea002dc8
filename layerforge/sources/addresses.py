"""Addresses of wheels: in the lock those that serve everywhere, and on each machine those that it is told to use.

A lock that is made through a mirror must not send others to that mirror. What the settings of a machine point at is a
stand-in for PyPI, and PyPI has a file at a path made of its BLAKE2b digest (warehouse, ``forklift/legacy.py``), which
most mirrors keep. So the address that PyPI has can be told from the mirror's, or from the file itself. Only what the
project's own requirements name stays as it is.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import msgspec

from layerforge.errors import SourceError
from layerforge.lock import LockedWheel
from layerforge.progress import SILENCE, Reporter
from layerforge.requirements import Requirements
from layerforge.sources.credentials import uv_indexes
from layerforge.sources.download import download
from layerforge.sources.http import open_url, redact
from layerforge.sources.pip_settings import read_pip_settings
from layerforge.sources.uv import expand, has_indexes, read_settings
from layerforge.store import Store

FILES = "https://files.pythonhosted.org/packages"
"""Where PyPI has its files."""

_PYPI = frozenset({"pypi.org", "files.pythonhosted.org", "pypi.python.org"})
_PATH = re.compile(r"/packages/([0-9a-f]{2}/[0-9a-f]{2}/[0-9a-f]{60}/[^/]+)$")
_SIMPLE = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
_LARGEST_PAGE = 64 << 20


def publish_wheels(
    wheels: Sequence[LockedWheel],
    requirements: Requirements,
    previous: Sequence[LockedWheel],
    store: Store,
    reporter: Reporter = SILENCE,
    environment: Mapping[str, str] = os.environ,
) -> tuple[LockedWheel, ...]:
    """``wheels`` with addresses that do not depend on this machine's settings.

    A mirror with other paths than PyPI's has to give the file itself, which is then in ``store``, unless ``previous``
    knows its address.

    Raises:
        SourceError: it does not.
    """
    mirrors = {_host(url) for url in list_indexes(environment)} - _PYPI
    named = {_host(expand(url, environment)) for url in _list_named(requirements)}
    known = {wheel.digest: wheel.url for wheel in previous}
    published: list[LockedWheel] = []
    for wheel in wheels:
        host = _host(wheel.url)
        foreign = bool(wheel.url) and host not in named | _PYPI and (host in mirrors or (mirrors and not named))
        if foreign:
            url = known.get(wheel.digest, "")
            if not url.startswith(FILES):
                url = _find_path(wheel.url) or _compute_path(wheel, store, reporter)
            wheel = _with_url(wheel, url)
        source = wheel.source
        if source is not None and source.kind == "sdist" and _host(source.url) in mirrors - named:
            url = _find_path(source.url) or source.url
            wheel = msgspec.structs.replace(wheel, source=msgspec.structs.replace(source, url=url))
        published.append(wheel)
    return tuple(published)


def list_addresses(wheel: LockedWheel, environment: Mapping[str, str] = os.environ) -> Iterator[str]:
    """Where this machine may have ``wheel``, best first; asks only when the next one is wanted.

    An index that stands in for PyPI is asked instead of it, never besides: it may be there to control what is used.

    Raises:
        SourceError: there is nowhere to have it from: that index does not list it, or does not answer.
    """
    replaced = default_index(environment)
    given = _host(wheel.url) not in _PYPI or not replaced
    if given:
        yield wheel.url
    failure: SourceError | None = None
    for index in list_indexes(environment):
        if _host(index) not in _PYPI:
            try:
                for url in _list_files(index, wheel):
                    given = True
                    yield url
            except SourceError as error:
                failure = failure or error
    if failure is not None and not given:
        raise failure
    if not given:
        hint = "see that the index has this version, or set another one (pip config list)"
        raise SourceError(f"{wheel.filename} as it is locked is not there", where=redact(replaced), hint=hint)


def list_indexes(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The indexes that this machine's settings name: uv's, else pip's."""
    if has_indexes(environment):
        return tuple(filter(None, uv_indexes(environment)))
    pip = read_pip_settings(environment)
    return tuple(filter(None, (pip.index_url, *pip.extra_index_urls)))


def default_index(environment: Mapping[str, str] = os.environ) -> str:
    """The index that this machine uses in place of PyPI; empty if none."""
    if has_indexes(environment):
        found = environment.get("UV_DEFAULT_INDEX", "").rpartition("=")[2] or environment.get("UV_INDEX_URL", "")
        for table in read_settings(environment):
            listed = table.get("index", [])
            entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
            defaults = [str(entry.get("url", "")) for entry in entries if entry.get("default")]
            found = found or str(table.get("index-url") or "") or next(iter(defaults), "")
    else:
        found = read_pip_settings(environment).index_url
    return "" if _host(found) in _PYPI else found


def _list_named(requirements: Requirements) -> Iterator[str]:
    yield from (requirements.index_url, *requirements.extra_index_urls, *requirements.find_links)
    for line in requirements.lines:
        yield from re.findall(r"https?://\S+", line.text)


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2].lower()


def _with_url(wheel: LockedWheel, url: str) -> LockedWheel:
    return msgspec.structs.replace(wheel, url=url)


def _find_path(url: str) -> str:
    match = _PATH.search(urlsplit(url).path)
    return f"{FILES}/{match[1]}" if match else ""


def _compute_path(wheel: LockedWheel, store: Store, reporter: Reporter) -> str:
    path = download(store, [wheel.url], wheel.digest, size=wheel.size, name=wheel.filename, reporter=reporter)
    with path.open("rb") as file:
        digest = hashlib.blake2b(digest_size=32)
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    text = digest.hexdigest()
    return f"{FILES}/{text[:2]}/{text[2:4]}/{text[4:]}/{wheel.filename}"


def _list_files(index: str, wheel: LockedWheel) -> Iterator[str]:
    for filename, url, digest in _read_page(f"{index.rstrip('/')}/{wheel.name}/"):
        if filename == wheel.filename and digest in ("", wheel.digest.hex):
            yield url


@functools.lru_cache(maxsize=256)
def _read_page(url: str) -> tuple[tuple[str, str, str], ...]:
    """Name, address and sha256 (or nothing) of each file on a project's page (PEP 503, PEP 691)."""
    try:
        with open_url(url, headers={"Accept": _SIMPLE}) as response:
            kind = response.headers.get("Content-Type", "")
            data = response.read(_LARGEST_PAGE)
            base = urljoin(url, response.geturl() or url)
    except SourceError as error:
        if getattr(error, "status", 0) == 404:
            return ()
        raise
    try:
        if "json" in kind:
            files = json.loads(data)["files"]
            return tuple((f["filename"], urljoin(base, f["url"]), f["hashes"].get("sha256", "")) for f in files)
        links = _Links(base)
        links.feed(data.decode("utf-8", "replace"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SourceError(f"the page of the package index cannot be understood: {error}", where=redact(url)) from error
    return tuple(links.found)


class _Links(HTMLParser):
    """Collects the links of a page."""

    def __init__(self, base: str) -> None:
        super().__init__()
        self._base = base
        self.found: list[tuple[str, str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        href = dict(attrs).get("href")
        if tag == "base" and href:
            self._base = urljoin(self._base, href)
        elif tag == "a" and href:
            url, _, fragment = urljoin(self._base, href).partition("#")
            digest = fragment.removeprefix("sha256=") if fragment.startswith("sha256=") else ""
            self.found.append((Path(unquote(urlsplit(url).path)).name, url, digest))
