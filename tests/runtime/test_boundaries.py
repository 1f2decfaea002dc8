"""What the runtime's parts may import: the SDK and the worker nothing but the standard library, nobody the builder."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

RUNTIME = Path(__file__).parent.parent.parent / "runtime"
SERVER = RUNTIME / "layerforge_runtime"
WORKER = SERVER / "isolated" / "layerforge_worker"
STANDARD = frozenset(sys.stdlib_module_names)


def imports(path: Path) -> set[str]:
    """The top-level modules that a file imports, except those that only type checkers import."""
    found: set[str] = set()
    tree = ast.parse(path.read_bytes())
    skipped = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and isinstance(block.test, ast.Name) and block.test.id == "TYPE_CHECKING"
        for statement in block.body
        for node in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").partition(".")[0])
    return found


def files(folder: Path) -> list[Path]:
    found = sorted(folder.rglob("*.py"))
    assert found
    return found


@pytest.mark.parametrize("path", files(RUNTIME / "cog"), ids=lambda path: path.stem)
def test_the_sdk_needs_the_standard_library_only(path: Path) -> None:
    assert imports(path) <= STANDARD


@pytest.mark.parametrize("path", files(WORKER), ids=lambda path: path.stem)
def test_the_worker_needs_the_standard_library_and_the_sdk_only(path: Path) -> None:
    assert imports(path) <= STANDARD | {"cog"}


@pytest.mark.parametrize("path", [path for path in files(SERVER) if WORKER not in path.parents], ids=lambda p: p.stem)
def test_the_server_needs_its_two_packages_only(path: Path) -> None:
    assert imports(path) <= STANDARD | {"layerforge_runtime", "granian", "msgspec", "layerforge_worker"}


def test_of_the_worker_the_server_uses_the_form_of_frames_only() -> None:
    for path in files(SERVER):
        if WORKER not in path.parents:
            modules = {
                node.module for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, ast.ImportFrom)
            }
            found = {module for module in modules if module and module.startswith("layerforge_worker")}
            assert found <= {"layerforge_worker.framing"}, path
    assert imports(WORKER / "framing.py") <= STANDARD


def test_nothing_imports_the_builder() -> None:
    for path in files(RUNTIME):
        assert "layerforge" not in imports(path), path


def test_the_builder_does_not_import_the_runtime() -> None:
    for path in files(RUNTIME.parent / "layerforge"):
        assert not imports(path) & {"cog", "layerforge_runtime", "layerforge_worker", "granian"}, path


def test_no_module_of_the_worker_is_found_beside_the_standard_library() -> None:
    # While the worker starts, this folder is first on its path.
    assert {path.name for path in WORKER.parent.iterdir()} - {"__pycache__"} == {"layerforge_worker"}


def test_the_launcher_imports_only_what_every_interpreter_has_loaded() -> None:
    # It runs with the model's folder first on the path, where a json.py may lie.
    assert imports(RUNTIME / "cog/server/http.py") <= {"os", "sys"}
    assert imports(RUNTIME / "cog/server/__init__.py") == set()
