"""The architecture, as a test: pure modules stay pure, and the two distributions stay apart."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PURE = [
    "layerforge.abi.demands",
    "layerforge.abi.verdict",
    "layerforge.base_image",
    "layerforge.bins",
    "layerforge.budget",
    "layerforge.config",
    "layerforge.errors",
    "layerforge.ignore",
    "layerforge.image",
    "layerforge.lock",
    "layerforge.lockedits",
    "layerforge.lockfile",
    "layerforge.oci",
    "layerforge.origin",
    "layerforge.plan",
    "layerforge.progress",
    "layerforge.project",
    "layerforge.reference",
    "layerforge.requirements",
    "layerforge.schema",
    "layerforge.staleness",
    "layerforge.sources.pythons.catalogue",
    "layerforge.sources.pythons.choice",
    "layerforge.sources.pythons.relocation",
    "layerforge.shell.evaluate",
]
FORBIDDEN = {"socket", "subprocess", "http.client", "urllib3", "sqlite3", "oras", "requests"}
EFFECTFUL = {"store", "states", "scan", "build", "resolve", "workbench", "forge", "registry", "cli", "engines", "sinks"}


@pytest.mark.parametrize("module", PURE)
def test_pure_modules_bring_no_effects(module: str) -> None:
    script = f"import sys; before = set(sys.modules); import {module}; print(*sorted(set(sys.modules) - before))"
    result = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True)
    loaded = set(result.stdout.split())
    effects = {name for name in loaded if name.startswith("layerforge.") and name.split(".")[1] in EFFECTFUL}
    assert not (loaded & FORBIDDEN) | effects


def test_a_build_that_finds_everything_done_does_not_wait_for_imports() -> None:
    script = "import sys; import layerforge.forge; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    slow = {"ssl", "http.client", "urllib3", "oras", "email.parser", "packaging.pylock", "pathspec", "elftools"}
    assert not set(result.stdout.split()) & slow


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").partition(".")[0])
    return found


def test_builder_and_runtime_do_not_import_each_other() -> None:
    for path in (ROOT / "layerforge").rglob("*.py"):
        assert not _imports(path) & {"cog", "layerforge_runtime", "granian"}, path
    for path in (ROOT / "runtime").rglob("*.py"):
        assert "layerforge" not in _imports(path), path


def test_only_the_tar_writer_writes_headers() -> None:
    for path in (ROOT / "layerforge").rglob("*.py"):
        text = path.read_text()
        assert "TarInfo(" not in text, path
        assert r"\x1f\x8b" not in text or path.name == "compression.py", path
