"""The catalogue of standalone builds of CPython: which archives there are. Pure.

It has two forms: what ``uv python list --output-format json`` prints, and the file that uv's setting
``UV_PYTHON_DOWNLOADS_JSON_URL`` names. The second one has digests.
Source: uv, ``crates/uv/src/commands/python/list.rs`` and ``crates/uv-python/src/downloads.rs``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import msgspec

from layerforge.errors import SourceError

MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
"""The catalogue's name for the processor of each platform."""

_SUFFIXES = (".tar.gz", ".tgz", ".tar.zst")
_HINT = "it should have the form of uv's download-metadata.json: see docs/python.md"


class Build(msgspec.Struct, frozen=True):
    """One archive of CPython for Linux with glibc: ``version`` as ``3.12.4``, ``machine`` as ``x86_64``.

    ``sha256`` is empty where the catalogue does not say it.
    """

    version: str
    machine: str
    url: str
    sha256: str = ""

    @property
    def numbers(self) -> tuple[int, ...]:
        """The version, to compare by."""
        return tuple(int(part) for part in self.version.split("."))


class _Listed(msgspec.Struct):
    version: str
    implementation: str
    os: str
    arch: str
    libc: str
    variant: str = "default"
    url: str | None = None


class _Processor(msgspec.Struct):
    family: str
    variant: str | None = None


class _Described(msgspec.Struct):
    name: str
    arch: _Processor | str
    os: str
    libc: str
    major: int
    minor: int
    patch: int
    url: str
    prerelease: str | None = None
    variant: str | None = None
    sha256: str | None = None


def parse_listing(data: bytes) -> tuple[Build, ...]:
    """The builds in what ``uv python list`` printed; other systems, variants and pre-releases are passed over.

    Raises:
        SourceError: it is not what uv prints.
    """
    try:
        items = msgspec.json.decode(data, type=list[_Listed])
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise SourceError(f"gave a list that cannot be understood: {error}", where="uv python list") from error
    return tuple(
        Build(item.version, item.arch, item.url)
        for item in items
        if (item.implementation, item.os, item.libc, item.variant) == ("cpython", "linux", "gnu", "default")
        and item.url
        and _is_usable(item.version, item.url)
    )


def parse_downloads(data: bytes, where: str) -> tuple[Build, ...]:
    """The builds in a file of the form of uv's ``download-metadata.json``; ``where`` names it in messages.

    Raises:
        SourceError: it has another form.
    """
    try:
        items = msgspec.json.decode(data, type=dict[str, _Described])
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise SourceError(f"is no catalogue of Python builds: {error}", where=where, hint=_HINT) from error
    return tuple(_describe(items.values()))


def _describe(items: Iterable[_Described]) -> Iterator[Build]:
    for item in items:
        version = f"{item.major}.{item.minor}.{item.patch}"
        arch = item.arch if isinstance(item.arch, _Processor) else _Processor(item.arch)
        plain = not (item.prerelease or item.variant or arch.variant)
        if (item.name, item.os, item.libc) == ("cpython", "linux", "gnu") and plain and _is_usable(version, item.url):
            yield Build(version, arch.family, item.url, item.sha256 or "")


def _is_usable(version: str, url: str) -> bool:
    return re.fullmatch(r"\d+\.\d+\.\d+", version) is not None and url.endswith(_SUFFIXES)


def find_builds(builds: Iterable[Build], version: str, machine: str) -> tuple[Build, ...]:
    """Those of ``version`` (``3.12`` or ``3.12.4``) for ``machine``, newest first."""
    wanted = tuple(int(part) for part in version.split("."))
    fitting = (build for build in builds if build.machine == machine and build.numbers[: len(wanted)] == wanted)
    return tuple(sorted(fitting, key=lambda build: build.numbers, reverse=True))
