"""Standalone builds of CPython (python-build-standalone): which one a model gets, and where it is.

Their programs need nothing but glibc 2.17 or later, so they run on every release that images are made of.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

from layerforge.errors import LayerforgeError, SourceError
from layerforge.layers.standalone import HOME
from layerforge.lock import LockedPython, PlatformLock
from layerforge.oci import Platform
from layerforge.progress import Reporter
from layerforge.sources.http import read_url, redact
from layerforge.sources.pythons.archive import pin_archive
from layerforge.sources.pythons.catalogue import MACHINES, Build, find_builds, parse_downloads, parse_listing
from layerforge.sources.pythons.choice import Answer, Obstacle
from layerforge.sources.pythons.mirrors import ArchiveSettings, read_archive_settings
from layerforge.sources.uv import find_program
from layerforge.store import Store

_PASSED_ON = ("PATH", "HOME", "TMPDIR", "LANG")


def find_standalone(
    wanted: str,
    platform: Platform,
    likely: LockedPython | None,
    store: Store,
    reporter: Reporter,
    environment: Mapping[str, str] = os.environ,
) -> Answer:
    """The standalone build of Python ``wanted`` (``3.12`` or ``3.12.4``) for ``platform``, or why there is none.

    The archive of ``likely``, which must be this platform's, is kept where it fits; its version where it has none; else
    the newest is taken.
    """
    machine = MACHINES.get(platform.architecture) if platform.os == "linux" else None
    if machine is None:
        return Obstacle(f"there is no standalone build for {platform}")
    kept = likely if likely is not None and likely.provider == "standalone" and _fits(likely, wanted) else None
    if kept is not None and kept.archive is not None:
        return _describe(kept)
    settings = read_archive_settings(environment)
    try:
        builds = find_builds(read_catalogue(wanted, settings, environment), wanted, machine)
        same = tuple(build for build in builds if kept is not None and build.version == kept.version)
        if not builds:
            return Obstacle(f"the catalogue of standalone builds has no Python {wanted} for {machine}")
        build = (*same, *builds)[0]
        archive = pin_archive(build, settings, store, reporter)
    except LayerforgeError as error:
        return Obstacle(f"the standalone build cannot be had: {error}")
    minor = ".".join(build.version.split(".")[:2])
    return _describe(LockedPython(minor, build.version, "standalone", archive=archive))


def likely_python(section: PlatformLock | None, name: str) -> LockedPython | None:
    """The Python of ``section`` for :func:`find_standalone`: without the archive if that is not for ``name``."""
    if section is None or section.platform == name:
        return section.python if section is not None else None
    return msgspec.structs.replace(section.python, archive=None)


def _fits(python: LockedPython, wanted: str) -> bool:
    return wanted in (python.minor, python.version)


def _describe(python: LockedPython) -> LockedPython:
    reason = f"a standalone build of Python {python.version}"
    return LockedPython(python.minor, python.version, "standalone", HOME, reason, python.archive)


def read_catalogue(wanted: str, settings: ArchiveSettings, environment: Mapping[str, str]) -> tuple[Build, ...]:
    """The builds of Python ``wanted``, perhaps among others: from the catalogue that is set, else from uv's own.

    Raises:
        SourceError: it cannot be read or understood, or uv cannot be run.
    """
    if settings.catalogue:
        return parse_downloads(_read(settings.catalogue), redact(settings.catalogue))
    command = [find_program(), "python", "list", wanted, "--all-versions", "--all-platforms", "--all-arches"]
    command += ["--only-downloads", "--output-format", "json", "--no-config"]
    try:
        passed = {name: environment[name] for name in _PASSED_ON if name in environment}
        done = subprocess.run(command, capture_output=True, env=passed, check=False)
    except OSError as error:
        hint = "install uv into the environment that Layerforge runs in"
        raise SourceError(f"uv cannot be run: {error.strerror}", where=command[0], hint=hint) from error
    if done.returncode:
        raise SourceError(f"uv: {done.stderr.decode('utf-8', 'replace').strip()}", where="uv python list")
    return parse_listing(done.stdout)


def _read(location: str) -> bytes:
    parts = urlsplit(location)
    if parts.scheme in ("http", "https"):
        return read_url(location)
    path = Path(unquote(parts.path) if parts.scheme == "file" else location)
    try:
        return path.read_bytes()
    except OSError as error:
        hint = "mend UV_PYTHON_DOWNLOADS_JSON_URL, or python-downloads-json-url in uv.toml"
        raise SourceError(f"cannot be read: {error.strerror}", where=str(path), hint=hint) from error
