"""The README's words, followed by someone who knows nothing else."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.whole.conftest import LAYERFORGE, ROOT, Forge

README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.mark.network
@pytest.mark.sandbox
def test_the_use_section_works_as_written(forge: Forge, tmp_path: Path) -> None:
    (yaml,) = blocks("yaml")
    (code,) = blocks("python")
    (tmp_path / "cog.yaml").write_text(yaml)
    (tmp_path / "run.py").write_text(code)
    environment = {
        **os.environ,
        "LAYERFORGE_HOME": str(forge.home),
        "LAYERFORGE_ENGINE": "sandbox",
        "PATH": f"{LAYERFORGE.parent}:{os.environ['PATH']}",
    }
    outputs = []
    for block in blocks("bash"):
        done = subprocess.run(
            ["bash", "-euc", block], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout)
    assert re.fullmatch(r"sha256:[0-9a-f]{64}\nHello, Ada!\n", outputs[0])
    assert (tmp_path / "pylock.layerforge.toml").is_file()
    assert (tmp_path / "model.tar").stat().st_size > 10_000_000


@pytest.mark.network
@pytest.mark.sandbox
@pytest.mark.registry
def test_the_demo_runs(forge: Forge) -> None:
    environment = {**os.environ, "LAYERFORGE_HOME": str(forge.home), "LAYERFORGE_ENGINE": "sandbox"}
    done = subprocess.run(["make", "demo"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"digit": 0' in done.stdout


def test_files_that_the_readme_names_exist() -> None:
    for path in re.findall(r"\]\(([^):]+)\)", README):
        assert (ROOT / path).exists(), path
    assert "BENCHMARK-TABLE" not in README
