from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from layerforge.errors import ResolveError
from layerforge.oci import LINUX_AMD64, LINUX_ARM64
from layerforge.progress import SILENCE
from layerforge.requirements import Requirements
from layerforge.sources.export import fits_in_short
from layerforge.sources.index import lock_packages
from layerforge.sources.local import digest_local
from layerforge.sources.tags import Target
from layerforge.sources.uv import find_program
from tests.sources.test_index import LocalIndex, index, names  # noqa: F401
from tests.wheel_samples import make_wheel


@pytest.fixture
def project(index: LocalIndex, tmp_path: Path) -> Path:  # noqa: F811
    """A project that uv has locked."""
    for name in ("app", "fast", "serve", "test", "old", "intel", "cog"):
        index.add(name, requires=("lib",) if name == "app" else ("weight",) if name == "cog" else ())
    index.add("lib")
    index.add("weight")
    folder = tmp_path / "project"
    (folder / "wheels").mkdir(parents=True)
    (folder / "wheels/own-1.0-py3-none-any.whl").write_bytes(make_wheel("own"))
    (folder / "pyproject.toml").write_text(
        '[project]\nname = "model"\nversion = "1"\nrequires-python = ">=3.10"\n'
        "dependencies = ['app', 'cog', 'own', "
        "\"old; python_version < '3.12'\", \"intel; platform_machine == 'x86_64'\"]\n"
        '[project.optional-dependencies]\nspeed = ["fast"]\n'
        '[dependency-groups]\ndev = ["test"]\nserve = ["serve"]\n'
        '[tool.uv.sources]\nown = {path = "wheels/own-1.0-py3-none-any.whl"}\n'
    )
    write_lock(folder)
    return folder


def write_lock(folder: Path) -> None:
    command = [
        find_program(),
        "lock",
        "--default-index",
        os.environ["PIP_INDEX_URL"],
        "--quiet",
        "--python",
        sys.executable,
    ]
    subprocess.run(command, cwd=folder, check=True)


def lock(folder: Path, python: str = "3.13.1", arm: bool = False, **options: tuple[str, ...]) -> list[str]:
    target = Target(python, LINUX_ARM64 if arm else LINUX_AMD64, 41)
    asked = Requirements(frozen="uv.lock", **options)  # type: ignore[arg-type]
    return list(names(lock_packages(asked, target, (), SILENCE, project=folder)))


def test_what_uv_has_locked_for_each_target(project: Path) -> None:
    assert lock(project) == ["app 1.0", "intel 1.0", "lib 1.0", "own 1.0"]
    assert lock(project, arm=True) == ["app 1.0", "lib 1.0", "own 1.0"]
    assert "old 1.0" in lock(project, "3.11.2")
    assert {"fast 1.0", "serve 1.0"} <= set(lock(project, extras=("speed",), groups=("serve",)))


def test_a_stale_lock_is_refused(project: Path) -> None:
    path = project / "pyproject.toml"
    before = digest_local(project, Requirements(frozen="uv.lock"))
    path.write_text(path.read_text().replace("'app'", "'app<1'"))
    assert digest_local(project, Requirements(frozen="uv.lock")) != before
    with pytest.raises(ResolveError, match="does not fit") as caught:
        lock(project)
    assert caught.value.where == "uv.lock"
    assert "uv lock" in caught.value.hint


def test_what_the_lock_does_not_have(project: Path) -> None:
    with pytest.raises(ResolveError, match="nope"):
        lock(project, extras=("nope",))
    with pytest.raises(ResolveError, match="nope"):
        lock(project, groups=("nope",))
    path = project / "pyproject.toml"
    path.write_text(path.read_text().replace(">=3.10", ">=3.11"))
    write_lock(project)
    with pytest.raises(ResolveError, match=r"is for Python >=3\.11"):
        lock(project, "3.10.2")


def test_where_no_python_here_is_allowed(project: Path) -> None:
    for name in ("pyproject.toml", "uv.lock"):
        text = (project / name).read_text()
        (project / name).write_text(text.replace('requires-python = ">=3.10"', 'requires-python = ">=3.99"'))
    assert fits_in_short(project)
    assert "app 1.0" in lock(project, "3.99.0")
    path = project / "pyproject.toml"
    path.write_text(path.read_text().replace("'app'", "'app<1'"))
    with pytest.raises(ResolveError, match="does not fit"):
        lock(project, "3.99.0")


def test_files_that_the_lock_names_are_part_of_what_staleness_goes_by(project: Path) -> None:
    asked = Requirements(frozen="uv.lock")
    before = digest_local(project, asked)
    assert "wheels/own-1.0-py3-none-any.whl" in dict(before)
    (project / "wheels/own-1.0-py3-none-any.whl").write_bytes(b"")
    assert digest_local(project, asked) != before
