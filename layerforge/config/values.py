"""What a ``cog.yaml`` says, as values."""

from __future__ import annotations

from typing import Any

import msgspec

from layerforge.errors import Problem

DEFAULT_PYTHON = 13
"""The minor version used where ``build.python_version`` is absent."""


class Entry(msgspec.Struct, frozen=True):
    """One item of a list, as written, and its line."""

    text: str
    line: int


class PythonVersion(msgspec.Struct, frozen=True):
    """``3.<minor>`` or ``3.<minor>.<patch>``."""

    minor: int = DEFAULT_PYTHON
    patch: int | None = None

    def __str__(self) -> str:
        return self.short if self.patch is None else f"{self.short}.{self.patch}"

    @property
    def short(self) -> str:
        """Major and minor: ``3.13``."""
        return f"3.{self.minor}"


class Target(msgspec.Struct, frozen=True):
    """``file.py:Name``: where the model's class or function is. ``mode`` is the key that named it."""

    file: str
    name: str
    line: int
    mode: str

    def __str__(self) -> str:
        return f"{self.file}:{self.name}"


class Mount(msgspec.Struct, frozen=True):
    """A secret that a command sees while it runs."""

    type: str
    id: str
    target: str


class Command(msgspec.Struct, frozen=True):
    """One item of ``build.run``."""

    command: str
    line: int
    mounts: tuple[Mount, ...] = ()


class Concurrency(msgspec.Struct, frozen=True):
    """How many predictions may run at once."""

    max: int
    default_target: int | None = None


class WeightSource(msgspec.Struct, frozen=True):
    """Where weight files come from."""

    uri: str
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


class Weight(msgspec.Struct, frozen=True):
    """A named folder of weights and where it goes in the container (an absolute path)."""

    name: str
    target: str
    sources: tuple[WeightSource, ...]
    line: int


class PackageFile(msgspec.Struct, frozen=True):
    """A ``pyproject.toml`` or ``uv.lock`` with the extras and dependency groups to take; no file: not given."""

    file: str = ""
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


class Settings(msgspec.Struct, frozen=True):
    """Layerforge's own settings, the ``layerforge:`` block. Empty means not given."""

    base: str = ""
    python: str = ""
    platforms: tuple[str, ...] = ()
    compression: str = ""
    bytecode: bool = True
    max_layers: int = 0
    ignore: tuple[Entry, ...] = ()
    build_network: bool = False
    packages: PackageFile = PackageFile()


class Config(msgspec.Struct, frozen=True):
    """A whole ``cog.yaml``.

    ``lines`` gives the line of every key that was set, by its dotted name (``build.python_version``).
    ``warnings`` are for the user to read; nothing else depends on them.
    """

    path: str
    python_version: PythonVersion = PythonVersion()
    gpu: bool = False
    cuda: str = ""
    cudnn: str = ""
    sdk_version: str = ""
    python_requirements: str = ""
    python_packages: tuple[Entry, ...] = ()
    system_packages: tuple[Entry, ...] = ()
    pre_install: tuple[Entry, ...] = ()
    build_commands: tuple[Command, ...] = ()
    target: Target | None = None
    train: Target | None = None
    image: str = ""
    model: str = ""
    environment: tuple[Entry, ...] = ()
    concurrency: Concurrency | None = None
    weights: tuple[Weight, ...] = ()
    settings: Settings = Settings()
    lines: dict[str, int] = {}
    warnings: tuple[Problem, ...] = ()

    @property
    def env(self) -> tuple[tuple[str, str], ...]:
        """``environment`` as (name, value) pairs, in file order."""
        pairs = (entry.text.partition("=") for entry in self.environment)
        return tuple((name, value) for name, _, value in pairs)

    @property
    def source(self) -> dict[str, Any]:
        """The configuration as the label ``run.cog.config`` holds it.

        Field names and the omission of empty fields: Cog's ``pkg/config/config.go``, ``Config`` and ``Build``
        (``run`` is written under its old name, ``predict``).
        """
        build = {
            "gpu": self.gpu,
            "python_version": str(self.python_version),
            "python_requirements": self.python_requirements,
            "python_packages": [entry.text for entry in self.python_packages],
            "run": [_plain_command(command) for command in self.build_commands],
            "system_packages": [entry.text for entry in self.system_packages],
            "pre_install": [entry.text for entry in self.pre_install],
            "cuda": self.cuda,
            "cudnn": self.cudnn,
            "sdk_version": self.sdk_version,
        }
        document = {
            "image": self.image,
            "model": self.model,
            "predict": str(self.target or ""),
            "train": str(self.train or ""),
            "concurrency": {"max": self.concurrency.max} if self.concurrency else None,
            "environment": [entry.text for entry in self.environment],
            "weights": [_plain_weight(weight) for weight in self.weights],
        }
        return {"build": _without_empty(build), **_without_empty(document)}


def _without_empty(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if value}


def _plain_command(command: Command) -> dict[str, Any]:
    mounts = [msgspec.to_builtins(mount) for mount in command.mounts]
    return _without_empty({"command": command.command, "mounts": mounts})


def _plain_weight(weight: Weight) -> dict[str, Any]:
    sources = [_without_empty(msgspec.to_builtins(source)) for source in weight.sources]
    return {"name": weight.name, "target": weight.target, "source": sources[0] if len(sources) == 1 else sources}
