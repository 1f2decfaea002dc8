"""The package index: ``uv`` decides on versions, and for each of them one wheel is chosen for the platform."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import unquote, urlsplit

import tomli
from packaging.pylock import Package, PackageArchive, PackageWheel, Pylock, PylockValidationError
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename

from layerforge.errors import ImageError, LayerforgeError, ResolveError, SourceError
from layerforge.lock import LockedWheel
from layerforge.oci import Digest, Platform
from layerforge.progress import Reporter
from layerforge.requirements import RequirementLine, Requirements
from layerforge.sources.http import open_url, redact
from layerforge.sources.uv import Question, compile_requirements

_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
_OLDEST_GLIBC = {"x86_64": 5, "aarch64": 17}
_LEGACY = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
_CHUNK = 1 << 18


def lock_packages(
    requirements: Requirements,
    python: str,
    platform: Platform,
    glibc: int,
    previous: Sequence[LockedWheel],
    reporter: Reporter,
    *,
    task: str = "resolve packages",
) -> tuple[LockedWheel, ...]:
    """The wheels that satisfy ``requirements``, sorted by name, with ``bin`` empty.

    ``python`` is the version as exactly as it is known (``3.13`` or ``3.13.5``), ``glibc`` is the minor version of
    the glibc 2 below.
    A package of ``previous`` keeps its version, and its wheel, as long as it still fits. ``task`` is what the
    Reporter calls the work.

    Raises:
        ResolveError: they contradict each other, or a package has no wheel for the platform.
        SourceError: the index cannot be reached, or gave something unusable.
    """
    if not requirements.lines:
        return ()
    machine = _describe_target(platform)
    reporter.start(task)
    question = Question(requirements, python, machine, glibc, tuple(previous))
    text = compile_requirements(question, reporter)
    try:
        found = Pylock.from_dict(tomli.loads(text)).packages
    except (PylockValidationError, tomli.TOMLDecodeError) as error:
        raise SourceError(f"uv gave a lock that cannot be understood: {error}") from error
    ranks = {tag: rank for rank, tag in enumerate(list_tags(python, machine, glibc))}
    kept = {wheel.name: wheel for wheel in previous}
    chosen: list[LockedWheel] = []
    for package in found:
        accepted = _accepted_hashes(requirements, package.name)
        candidates = _list_wheels(package, requirements)
        wheel = choose_wheel(candidates, ranks, accepted, kept.get(package.name))
        if wheel is None:
            raise _no_wheel(package, candidates, accepted, platform, python, requirements)
        chosen.append(_lock_wheel(package, wheel, kept.get(package.name)))
    reporter.finish(task, f"{len(chosen)} packages")
    return tuple(sorted(chosen, key=lambda wheel: wheel.name))


def list_tags(python: str, machine: str, glibc: int) -> Iterator[Tag]:
    """The tags of wheels that run on CPython ``python`` under Linux with glibc ``2.<glibc>``, best first."""
    version = tuple(int(part) for part in python.split(".")[:2])
    platforms: list[str] = []
    for minor in range(glibc, _OLDEST_GLIBC[machine] - 1, -1):
        platforms.append(f"manylinux_2_{minor}_{machine}")
        if minor in _LEGACY:
            platforms.append(f"{_LEGACY[minor]}_{machine}")
    platforms.append(f"linux_{machine}")
    interpreter = f"cp{version[0]}{version[1]}"
    yield from cpython_tags(version, abis=[interpreter], platforms=platforms)
    yield from compatible_tags(version, interpreter, platforms)


def choose_wheel(
    wheels: Iterable[PackageWheel], ranks: dict[Tag, int], accepted: frozenset[str], kept: LockedWheel | None
) -> PackageWheel | None:
    """The best of ``wheels``: the one that is ``kept``, else by tag and build number; None if there is none.

    ``accepted`` are the sha256 digests that the requirement allows; empty for any.
    """
    best: tuple[tuple[int, int, str], PackageWheel] | None = None
    for wheel in wheels:
        if accepted and wheel.hashes.get("sha256", "") not in accepted:
            continue
        _, _, build, tags = parse_wheel_filename(wheel.filename)
        rank = min((ranks[tag] for tag in tags if tag in ranks), default=None)
        if rank is None:
            continue
        if kept is not None and wheel.hashes.get("sha256") == kept.digest.hex and wheel.filename == kept.filename:
            return wheel
        key = (rank, -(build[0] if build else 0), wheel.filename)
        if best is None or key < best[0]:
            best = (key, wheel)
    return best[1] if best else None


def _describe_target(platform: Platform) -> str:
    machine = _MACHINES.get(platform.architecture)
    if platform.os != "linux" or machine is None:
        hint = f"the platforms are {', '.join(f'linux/{name}' for name in _MACHINES)}"
        raise ResolveError(f"there are no wheels for {platform}", hint=hint)
    return machine


def _accepted_hashes(requirements: Requirements, name: str) -> frozenset[str]:
    lines = [line for line in (*requirements.lines, *requirements.constraints) if line.name == name]
    return frozenset(digest for line in lines for digest in line.hashes)


def _list_wheels(package: Package, requirements: Requirements) -> tuple[PackageWheel, ...]:
    if package.archive is not None:
        return (_describe_archive(package.archive),)
    if package.wheels is None:
        origin = requirements.find_origin(package.name)
        raise ResolveError(f"{package.name} has no wheel", where=origin.where if origin else "")
    return tuple(package.wheels)


def _describe_archive(archive: PackageArchive) -> PackageWheel:
    url = archive.url or ""
    return PackageWheel(name=_filename(url), url=url, size=archive.size, hashes=archive.hashes)


def _filename(url: str) -> str:
    return unquote(urlsplit(url).path.rpartition("/")[2])


def _lock_wheel(package: Package, wheel: PackageWheel, kept: LockedWheel | None) -> LockedWheel:
    if not wheel.url or urlsplit(wheel.url).scheme not in ("http", "https"):
        hint = "a lock holds only what every machine can fetch: take the package from an index on a server"
        raise SourceError(f"{wheel.filename} is only to be had at {wheel.path or wheel.url}", hint=hint)
    url = _without_user(wheel.url)
    digest, size = wheel.hashes.get("sha256", ""), wheel.size
    if kept is not None and digest == kept.digest.hex:
        size = size or kept.size
    if not digest:
        digest, size = _hash_url(wheel.url)
    elif not size:
        size = _measure_url(wheel.url)
    version = str(package.version or parse_wheel_filename(wheel.filename)[1])
    try:
        return LockedWheel(package.name, version, wheel.filename, url, size, Digest.from_hex(digest), "")
    except ImageError as error:
        raise SourceError(f"the index gave {digest!r} as its sha256", where=redact(url)) from error


def _without_user(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()


def _measure_url(url: str) -> int:
    """The size in bytes of what is at ``url``, for indexes that do not say."""
    with open_url(url) as response:
        size = response.headers.get("Content-Length", "")
    if not size.isdecimal():
        raise SourceError("the index does not say how large this wheel is", where=redact(url))
    return int(size)


def _hash_url(url: str) -> tuple[str, int]:
    hasher, size = hashlib.sha256(), 0
    with open_url(url) as response:
        while chunk := response.read(_CHUNK):
            hasher.update(chunk)
            size += len(chunk)
    return hasher.hexdigest(), size


def _no_wheel(
    package: Package,
    candidates: Sequence[PackageWheel],
    accepted: frozenset[str],
    platform: Platform,
    python: str,
    requirements: Requirements,
) -> LayerforgeError:
    origin: RequirementLine | None = requirements.find_origin(package.name)
    where = origin.where if origin else ""
    if accepted:
        hint = "add the digest of the wheel for this platform with --hash, or remove the hashes"
        message = f"no wheel of {package.name} {package.version} for {platform} has one of the hashes given"
        return ResolveError(message, where=where, hint=hint)
    tags = sorted({"-".join(re.sub(r"\.whl$", "", wheel.filename).split("-")[-3:]) for wheel in candidates})
    message = f"{package.name} {package.version} has no wheel for {platform} and Python {python}"
    exist = f"there are wheels for: {', '.join(tags[:6])}{', …' if len(tags) > 6 else ''}"
    return ResolveError(f"{message}; {exist}", where=where, hint="ask for a version that has one")
