from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from layerforge.errors import SourceError
from layerforge.from_source.git import check_out, find_commit
from tests.conftest import require


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), "-c", "user.name=T", "-c", "user.email=t@e.org", *words],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, str]:
    """A repository with a tag, a branch and a later commit, and the https address that leads to it."""
    require(os.access("/usr/bin/git", os.X_OK), "git is not installed")
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main")
    (folder / "pyproject.toml").write_text('[build-system]\nrequires = ["setuptools-scm"]\n')
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "one")
    git(folder, "tag", "-a", "v1.0", "-m", "one")
    git(folder, "branch", "side")
    (folder / "more.py").write_text("")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "two")
    git(folder, "config", "uploadpack.allowAnySHA1InWant", "true")
    configuration = tmp_path / "gitconfig"
    url = "https://git.example.org/team/tool.git"
    configuration.write_text(f'[url "file://{folder}"]\n\tinsteadOf = {url}\n[protocol "file"]\n\tallow = always\n')
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(configuration))
    return folder, url


def test_what_references_mean(repository: tuple[Path, str]) -> None:
    folder, url = repository
    first, head = git(folder, "rev-parse", "v1.0^{}"), git(folder, "rev-parse", "main")
    assert find_commit(url, "", "") == head
    assert find_commit(url, "main", "") == head
    assert find_commit(url, "v1.0", "") == first  # the commit, not the tag
    assert find_commit(url, "side", "") == first
    assert find_commit(url, first.upper(), "") == first
    with pytest.raises(SourceError, match="there is no nothing in") as caught:
        find_commit(url, "nothing", "requirements.txt:3")
    assert caught.value.where == "requirements.txt:3"
    with pytest.raises(SourceError) as caught:
        find_commit(url, first[:8], "")
    assert "40 digits" in caught.value.hint


def test_the_files_of_a_commit_and_what_tells_its_version(repository: tuple[Path, str], tmp_path: Path) -> None:
    folder, url = repository
    head = git(folder, "rev-parse", "main")
    check_out(url, head, tmp_path / "out", "")
    assert (tmp_path / "out/more.py").is_file()
    archival = (tmp_path / "out/.git_archival.txt").read_text()
    assert f"node: {head}\ndescribe-name: v1.0-1-g" in archival
    check_out(url, git(folder, "rev-parse", "v1.0^{}"), tmp_path / "older", "")
    assert not (tmp_path / "older/more.py").exists()


def test_a_commit_that_has_vanished(repository: tuple[Path, str], tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"git cannot read https://git\.example\.org/team/tool\.git") as caught:
        check_out(repository[1], "0123456789" * 4, tmp_path / "out", "requirements.txt:1")
    assert "lock again" in caught.value.hint


def test_a_repository_that_cannot_be_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require(os.access("/usr/bin/git", os.X_OK), "git is not installed")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("TOKEN", "s3cret")
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    with pytest.raises(SourceError, match=r"git cannot read https://127\.0\.0\.1:9/x\.git") as caught:
        find_commit("https://${TOKEN}@127.0.0.1:9/x.git", "main", "")
    assert "s3cret" not in str(caught.value)


def test_without_git(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceError, match="no `git`"):
        find_commit("https://example.org/x.git", "main", "")
