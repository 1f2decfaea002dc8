from __future__ import annotations

import pytest

from layerforge.errors import ResolveError
from layerforge.sources.debian.catalog import PackageIndex, read_catalog
from layerforge.sources.debian.locking import choose_packages, choose_release
from layerforge.sources.debian.resolve import resolve
from tests.debian_samples import make_stanza


def index_of(*stanzas: str) -> PackageIndex:
    return PackageIndex([(read_catalog(["\n".join(stanzas).encode()]), "debian")])


def names(index: PackageIndex, *roots: str) -> list[str]:
    return [package.name for package in resolve(index, roots)]


def test_dependencies_of_dependencies() -> None:
    index = index_of(
        make_stanza("a", Depends="b"), make_stanza("b", Pre_Depends="c"), make_stanza("c"), make_stanza("d")
    )
    assert names(index, "a") == ["a", "b", "c"]


def test_recommends_are_not_taken() -> None:
    assert names(index_of(make_stanza("a", Recommends="b"), make_stanza("b")), "a") == ["a"]


def test_circles_end() -> None:
    assert names(index_of(make_stanza("a", Depends="b"), make_stanza("b", Depends="a")), "a") == ["a", "b"]


def test_the_first_alternative_that_exists_is_taken() -> None:
    index = index_of(make_stanza("a", Depends="gone | b | c"), make_stanza("b"), make_stanza("c"))
    assert names(index, "a") == ["a", "b"]


def test_an_alternative_already_taken_is_enough() -> None:
    index = index_of(make_stanza("a", Depends="b | c"), make_stanza("b"), make_stanza("c"))
    assert names(index, "a", "c") == ["a", "c"]


def test_an_alternative_that_fails_deeper_down_is_taken_back() -> None:
    index = index_of(
        make_stanza("a", Depends="b | c"),
        make_stanza("b", Depends="extra, gone"),
        make_stanza("c"),
        make_stanza("extra"),
    )
    assert names(index, "a") == ["a", "c"]


@pytest.mark.parametrize(
    ("condition", "met"), [("(>= 2)", True), ("(= 2)", True), ("(<< 2)", False), ("(>> 2)", False)]
)
def test_version_conditions(condition: str, met: bool) -> None:
    index = index_of(make_stanza("a", Depends=f"b {condition}"), make_stanza("b", "2"))
    if met:
        assert names(index, "a") == ["a", "b"]
    else:
        with pytest.raises(ResolveError, match=r"a 1 needs b .* but the archive has b 2 \(required by a\)"):
            resolve(index, ["a"])


def test_a_virtual_package_is_met_by_its_provider() -> None:
    index = index_of(make_stanza("a", Depends="mta"), make_stanza("exim", Provides="mta"))
    assert names(index, "a") == ["a", "exim"]


def test_a_versioned_condition_needs_a_versioned_provides() -> None:
    plain = make_stanza("p", "5", Provides="v")
    with pytest.raises(ResolveError):
        resolve(index_of(make_stanza("a", Depends="v (>= 3)"), plain), ["a"])
    versioned = make_stanza("p", "1", Provides="v (= 4)")
    assert names(index_of(make_stanza("a", Depends="v (>= 3)"), versioned), "a") == ["a", "p"]


def test_the_real_package_goes_before_providers_and_priority_decides_between_those() -> None:
    optional, required = make_stanza("x", Provides="v"), make_stanza("y", Provides="v", Priority="required")
    assert names(index_of(make_stanza("a", Depends="v"), optional, required), "a") == ["a", "y"]
    assert names(index_of(make_stanza("a", Depends="v"), required, make_stanza("v")), "a") == ["a", "v"]


def test_any_asks_for_multi_arch_allowed() -> None:
    allowed = index_of(make_stanza("a", Depends="p:any"), make_stanza("p", Multi_Arch="allowed"))
    assert names(allowed, "a") == ["a", "p"]
    with pytest.raises(ResolveError):
        resolve(index_of(make_stanza("a", Depends="p:any"), make_stanza("p")), ["a"])


