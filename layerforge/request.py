"""What a build asks for, before anyone is asked: the part of cog.yaml and its files that a lock depends on. Pure
but for reading the requirements files of the project.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from layerforge.config import Config
from layerforge.errors import ConfigError, Problem
from layerforge.oci import Digest, Platform, encode
from layerforge.progress import Reporter
from layerforge.requirements import Requirements, parse_packages, parse_requirements
from layerforge.runtime_files import runtime_requirements

REVISION = 1
"""Raised by hand when the same request should be resolved differently: every older lock is then stale."""


class Request(msgspec.Struct, frozen=True):
    """All that a lock depends on; ``minor`` is the Python wanted, as ``3.13``."""

    minor: str
    platforms: tuple[str, ...]
    packages: Requirements
    runtime: Requirements

    @property
    def digest(self) -> Digest:
        """What the lock made for this request carries as ``inputs``: when it differs, the lock is stale.

        Where a requirement was written is no part of it, nor is what was said about it.
        """
        parts = (self.minor, self.platforms, self.packages.identity, self.runtime.identity, REVISION)
        return Digest.of(encode(parts))


def make_request(config: Config, folder: Path, platforms: tuple[Platform, ...], reporter: Reporter) -> Request:
    """What ``config`` asks for, with the requirements files that it names in ``folder``.

    Raises:
        ConfigError: a requirements file is missing, or a requirement cannot be understood.
    """
    if config.python_requirements:
        name = config.python_requirements
        line = config.lines.get("build.python_requirements", 0)
        packages = parse_requirements(
            _read_text(folder, name, config.path, line), name, lambda path: _read_text(folder, path, name, 0)
        )
    else:
        packages = parse_packages(((entry.text, entry.line) for entry in config.python_packages), config.path)
    for notice in packages.notices:
        reporter.note(notice)
    runtime = parse_requirements(runtime_requirements(), "requirements.txt", lambda _: "")
    names = tuple(str(platform) for platform in platforms)
    return Request(config.python_version.short, names, packages, runtime)


def _read_text(folder: Path, name: str, named_in: str, line: int) -> str:
    path = folder / name
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        hint = "mend the name, or write the file"
        raise ConfigError((Problem(named_in, line, f"{name}: there is no such file", hint),)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError((Problem(name, 0, f"cannot be read: {error}"),)) from error
