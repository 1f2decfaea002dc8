"""The most used packages: the tree in their layers is the one that uv makes, and each imports in the built image."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from layerforge.engines.sandbox import Sandbox
from layerforge.progress import SILENCE
from layerforge.store import Store
from tests.conftest import require
from tests.corpus.model import build_corpus, import_corpus, review_corpus
from tests.corpus.package_list import PACKAGES
from tests.corpus.review import BYTECODE, SCRIPT, review_trees
from tests.corpus.trees import Node, Tree

QUICK = ("httpx", "jinja2", "pyyaml", "tqdm", "uvicorn")
"""Small ones, for every run of the slow tests to begin with."""


@pytest.mark.network
@pytest.mark.sandbox
@pytest.mark.slow
@pytest.mark.parametrize("minor", ["3.11", "3.13"])
@pytest.mark.parametrize("names", [QUICK, tuple(PACKAGES)], ids=["quick", "all"])
def test_packages_are_installed_as_uv_does_and_can_be_imported(
    names: tuple[str, ...], minor: str, store: Store, tmp_path: Path
) -> None:
    require(not (obstacle := Sandbox().find_obstacle()), obstacle)
    require(platform.machine() == "x86_64", "the list is of packages with wheels for x86-64")
    packages = {name: PACKAGES[name] for name in names}
    corpus = build_corpus(minor, packages, tmp_path / "model", store, SILENCE)
    review = review_corpus(corpus, tmp_path / "installed")
    assert review.paths > 500
    assert review.open == []
    assert review.reviewed[BYTECODE] > 100
    imported = import_corpus(corpus, packages)
    assert imported.keys() == packages.keys()
    assert {name: outcome for name, (status, outcome, _) in imported.items() if status} == {}
    assert all(outcome.startswith("/usr/local/") or outcome == "a namespace" for _, outcome, _ in imported.values())


# -- the comparison itself can fail ----------------------------------------------------------------------------

SITE = "usr/local/lib/python3.13/site-packages"
ENTRY = b"#!/usr/local/bin/python\nfrom a.b import main\nsys.exit(main())\n"


def tree(**changes: Node) -> Tree:
    sound = {f"{SITE}/a/b.py": Node("file", 0o644, "1"), "usr/local/bin/a": Node("file", 0o755, "2", ENTRY)}
    return {**sound, **changes}


def test_equal_trees_have_no_differences() -> None:
    assert review_trees(tree(), tree()).open == []


@pytest.mark.parametrize(
    ("path", "node", "message"),
    [
        (f"{SITE}/a/b.py", Node("file", 0o644, "9"), "content 9 in the layer"),
        (f"{SITE}/a/b.py", Node("file", 0o755, "1"), "file 755 in the layer, file 644 with uv"),
        (f"{SITE}/a/b.py", Node("link", 0o644, "1"), "link 644 in the layer"),
        (f"{SITE}/a/c.py", Node("file", 0o644, "1"), "only in the layer"),
        ("usr/local/bin/a", Node("file", 0o755, "9", ENTRY.replace(b"a.b", b"a.c")), "content"),
        ("usr/local/bin/a", Node("file", 0o755, "9", ENTRY.replace(b"/usr/local", b"/opt")), "content"),
        ("usr/local/bin/a", Node("file", 0o644, "2", ENTRY), "file 644 in the layer"),
    ],
)
def test_a_difference_is_open(path: str, node: Node, message: str) -> None:
    review = review_trees(tree(**{path: node}), tree())
    assert len(review.open) == 1
    assert review.open[0].startswith(f"{path}: {message}")


def test_what_only_uv_has_is_open() -> None:
    assert review_trees(tree(), tree(**{f"{SITE}/a/c.py": Node("file", 0o644, "1")})).open


def test_known_differences_have_their_reason() -> None:
    script = Node(
        "file", 0o755, "9", b"#!/usr/local/bin/python\n# other words\nfrom a.b import main\nsys.exit(main())\n"
    )
    pyc = Node("file", 0o644, "1")
    review = review_trees(tree(**{"usr/local/bin/a": script, f"{SITE}/a/__pycache__/b.cpython-313.pyc": pyc}), tree())
    assert (review.open, review.reviewed) == ([], {SCRIPT: 1, BYTECODE: 1})


def test_a_record_with_another_hash_is_open() -> None:
    path = f"{SITE}/a-1.dist-info/RECORD"
    ours = Node("file", 0o644, "1", b"a.py,sha256=x,1\na-1.dist-info/RECORD,,\n")
    for text, expected in ((b"a-1.dist-info/RECORD,,\na.py,sha256=x,1\n", 0), (b"a.py,sha256=y,1\n", 1)):
        theirs = Node("file", 0o755, "2", text)
        assert len(review_trees({path: ours}, {path: theirs}).open) == expected
