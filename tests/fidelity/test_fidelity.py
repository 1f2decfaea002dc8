"""Our roots are what mmdebstrap makes of the same packages with maintainer scripts run, but for the reviewed list."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from layerforge.sources.debian import find_mirrors
from layerforge.store import Store
from tests.conftest import require
from tests.fidelity.assembled import Chooser
from tests.fidelity.comparison import compare
from tests.fidelity.package_sets import MINORS, SETS
from tests.fidelity.reference import program
from tests.fidelity.review import Review, Rule, read_rules, review
from tests.fidelity.roots import Node, compare_roots

QUICK = ("trixie/python",)
"""What is compared in every run of the tests; the others take half a minute each."""

ALL = [f"{release}/{name}" for release in MINORS for name in SETS]


MEMORY = os.environ.get("LAYERFORGE_FIDELITY_MEMORY")
"""A folder in which reference roots are remembered between runs, as with ``--memory``."""


class Reviews:
    """Compares each set once."""

    def __init__(self, store: Store) -> None:
        self._store, self._chooser = store, Chooser(store)
        self._memory = Path(MEMORY) if MEMORY else None
        self._known: dict[str, Review] = {}
        self.rules = read_rules()

    def of(self, title: str) -> Review:
        """The review of ``release/name``."""
        if title not in self._known:
            release, _, name = title.partition("/")
            self._known[title] = self._compare(release, name)
        return self._known[title]

    def _compare(self, release: str, name: str) -> Review:
        return compare(release, name, self._store, self._chooser, self.rules, self._memory).review


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reviews]:
    require(program(), "mmdebstrap is not installed")
    require(os.geteuid() == 0, "mmdebstrap has to run as root here")
    mirrors = find_mirrors()
    known = all(mirrors.urls.get(archive) for archive in ("debian", "debian-security"))
    require(known and mirrors.keys, "this machine has no Debian mirrors or keyring configured")
    store = Store(tmp_path_factory.mktemp("fidelity") / "store")
    yield Reviews(store)
    store.close()


@pytest.mark.network
@pytest.mark.sandbox
@pytest.mark.parametrize("title", [pytest.param(each, marks=[pytest.mark.slow] * (each not in QUICK)) for each in ALL])
def test_every_difference_has_its_reason(title: str, reviews: Reviews) -> None:
    found = reviews.of(title)
    assert found.paths > 3000
    assert [str(difference) for difference in found.open] == []


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.sandbox
def test_every_reason_has_its_difference(reviews: Reviews) -> None:
    used = {number for title in ALL for number in reviews.of(title).used}
    assert [rule for number, rule in enumerate(reviews.rules) if number not in used] == []


# -- the comparison itself ----------------------------------------------------------------------------------------


def test_a_difference_of_every_kind_is_found() -> None:
    ours = {
        "a": Node("file", 0o644, digest="1"),
        "b": Node("file", 0o644),
        "c": Node("dir", 0o755),
        "d": Node("symlink", 0o777, target="x"),
        "e": Node("dir", 0o755),
        "g": Node("file", 0o644, digest="7"),
    }
    theirs = {
        "a": Node("file", 0o644, digest="2"),
        "b": Node("dir", 0o755),
        "c": Node("dir", 0o700, gid=3),
        "d": Node("symlink", 0o777, target="y"),
        "f": Node("dir", 0o755),
        "g": Node("file", 0o644, digest="7"),
    }
    found = [(each.path, each.aspect) for each in compare_roots(ours, theirs)]
    expected = [("a", "content"), ("b", "kind"), ("c", "mode"), ("c", "owner"), ("d", "target")]
    assert found == [*expected, ("e", "extra"), ("f", "missing")]


@pytest.mark.parametrize(
    ("rule", "is_covered"),
    [
        (Rule(("etc/*",), "r"), True),
        (Rule(("etc/x/*",), "r"), False),
        (Rule(("**y",), "r"), False),
        (Rule(("etc/x",), "r", aspects=("mode",)), False),
        (Rule(("etc/x",), "r", aspects=("content",)), True),
        (Rule(("etc/x",), "r", sets=("bookworm/*",)), False),
        (Rule(("etc/x",), "r", lines="^#"), True),
        (Rule(("etc/x",), "r", lines="^a"), False),
        (Rule(("etc/x",), "r", unordered=True), False),
        (Rule(("etc/x",), "r", lines="^#", unordered=True), True),
        (Rule(("etc/x",), "r", skip=2), True),
        (Rule(("etc/x",), "r", skip=1), False),
    ],
)
def test_a_rule_covers_what_it_says_and_no_more(rule: Rule, is_covered: bool) -> None:
    ours = {"etc/x": Node("file", 0o644, digest="1", content=b"#1\na\n")}
    theirs = {"etc/x": Node("file", 0o644, digest="2", content=b"#2\na\n")}
    found = review("trixie/git", ours, theirs, compare_roots(ours, theirs), (rule,))
    assert (len(found.open), found.used) == ((0, {0: 1}) if is_covered else (1, {}))


def test_the_list_is_readable_and_gives_reasons() -> None:
    rules = read_rules()
    assert all(len(rule.reason.split()) >= 4 for rule in rules)
    names = {pattern for rule in rules for pattern in rule.sets}
    titles = [f"{release}/{name}" for release in MINORS for name in SETS]
    assert all(any(Rule((), "", sets=(pattern,)).applies(title) for title in titles) for pattern in names)
