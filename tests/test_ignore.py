from __future__ import annotations

import pytest

from layerforge.ignore import DockerIgnore, GitIgnore, is_never_wanted, keep_weights


@pytest.mark.parametrize(
    ("path", "excluded"),
    [
        ("a.log", True),
        ("b/a.log", False),  # in Docker a pattern starts at the root
        ("data/x", True),
        ("data/deep/x", True),
        ("data/keep.txt", False),
        ("z/tmp/q", True),
        ("tmp", True),
        ("foo/a.py", True),
        ("foo/b/a.py", False),
    ],
)
def test_docker_patterns(path: str, excluded: bool) -> None:
    rules = DockerIgnore("# comment\n*.log\n/data\n!data/keep.txt\n**/tmp\n./foo/*.py\n\n")
    assert rules.excludes(path) is excluded


def test_a_folder_is_pruned_only_where_nothing_can_return() -> None:
    assert DockerIgnore("data\n").prunes("data")
    assert not DockerIgnore("data\n!data/keep\n").prunes("data")
    assert not DockerIgnore("other\n").prunes("data")


def test_git_patterns_of_nested_files() -> None:
    rules = GitIgnore({"": "*.log\nweights/\n/only-root\n", "sub": "!a.log\n"})
    assert rules.excludes("a.log")
    assert not rules.excludes("sub/a.log")
    assert rules.excludes("sub/b.log")
    assert rules.excludes("weights/x")
    assert rules.excludes("only-root")
    assert not rules.excludes("sub/only-root")


def test_weights_that_git_ignores_stay_and_bring_their_folder() -> None:
    ignored = ["model/big.safetensors", "model/config.json", "model/sub/tokenizer.json", "notes.log", "root.gguf"]
    kept = keep_weights(ignored, ["model/big.safetensors", "root.gguf"])
    assert kept == {"model/big.safetensors", "model/config.json", "model/sub/tokenizer.json", "root.gguf"}


def test_never_wanted() -> None:
    assert is_never_wanted(".git")
    assert is_never_wanted("a/b/__pycache__")
    assert is_never_wanted("x.pyc")
    assert is_never_wanted("pylock.layerforge.toml")
    assert not is_never_wanted("vendor/pylock.layerforge.toml")
    assert not is_never_wanted("cog.yaml")