@pytest.mark.parametrize("field", ["Conflicts", "Breaks"])
def test_conflicting_packages_are_an_error(field: str) -> None:
    index = index_of(make_stanza("a", **{field: "b (<< 2)"}), make_stanza("b", "1"))
    for roots in (["a", "b"], ["b", "a"]):
        with pytest.raises(ResolveError, match="conflicts with"):
            resolve(index, roots)
    assert names(index_of(make_stanza("a", **{field: "b (<< 2)"}), make_stanza("b", "2")), "a", "b") == ["a", "b"]


def test_a_package_may_conflict_with_a_name_that_it_provides() -> None:
    index = index_of(make_stanza("a", Provides="v", Conflicts="v"), make_stanza("b", Provides="v", Conflicts="v"))
    assert names(index, "a") == ["a"]
    with pytest.raises(ResolveError, match="conflicts with"):
        resolve(index, ["a", "b"])


def test_an_earlier_choice_gives_way_to_a_later_need() -> None:
    """As libreoffice-writer has it: base takes the small core, then the large one is needed."""
    index = index_of(
        make_stanza("writer", Depends="base, core"),
        make_stanza("base", Depends="small | core"),
        make_stanza("small", Depends="helper"),
        make_stanza("core", Conflicts="small"),
        make_stanza("helper"),
    )
    assert names(index, "writer") == ["base", "core", "writer"]


def test_conflicts_with_what_is_installed() -> None:
    index = index_of(make_stanza("a", Conflicts="b"), make_stanza("b"))
    with pytest.raises(ResolveError, match="a 1 conflicts with b 1"):
        resolve(index, ["a"], installed=resolve(index, ["b"]))


def test_only_what_is_new_is_returned() -> None:
    index = index_of(make_stanza("a", Depends="b"), make_stanza("b"), make_stanza("c", Depends="a, b"))
    assert [package.name for package in resolve(index, ["c"], installed=resolve(index, ["a"]))] == ["c"]


def test_unknown_roots_get_a_suggestion() -> None:
    index = index_of(make_stanza("libgl1"), make_stanza("m", Provides="mail"), make_stanza("n", Provides="mail"))
    with pytest.raises(ResolveError, match="no package libgll1") as caught:
        resolve(index, ["libgll1"])
    assert caught.value.hint == "did you mean libgl1?"
    with pytest.raises(ResolveError) as caught:
        resolve(index, ["mail"])
    assert caught.value.hint == "name one of them: m, n"


def test_a_root_that_one_package_provides_and_one_with_a_version() -> None:
    index = index_of(make_stanza("new", "2", Provides="old"))
    assert names(index, "old") == ["new"]
    assert names(index, "new=2") == ["new"]
    with pytest.raises(ResolveError, match="new 3 is not in the archive"):
        resolve(index, ["new=3"])


def test_deep_chains_do_not_exhaust_the_stack() -> None:
    chain = [make_stanza(f"p{number}", Depends=f"p{number + 1}") for number in range(3000)]
    assert len(resolve(index_of(*chain, make_stanza("p3000")), ["p0"])) == 3001


def test_the_order_of_roots_and_stanzas_does_not_matter_to_the_set() -> None:
    stanzas = [make_stanza("a", Depends="b"), make_stanza("b"), make_stanza("c", Depends="a")]
    assert names(index_of(*stanzas), "a", "c") == names(index_of(*stanzas[::-1]), "c", "a")


def test_choosing_packages_of_a_release() -> None:
    extra = [make_stanza(name) for name in ("apt", "ca-certificates", "netbase", "tzdata")]
    index = index_of(
        make_stanza("base-files", Essential="yes"),
        make_stanza("python3.13", "3.13.5-2+deb13u1", Depends="libexpat1, base-files"),
        make_stanza("libexpat1"),
        *extra,
    )
    locked = choose_packages(index, "3.13", "trixie")
    assert [deb.name for deb in locked.base] == ["apt", "base-files", "ca-certificates", "netbase", "tzdata"]
    assert [deb.name for deb in locked.interpreter] == ["libexpat1", "python3.13"]
    assert (locked.python.version, locked.python.provider) == ("3.13.5", "debian")


def test_releases() -> None:
    assert choose_release("3.11") == "bookworm"
    with pytest.raises(ResolveError, match=r"3\.11 \(Debian bookworm\) and 3\.13 \(Debian trixie\)") as caught:
        choose_release("3.12")
    assert 'python_version: "3.13"' in caught.value.hint
