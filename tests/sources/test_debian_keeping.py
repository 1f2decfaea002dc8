from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from layerforge.sources.debian.control import Package, parse_relations
from layerforge.sources.debian.keeping import keep_versions


def package(name: str, version: str, depends: str = "", breaks: str = "", provides: str = "") -> Package:
    return Package(
        name,
        version,
        "amd64",
        depends=parse_relations(depends),
        breaks=tuple(group[0] for group in parse_relations(breaks)),
        provides=tuple(group[0] for group in parse_relations(provides)),
    )


def settle(fresh: list[Package], locked: list[Package], around: tuple[Package, ...] = ()) -> list[str]:
    return [f"{each.name} {each.version}" for each in keep_versions(fresh, locked, around)]


def test_versions_that_fit_are_kept() -> None:
    fresh = [package("a", "2", "b (>= 1)"), package("b", "2"), package("new", "2", "a")]
    locked = [package("a", "1", "b"), package("b", "1"), package("gone", "1")]
    assert settle(fresh, locked) == ["a 1", "b 1", "new 2"]


def test_what_a_new_package_needs_moves() -> None:
    fresh = [package("a", "2"), package("b", "2"), package("new", "2", "a (>= 2)")]
    assert settle(fresh, [package("a", "1"), package("b", "1")]) == ["a 2", "b 1", "new 2"]


def test_packages_of_one_source_move_together() -> None:
    fresh = [package("lib", "2"), package("tool", "2", "lib (= 2)"), package("new", "1", "lib (>= 2)")]
    assert settle(fresh, [package("lib", "1"), package("tool", "1", "lib (= 1)")]) == ["lib 2", "new 1", "tool 2"]


def test_what_a_new_package_breaks_moves() -> None:
    fresh = [package("a", "2"), package("new", "1", breaks="a (<< 2)")]
    assert settle(fresh, [package("a", "1")]) == ["a 2", "new 1"]


def test_a_dependency_that_is_not_there_any_more_moves_who_has_it() -> None:
    assert settle([package("a", "2", "c"), package("c", "1")], [package("a", "1", "b")]) == ["a 2", "c 1"]


def test_provided_names_count_with_their_versions() -> None:
    fresh = [package("p", "2", provides="v (= 2)"), package("new", "1", "v (>= 2)")]
    assert settle(fresh, [package("p", "1", provides="v (= 1)")]) == ["new 1", "p 2"]
    assert settle(fresh, [package("p", "1", provides="v (= 2)")]) == ["new 1", "p 1"]


def test_what_is_around_stays_and_counts() -> None:
    around = (package("base", "5", breaks="a (<< 2)"), package("c", "1"))
    assert settle([package("a", "2", "c")], [package("a", "1", "c")], around) == ["a 2"]
    assert settle([package("a", "2", "c")], [package("a", "1", "c")], around[1:]) == ["a 1"]


names = st.sampled_from("abcd")
conditions = st.builds("{} ({} {})".format, names, st.sampled_from([">=", "=", "<<"]), st.sampled_from("12"))
packages = st.builds(package, names, st.sampled_from("12"), conditions | st.just(""), conditions | st.just(""))


@given(st.lists(packages, unique_by=lambda each: each.name), st.lists(packages, unique_by=lambda each: each.name))
def test_it_ends_with_the_names_of_the_fresh_set(fresh: list[Package], locked: list[Package]) -> None:
    chosen = keep_versions(fresh, locked)
    assert [each.name for each in chosen] == sorted(each.name for each in fresh)
    assert set(chosen) <= {*fresh, *locked}
    assert keep_versions(fresh, fresh) == tuple(sorted(fresh, key=lambda each: each.name))
