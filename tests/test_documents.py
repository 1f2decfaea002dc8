"""The document of a project's folder, and that everybody gets the same one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from layerforge.config import decode_config
from layerforge.documents import load_schema
from layerforge.errors import SchemaError

ROOT = Path(__file__).parent.parent
CONFIG = decode_config(b'build:\n  python_version: "3.11"\nrun: "run.py:Runner"\nenvironment: [SIZE=5]\n', "cog.yaml")


class News:
    """Collects warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str, hint: str = "") -> None:
        self.warnings.append(f"{text} | {hint}")

    def start(self, task: str, total: int | None = None) -> None: ...
    def advance(self, task: str, amount: int) -> None: ...
    def finish(self, task: str, outcome: str) -> None: ...
    def note(self, text: str) -> None: ...


def test_the_version_and_the_environment_come_from_cog_yaml(tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text(
        "import os, sys\nfrom cog import Input\nV = '%d.%d' % sys.version_info[:2]\n"
        "class Runner:\n"
        "    def run(self, a: str = V, b: str = os.environ['SIZE'], c: str = os.getenv('X', '')) -> str: ...\n"
    )
    news = News()
    found = load_schema(tmp_path, CONFIG, None, news)["components"]["schemas"]["Input"]["properties"]
    assert [found[name]["default"] for name in "abc"] == ["3.11", "5", ""]
    assert len(news.warnings) == 1
    assert "run.py:5" in news.warnings[0]


def test_nothing_outside_the_folder_is_read(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (tmp_path / "outside.py").write_text("class Runner:\n    def run(self) -> str: ...\n")
    config = decode_config(b'build: {python_version: "3.11"}\nrun: "run.py:Runner"\n', "cog.yaml")
    (project / "run.py").write_text("from ..outside import Runner\n")
    with pytest.raises(SchemaError):
        load_schema(project, config)


def test_a_given_document_is_taken_as_it_is(tmp_path: Path) -> None:
    given = tmp_path / "schema.json"
    given.write_text('{"openapi": "3.0.2"}')
    assert load_schema(tmp_path, CONFIG, given) == {"openapi": "3.0.2"}
    given.write_text("[]")
    with pytest.raises(SchemaError, match="not a JSON object"):
        load_schema(tmp_path, CONFIG, given)
    given.write_text("{")
    with pytest.raises(SchemaError, match="cannot be used"):
        load_schema(tmp_path, CONFIG, given)


@pytest.mark.parametrize("name", ["hello", "digits", "thumbnail", "stream"])
def test_the_fixtures_have_documents(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    shutil.copytree(ROOT / "fixtures" / name, folder)
    config = decode_config((folder / "cog.yaml").read_bytes(), "cog.yaml")
    assert json.dumps(load_schema(folder, config))
