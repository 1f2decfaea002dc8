"""The whole path: the command line, the fixtures' models, one store for all tests of this folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent.parent
LAYERFORGE = Path(sys.executable).parent / "layerforge"


class Result(NamedTuple):
    """What a call of the command line gave."""

    status: int
    stdout: str
    stderr: str


class Forge:
    """Calls the real command line in a process of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def __call__(
        self,
        *arguments: str | Path,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
        timeout: float = 300,
    ) -> Result:
        done = subprocess.run(
            [str(LAYERFORGE), *map(str, arguments)],
            cwd=cwd,
            env={**os.environ, "LAYERFORGE_HOME": str(self.home), **(environment or {})},
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def ok(self, *arguments: str | Path, **options: object) -> str:
        """Call, expect success, give stdout without the last line feed."""
        result = self(*arguments, **options)  # type: ignore[arg-type]
        assert result.status == 0, result.stderr
        return result.stdout.rstrip("\n")


@pytest.fixture(scope="session")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Forge:
    """The command line over one store that lives as long as the test session."""
    return Forge(tmp_path_factory.mktemp("forge") / "home")


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Copies of the fixtures, one of each for the session, so that no lock is written into the checkout."""
    folder = tmp_path_factory.mktemp("models")

    def copy(name: str) -> Path:
        destination = folder / name
        if not destination.exists():
            ignored = shutil.ignore_patterns("pylock.layerforge.toml", "__pycache__")
            shutil.copytree(ROOT / "fixtures" / name, destination, ignore=ignored)
        return destination

    return copy


@pytest.fixture(scope="session")
def locked(forge: Forge, models: Callable[[str], Path]) -> Callable[[str], Path]:
    """Like ``models``, with a fresh lock in the folder."""

    def lock(name: str) -> Path:
        folder = models(name)
        if not (folder / "pylock.layerforge.toml").exists():
            forge.ok("lock", folder)
        return folder

    return lock
