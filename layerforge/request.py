"""What a build asks for, before anyone is asked: the part of cog.yaml and its files that a lock depends on. Pure
but for reading the requirements files of the project.
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from layerforge.config import Config, Entry
from layerforge.errors import ConfigError, Problem
from layerforge.lock import Wanted
from layerforge.oci import Digest, Platform
from layerforge.progress import Reporter
from layerforge.requirements import Requirements, parse_packages, parse_project, parse_requirements
from layerforge.runtime_files import runtime_requirements, runtime_root
from layerforge.sources.local import digest_local

REVISION = 3
"""Raised by hand when the same request should be resolved differently: every older lock is then stale."""


class Request(msgspec.Struct, frozen=True):
    """All that a lock depends on, and for which platforms it is wanted.

    ``python`` is the version wanted, as ``3.13`` or ``3.13.5``, ``provider`` where it shall come from (empty:
    anywhere), ``base`` the reference of an image at the bottom (empty: Debian, from its packages). ``system`` are names
    of Debian packages with their lines in the file ``path``. ``local`` are the files and folders of the project that
    packages are taken from, with their digests; ``project`` is the model's folder. ``max_layers`` is the budget of
    layers (0: the default). With ``build_network`` packages that are built from source may reach the network.
    """

    python: str
    provider: str
    base: str
    system: tuple[Entry, ...]
    platforms: tuple[str, ...]
    packages: Requirements
    runtime: Requirements
    path: str = "cog.yaml"
    local: tuple[tuple[str, Digest], ...] = ()
    project: Path = Path()
    max_layers: int = 0
    build_network: bool = False

    @property
    def system_names(self) -> tuple[str, ...]:
        """The names of the Debian packages."""
        return tuple(entry.text.strip() for entry in self.system)

    def locate(self, name: str) -> tuple[str, int]:
        """The file and line in which the Debian package ``name`` is asked for."""
        return self.path, next((entry.line for entry in self.system if entry.text.strip() == name), 0)

    @property
    def minor(self) -> str:
        """The minor version of Python, as ``3.13``."""
        return ".".join(self.python.split(".")[:2])

    @property
    def wanted(self) -> Wanted:
        """What the lock made for this request says it was made for: when that differs, the lock is stale.

        Where a requirement was written is no part of it, nor is what was said about it. Nor are the platforms: a lock
        may hold more of them than are built.
        """
        return Wanted(
            python=self.python,
            provider=self.provider,
            base=self.base,
            system=tuple(sorted(dict.fromkeys(self.system_names))),
            packages=(*map(_without_secrets, self.packages.identity), *self._local_identity),
            runtime=tuple(map(_without_secrets, self.runtime.identity)),
            revision=REVISION,
            max_layers=self.max_layers,
        )

    @property
    def _local_identity(self) -> tuple[str, ...]:
        return tuple(f"{path} ({digest})" for path, digest in self.local)


def _without_secrets(text: str) -> str:
    """``text`` without what URLs in it have before the host and in the query: passwords and signatures."""
    return re.sub(r"(?<=://)[^/\s@]*@|(?<=[^\s?#])\?[^\s#]*(?=\s|#|$)", "", text) if "://" in text else text


def make_request(config: Config, folder: Path, platforms: tuple[Platform, ...], reporter: Reporter) -> Request:
    """What ``config`` asks for, with the requirements files that it names in ``folder``.

    Raises:
        ConfigError: a requirements file is missing, or a requirement cannot be understood.
    """
    packages = _read_packages(config, ProjectFolder(folder))
    for notice in packages.notices:
        reporter.note(notice)
    runtime = parse_requirements(runtime_requirements(), "requirements.txt", ProjectFolder(runtime_root()))
    names = tuple(str(platform) for platform in platforms)
    return Request(
        python=str(config.python_version),
        provider=config.settings.python,
        base=config.settings.base,
        system=config.system_packages,
        platforms=names,
        packages=packages,
        runtime=runtime,
        path=config.path,
        local=digest_local(folder, packages),
        project=folder,
        max_layers=config.settings.max_layers,
        build_network=config.settings.build_network,
    )


class ProjectFolder:
    """The files in a folder, as requirements are read with."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, path: str) -> str:
        """The text of a file."""
        return (self._root / path).read_text("utf-8")

    def kind(self, path: str) -> str:
        """``file``, ``folder`` or nothing; nothing, too, for what a link leads out of the folder to."""
        place = self._root / path
        if not place.resolve().is_relative_to(self._root.resolve()):
            return ""
        return "folder" if place.is_dir() else "file" if place.is_file() else ""


def _read_packages(config: Config, files: ProjectFolder) -> Requirements:
    name, chosen = config.python_requirements, config.settings.packages
    if chosen.file:
        named = (config.path, config.lines.get("layerforge.packages", 0))
        return parse_project(chosen.file, chosen.extras, chosen.groups, files, named)
    if not name:
        return parse_packages(((entry.text, entry.line) for entry in config.python_packages), config.path, files)
    try:
        text = files.read(name)
    except FileNotFoundError:
        line = config.lines.get("build.python_requirements", 0)
        hint = "mend the name, or write the file"
        raise ConfigError((Problem(config.path, line, f"{name}: there is no such file", hint),)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError((Problem(name, 0, f"cannot be read: {error}"),)) from error
    return parse_requirements(text, name, files)
