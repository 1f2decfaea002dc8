from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerforge.errors import LayerError
from layerforge.sources.debian.control import Relation
from layerforge.sources.debian.deb import ControlFile
from layerforge.sources.debian.ownership import Claimant, Claims, Verdict, order_claims, settle_ownership
from layerforge.sources.debian.rootstate import DebFacts, Library, Listed


def claimant(name: str, *replaces: str, version: str = "1") -> Claimant:
    return Claimant(name, name, version, tuple(Relation(other) for other in replaces))


@pytest.mark.parametrize(
    ("claimants", "order"),
    [
        ((claimant("a"), claimant("b"), claimant("c")), "abc"),
        ((claimant("a"), claimant("b"), claimant("c", "a")), "cab"),
        ((claimant("a"), claimant("b", "a"), claimant("c", "b")), "cba"),
        ((claimant("a", "b"), claimant("b", "a")), "ba"),
        ((claimant("a", "elsewhere"), claimant("b", "b")), "ab"),
    ],
)
def test_who_replaces_comes_first(claimants: tuple[Claimant, ...], order: str) -> None:
    assert "".join(claimants[index].name for index in order_claims(claimants)) == order


@given(st.lists(st.sets(st.sampled_from("abcdefgh")), min_size=8, max_size=8))
def test_every_package_is_ordered_once_whatever_the_circles(replaces: list[set[str]]) -> None:
    claimants = [claimant(name, *sorted(others)) for name, others in zip("abcdefgh", replaces, strict=True)]
    assert sorted(order_claims(claimants)) == list(range(8))


def test_what_is_lost_counts_no_more() -> None:
    library = Library("usr/lib", "libx.so", "libx.so.1")
    paths = (Listed("usr/lib/libx.so", "file", 0o644, shipped="lib/libx.so"), Listed("etc/x", "file", 0o644))
    old = DebFacts("old", {"Package": "old", "Version": "1"}, {}, (("etc/x", "0"),), (library,), {"etc/x": b"1"}, paths)
    new = DebFacts("new", {"Package": "new", "Replaces": "old"}, {}, paths=paths)
    settlement = settle_ownership((old, new))
    assert settlement.lost == {"old": {"etc/x": "new", "usr/lib/libx.so": "new"}}
    kept = settlement.facts[0]
    assert (kept.conffiles, kept.libraries, kept.files, kept.paths) == ((), (), {}, ())
    assert settlement.facts[1] == new


def test_documentation_that_is_left_out_is_no_conflict() -> None:
    path = (Listed("usr/share/man/man1/x.1.gz", "file", 0o644),)
    both = [DebFacts(name, {"Package": name}, {}, paths=path) for name in "ab"]
    assert settle_ownership(both).lost == {}


def test_folders_are_shared_and_links_are_not() -> None:
    claims, one, two = Claims(), claimant("one"), claimant("two")
    assert all(claims.claim("usr", "dir", package) is Verdict.OWNED for package in (one, two))
    assert claims.claim("usr/link", "symlink", one) is Verdict.OWNED
    with pytest.raises(LayerError, match="package two: usr/link is also a file of package one"):
        claims.claim("usr/link", "symlink", two)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_what_one_of_them_may_divert_both_keep(order: tuple[int, int]) -> None:
    paths = (Listed("usr/bin/tool", "file", 0o755),)
    old = DebFacts("old", {"Package": "old"}, {}, paths=paths)
    new = DebFacts("new", {"Package": "new"}, {"preinst": ControlFile(0o755, b"dpkg-divert --add $x")}, paths=paths)
    both = tuple((old, new)[index] for index in order)
    settlement = settle_ownership(both)
    assert settlement.facts == both and settlement.lost == {}
    assert {each.record for each in settlement.contested["usr/bin/tool"]} == {"old", "new"}
    later = settlement.without({"old": {"usr/bin/tool": "new"}})
    assert later.lost == {"old": {"usr/bin/tool": "new"}}
    assert {facts.record: facts.paths for facts in later.facts} == {"old": (), "new": paths}


def test_a_third_package_still_needs_to_be_replaced() -> None:
    claims, diverting = Claims(), Claimant("new", "new", "1", diverts=True)
    verdicts = [claims.claim("x", "file", each) for each in (claimant("old", "older"), diverting, claimant("older"))]
    assert verdicts == [Verdict.OWNED, Verdict.CONTESTED, Verdict.LOST]
    with pytest.raises(LayerError, match="package other: x is also a file of package new"):
        claims.claim("x", "file", claimant("other"))
