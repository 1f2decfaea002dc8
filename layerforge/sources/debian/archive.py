"""The archive as this machine reaches it: a release's suites fetched, verified and put together as one index."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from layerforge.errors import ResolveError, SourceError, VerificationError
from layerforge.lock import LockedDeb
from layerforge.oci import Digest, Platform
from layerforge.progress import SILENCE, Reporter
from layerforge.sources.debian.catalog import (
    Catalog,
    PackageIndex,
    decode_catalog,
    encode_catalog,
    inflate_index,
    read_catalog,
)
from layerforge.sources.debian.mirrors import DEBIAN, UBUNTU, Mirrors, find_mirrors, require_keys
from layerforge.sources.debian.release import (
    IndexFile,
    Release,
    parse_release,
    verify_clearsigned,
    verify_detached,
)
from layerforge.sources.http import read_url, redact
from layerforge.store import Store

_TOPIC = "debian-catalog-2"
_ARCHITECTURES = {"amd64": "amd64", "arm64": "arm64", "arm": "armhf", "386": "i386", "ppc64le": "ppc64el"}
_ARCHITECTURES |= {"riscv64": "riscv64", "s390x": "s390x"}


def suites_of(release: str, distribution: str = DEBIAN, architecture: str = "amd64") -> tuple[tuple[str, str], ...]:
    """The suites that make up a stable release, as (suite, archive), the release itself first."""
    if distribution == UBUNTU:
        archive = "ubuntu" if architecture in ("amd64", "i386") else "ubuntu-ports"
        return tuple((f"{release}{pocket}", archive) for pocket in ("", "-updates", "-security"))
    return ((release, "debian"), (f"{release}-updates", "debian"), (f"{release}-security", "debian-security"))


def architecture_of(platform: Platform) -> str:
    """Debian's name for ``platform``'s architecture.

    Raises:
        ResolveError: Debian has none.
    """
    name = _ARCHITECTURES.get(platform.architecture) if platform.os == "linux" else None
    if name is None:
        raise ResolveError(f"Debian is not made for {platform}", hint="use linux/amd64 or linux/arm64")
    return name


def open_index(
    release: str,
    architecture: str,
    store: Store,
    reporter: Reporter = SILENCE,
    *,
    mirrors: Mirrors | None = None,
    now: datetime | None = None,
    distribution: str = DEBIAN,
    components: Sequence[str] = ("main",),
) -> PackageIndex:
    """The packages of ``release`` (``trixie``) with its updates and security fixes, for one Debian architecture.

    ``distribution`` is ``debian`` or ``ubuntu``; ``components`` are those of its suites that count. Release files are
    fetched each time, Packages files only when they have changed since they were last read.

    Raises:
        SourceError: a mirror cannot be reached or none is configured.
        VerificationError: a signature, digest or date is wrong.
    """
    where = mirrors or find_mirrors()
    keys = require_keys(where, distribution)
    suites = suites_of(release, distribution, architecture)
    for _, archive in suites:
        where.of(archive)
    task = f"index {distribution} {release}"
    reporter.start(task)

    def read(suite: str, archive: str) -> list[tuple[Catalog, str]]:
        catalogs = _read_suite(where.of(archive), suite, architecture, components, keys, store, now)
        return [(catalog, archive) for catalog in catalogs]

    with ThreadPoolExecutor(3, thread_name_prefix="suite") as threads:
        found = list(threads.map(read, *zip(*suites, strict=True)))
    reporter.finish(task, f"{len(suites)} suites")
    catalogs = [catalog for of_suite in found for catalog in of_suite]
    names = [suite for (suite, _), of_suite in zip(suites, found, strict=True) for _ in of_suite]
    return PackageIndex(catalogs, suites=names, architecture=architecture)


def _read_suite(
    mirrors: Sequence[str],
    suite: str,
    architecture: str,
    components: Sequence[str],
    keys: Sequence[bytes],
    store: Store,
    now: datetime | None,
) -> list[Catalog]:
    failure: SourceError | None = None
    for mirror in mirrors:
        base = f"{mirror}/dists/{suite}"
        try:
            release = fetch_release(base, suite, keys, now)
            return [_fetch_catalog(base, release, component, architecture, store) for component in components]
        except SourceError as error:
            failure = failure or error
    raise failure or SourceError(f"no mirror for {suite}")


def fetch_release(base: str, suite: str, keys: Sequence[bytes], now: datetime | None = None) -> Release:
    """The verified Release file in the folder ``base`` (a URL) of a suite: ``InRelease``, else ``Release.gpg``.

    Raises:
        SourceError: it cannot be had.
        VerificationError: it is not signed by ``keys``, not of this suite, or expired.
    """
    try:
        where = f"{redact(base)}/InRelease"
        text = verify_clearsigned(read_url(f"{base}/InRelease", limit=16 << 20), keys, where)
    except SourceError as error:
        if getattr(error, "status", None) != 404:
            raise
        where = f"{redact(base)}/Release"
        data = read_url(f"{base}/Release", limit=16 << 20)
        text = verify_detached(data, read_url(f"{base}/Release.gpg", limit=1 << 20), keys, where)
    return parse_release(text, where=where, suite=suite, now=now)


def _fetch_catalog(base: str, release: Release, component: str, architecture: str, store: Store) -> Catalog:
    path = f"{component}/binary-{architecture}/Packages.xz"
    index = release.files.get(path)
    if index is None:
        known = ", ".join(name for name in release.architectures if name != "all")
        message = f"has no packages for {architecture} (it has {known or 'none'})"
        if architecture in release.architectures:
            message = f"has no component '{component}'"
        raise SourceError(message, where=f"{redact(base)}/{path}")
    note = store.find_note(_TOPIC, index.digest)
    catalog = decode_catalog(note) if note is not None else None
    if catalog is None:
        data, where = _fetch_verified(base, index, release)
        catalog = read_catalog(inflate_index(data, where=where), where=where)
        store.keep_note(_TOPIC, index.digest, encode_catalog(catalog))
    return catalog


def _fetch_verified(base: str, index: IndexFile, release: Release) -> tuple[bytes, str]:
    failure: SourceError | None = None
    for path in (index.by_hash, index.path) if release.acquire_by_hash else (index.path,):
        where = f"{redact(base)}/{path}"
        try:
            data = read_url(f"{base}/{path}", limit=index.size)
        except SourceError as error:
            failure = failure or error
            continue
        found = Digest.of(data)
        if found == index.digest and len(data) == index.size:
            return data, where
        message = f"is not the file that the signed Release names: {found}, not {index.digest}"
        failure = VerificationError(message, where=where, hint="the mirror is being updated, or damaged: try again")
    raise failure or SourceError("cannot be had", where=redact(base))


def debian_urls(deb: LockedDeb, mirrors: Mirrors | None = None) -> tuple[str, ...]:
    """Where a locked package may be had, best first.

    Raises:
        SourceError: no mirror of its archive is configured.
    """
    return tuple(_join(base, deb.path) for base in (mirrors or find_mirrors()).of(deb.archive))


def _join(base: str, path: str) -> str:
    return f"{base}/{'/'.join(_quote(path))}"


def _quote(path: str) -> Iterator[str]:
    """Pool names hold ``+`` and ``~``, which mirrors take as they are; ``%3a`` stands for the colon of an epoch."""
    for part in path.split("/"):
        yield part.replace("%", "%25").replace(" ", "%20").replace("#", "%23").replace("?", "%3F")
