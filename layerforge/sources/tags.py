"""Which wheels run where: the tags and the environment of a target, and the best of several wheels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec
from packaging.markers import Environment, Marker
from packaging.pylock import PackageWheel
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename

from layerforge.errors import ResolveError
from layerforge.lock import LockedWheel
from layerforge.oci import Platform

_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
_OLDEST_GLIBC = {"x86_64": 5, "aarch64": 17}
_LEGACY = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}


class Target(msgspec.Struct, frozen=True):
    """What packages are chosen for.

    ``python`` is the version as exactly as it is known (``3.13`` or ``3.13.5``), ``glibc`` is the minor version of the
    glibc 2 below.
    """

    python: str
    platform: Platform
    glibc: int

    @property
    def machine(self) -> str:
        """``x86_64`` or ``aarch64``.

        Raises:
            ResolveError: there are no wheels for the platform.
        """
        return describe_machine(self.platform)

    @property
    def minor(self) -> str:
        """The minor version of Python, as ``3.13``."""
        return ".".join(self.python.split(".")[:2])

    def accepts(self, marker: str) -> bool:
        """Whether the environment ``marker`` is true (or empty)."""
        return not marker or Marker(marker).evaluate(dict(self.environment))  # type: ignore[arg-type]

    @property
    def environment(self) -> Environment:
        """The values of environment markers (PEP 508)."""
        full = self.python if self.python.count(".") > 1 else f"{self.python}.0"
        return {
            "implementation_name": "cpython",
            "implementation_version": full,
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": full,
            "python_version": self.minor,
            "sys_platform": "linux",
        }

    def rank_tags(self) -> dict[Tag, int]:
        """The tags of wheels that run there, with 0 for the best."""
        return {tag: rank for rank, tag in enumerate(list_tags(self.python, self.machine, self.glibc))}


def describe_machine(platform: Platform) -> str:
    """The processor of ``platform`` in the words of wheels.

    Raises:
        ResolveError: there are no wheels for it.
    """
    machine = _MACHINES.get(platform.architecture)
    if platform.os != "linux" or machine is None:
        hint = f"the platforms are {', '.join(f'linux/{name}' for name in _MACHINES)}"
        raise ResolveError(f"there are no wheels for {platform}", hint=hint)
    return machine


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
    wheels: Iterable[PackageWheel],
    ranks: Mapping[Tag, int],
    accepted: frozenset[str] = frozenset(),
    kept: LockedWheel | None = None,
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
