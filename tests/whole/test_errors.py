"""Bad input: one error with its place and a hint, exit 1, nothing half-written, never a traceback."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import free_port
from tests.whole.conftest import LAYERFORGE, ROOT, Forge, Result


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    shutil.copytree(ROOT / "fixtures" / "hello", folder, ignore=shutil.ignore_patterns("pylock*"))
    return folder


def fails(result: Result, *words: str) -> None:
    assert result.status == 1, result
    assert result.stdout == ""
    assert "error:" in result.stderr
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr, result.stderr


def edit(model: Path, before: str, after: str) -> None:
    path = model / "cog.yaml"
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


def test_no_cog_yaml(forge: Forge, tmp_path: Path) -> None:
    fails(forge("build", tmp_path), "no cog.yaml", "hint:")
    fails(forge("build", cwd=tmp_path), "no cog.yaml", "hint:")


def test_an_unknown_key(forge: Forge, model: Path) -> None:
    edit(model, "python_version", "python_verion")
    fails(forge("build", model), "cog.yaml:", "python_verion", "hint:", "python_version")
    assert not (model / "pylock.layerforge.toml").exists()


def test_text_that_is_not_yaml(forge: Forge, model: Path) -> None:
    (model / "cog.yaml").write_text("build: [unclosed\nrun: x")
    fails(forge("build", model), "cog.yaml:")


@pytest.mark.parametrize(
    "line",
    ["gpu: true", "run: ['echo hello']", "pre_install: ['true']"],
)
def test_what_comes_later_is_refused(forge: Forge, model: Path, line: str) -> None:
    edit(model, "build:\n", f"build:\n  {line}\n")
    fails(forge("build", model), "cog.yaml:", line.partition(":")[0])


def test_a_missing_file_class_or_method(forge: Forge, model: Path) -> None:
    source = (model / "run.py").read_text()
    edit(model, "run.py:Runner", "rum.py:Runner")
    fails(forge("build", model), "rum.py", "hint:")
    edit(model, "rum.py:Runner", "run.py:Runer")
    fails(forge("build", model), "Runer", "Runner")
    edit(model, "run.py:Runer", "run.py:Runner")
    (model / "run.py").write_text(source.replace("def run(", "def ran("))
    fails(forge("build", model), "run.py")
    (model / "run.py").write_text(source + "\ndef broken(:\n")
    fails(forge("build", model), "run.py:")
    assert not (model / "pylock.layerforge.toml").exists()


@pytest.mark.network
def test_a_run_file_that_is_ignored(forge: Forge, model: Path) -> None:
    (model / ".dockerignore").write_text("*.py\n")
    fails(forge("build", model), "run.py", "excluded", "hint:", "!run.py")
    (model / ".dockerignore").write_text("*.py\n!run.py\n")
    forge.ok("build", model)


@pytest.mark.network
def test_a_package_that_does_not_exist(forge: Forge, model: Path) -> None:
    edit(model, "build:\n", 'build:\n  python_packages: ["layerforge-has-no-such-package==1.0"]\n')
    fails(forge("build", model), "layerforge-has-no-such-package")
    assert not (model / "pylock.layerforge.toml").exists()


@pytest.mark.network
def test_a_package_without_a_wheel(forge: Forge, model: Path) -> None:
    edit(model, "build:\n", 'build:\n  python_packages: ["docopt==0.6.2", "--only-binary :all:"]\n')
    fails(forge("build", model), "docopt", "wheel", "hint:")


@pytest.mark.network
@pytest.mark.sandbox
def test_a_package_that_wants_a_compiler(forge: Forge, model: Path) -> None:
    edit(model, "build:\n", 'build:\n  python_packages: ["pyahocorasick==2.1.0 --no-binary pyahocorasick"]\n')
    fails(forge("build", model), "cog.yaml:2: ", "pyahocorasick", "system_packages: build-essential, python3-dev")


@pytest.mark.network
def test_requirements_that_conflict(forge: Forge, model: Path) -> None:
    edit(model, "build:\n", 'build:\n  python_packages: ["jinja2==3.1.4", "markupsafe<1"]\n')
    fails(forge("build", model), "markupsafe")


def test_an_unreachable_mirror(forge: Forge, model: Path, tmp_path: Path) -> None:
    mirror = f"http://127.0.0.1:{free_port()}/debian"
    settings = {"LAYERFORGE_DEBIAN_MIRROR": mirror, "LAYERFORGE_DEBIAN_SECURITY_MIRROR": mirror}
    fails(Forge(tmp_path / "home")("build", model, environment=settings), mirror, "cannot be reached", "hint:")


@pytest.mark.network
def test_an_unreachable_registry(forge: Forge, locked: Callable[[str], Path]) -> None:
    address = f"127.0.0.1:{free_port()}"
    result = forge("build", locked("hello"), "--locked", "--push", "-t", f"{address}/hello:v1")
    fails(result, address, "hint:")


def test_bad_references_and_outputs_are_found_before_anything_is_built(forge: Forge, model: Path) -> None:
    started = time.monotonic()
    fails(forge("build", model, "-t", "Upper/CASE:v1"), "Upper/CASE")
    fails(forge("build", model, "--output", "zip:/x"), "zip", "hint:")
    assert time.monotonic() - started < 10
    assert not (model / "pylock.layerforge.toml").exists()


def test_a_missing_stale_or_damaged_lock(forge: Forge, model: Path) -> None:
    fails(forge("build", model, "--locked"), "pylock.layerforge.toml", "hint:", "layerforge lock")
    (model / "pylock.layerforge.toml").write_text("lock-version = \n")
    fails(forge("build", model, "--locked"), "pylock.layerforge.toml:1")


@pytest.mark.network
def test_a_stale_lock(forge: Forge, model: Path) -> None:
    forge.ok("lock", model)
    edit(model, "build:\n", 'build:\n  python_packages: ["six==1.16.0"]\n')
    fails(forge("build", model, "--locked"), "does not fit", "layerforge lock")
    fails(forge("lock", model, "--check"), "does not fit")


def test_wrong_usage_is_status_2(forge: Forge) -> None:
    result = forge("build", "--no-such-option")
    assert result.status == 2
    assert "no-such-option" in result.stderr
    assert forge("biuld").status == 2


def test_help_is_quick_to_load() -> None:
    script = (
        "import sys, layerforge.cli as c; from click.testing import CliRunner; CliRunner().invoke(c.cli, ['--help'])"
    )
    script += "; print([m for m in ('urllib3', 'rich', 'oras', 'msgspec', 'yaml') if m in sys.modules])"
    python = LAYERFORGE.parent / "python"
    done = subprocess.run([str(python), "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_command_has_help(forge: Forge) -> None:
    for name in ("build", "lock", "run", "serve"):
        assert "Usage: " in forge.ok(name, "--help")
