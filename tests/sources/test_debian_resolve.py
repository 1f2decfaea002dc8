from __future__ import annotations

import pytest

from layerforge.errors import ResolveError, VerificationError
from layerforge.sources.debian.catalog import PackageIndex, read_catalog
from layerforge.sources.debian.control import Package
from layerforge.sources.debian.installed import parse_status
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


# -- architectures ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "field", "met"),
    [
        ("p", "no", True),
        ("p:amd64", "no", True),
        ("p:native", "no", True),
        ("p:arm64", "no", False),
        ("p:any", "foreign", False),
        ("p:any", "allowed", True),
        ("p:any (>= 2)", "allowed", False),
    ],
)
def test_architecture_qualifiers(wanted: str, field: str, met: bool) -> None:
    index = index_of(make_stanza("a", Depends=wanted), make_stanza("p", Multi_Arch=field))
    if met:
        assert names(index, "a") == ["a", "p"]
    else:
        with pytest.raises(ResolveError, match="a 1 needs p"):
            resolve(index, ["a"])


def installed(*stanzas: str) -> tuple[Package, ...]:
    return parse_status("\n".join(stanzas))


@pytest.mark.parametrize(("field", "met"), [("foreign", True), ("same", False), ("no", False)])
def test_a_package_of_another_architecture_in_a_base_helps_only_if_it_is_foreign(field: str, met: bool) -> None:
    there = installed(make_stanza("tool", Architecture="i386", Multi_Arch=field))
    index = index_of(make_stanza("a", Depends="tool"))
    if met:
        assert [package.name for package in resolve(index, ["a"], there)] == ["a"]
    else:
        with pytest.raises(ResolveError, match="a 1 needs tool"):
            resolve(index, ["a"], there)


def test_packages_of_multi_arch_same_stay_at_one_version_on_all_architectures() -> None:
    there = installed(make_stanza("lib", "1", Architecture="i386", Multi_Arch="same"))
    index = index_of(make_stanza("a", Depends="lib"), make_stanza("lib", "2", Multi_Arch="same"))
    with pytest.raises(ResolveError, match="a: these packages do not fit"):
        resolve(index, ["a"], there)
    same = index_of(make_stanza("a", Depends="lib"), make_stanza("lib", "1", Multi_Arch="same"))
    assert [package.name for package in resolve(same, ["a"], there)] == ["a", "lib"]


# -- versions and suites ------------------------------------------------------------------------------------------


def of_suites() -> PackageIndex:
    release = [make_stanza("lib", "1"), make_stanza("tool", "1", Depends="lib (= 1)"), make_stanza("only", "1")]
    security = [make_stanza("lib", "2"), make_stanza("tool", "2", Depends="lib (= 2)")]
    catalogs = [(read_catalog(["\n".join(stanzas).encode()]), "debian") for stanzas in (release, security)]
    return PackageIndex(catalogs, suites=("trixie", "trixie-security"))


def versions(index: PackageIndex, *roots: str) -> dict[str, str]:
    return {package.name: package.version for package in resolve(index, roots)}


def test_the_highest_version_of_all_suites_wins() -> None:
    assert versions(of_suites(), "tool", "only") == {"lib": "2", "tool": "2", "only": "1"}


def test_a_root_from_a_suite_takes_what_it_needs_from_there() -> None:
    assert versions(of_suites(), "tool/trixie") == {"lib": "1", "tool": "1"}
    assert versions(of_suites(), "tool/trixie-security") == {"lib": "2", "tool": "2"}
    with pytest.raises(ResolveError, match="trixie-security has no package only"):
        resolve(of_suites(), ["only/trixie-security"])
    with pytest.raises(ResolveError, match="no such suite") as caught:
        resolve(of_suites(), ["tool/sid"])
    assert caught.value.hint == "known are trixie, trixie-security"


def test_a_root_of_a_version() -> None:
    assert versions(of_suites(), "lib=1") == {"lib": "1"}
    with pytest.raises(ResolveError, match="lib 3 is not in the archive") as caught:
        resolve(of_suites(), ["lib=3"])
    assert caught.value.hint == "it has 2, 1"
    with pytest.raises(ResolveError, match=r"needs lib \(= 1\)"):
        resolve(of_suites(), ["tool=1"])


def test_roots_of_an_architecture_and_malformed_ones() -> None:
    assert versions(of_suites(), "lib:amd64", "only:any") == {"lib": "2", "only": "1"}
    with pytest.raises(ResolveError, match="only packages for amd64"):
        resolve(of_suites(), ["lib:i386"])
    for root in ("", "a b", "lib=", "lib:", "=1"):
        with pytest.raises(ResolveError, match="names no package"):
            resolve(of_suites(), [root])


def test_patterns() -> None:
    index = index_of(
        *(make_stanza(name) for name in ("liba-dev", "libb-dev", "libb")), make_stanza("p", Provides="libc-dev")
    )
    assert names(index, "lib?-dev") == ["liba-dev", "libb-dev", "p"]
    with pytest.raises(ResolveError, match=r"matches x\*"):
        resolve(index, ["x*"])


# -- upon what is installed ---------------------------------------------------------------------------------------


def test_what_is_installed_is_upgraded_where_something_needs_it() -> None:
    there = installed(make_stanza("lib", "1"), make_stanza("other", "1"))
    index = index_of(
        make_stanza("lib-dev", "2", Depends="lib (= 2)"), make_stanza("lib", "2"), make_stanza("other", "2")
    )
    assert [str(package) for package in resolve(index, ["lib-dev"], there)] == ["lib 2", "lib-dev 2"]
    assert [str(package) for package in resolve(index, ["other"], there)] == ["other 2"]


def test_what_needs_the_old_version_or_comes_from_the_same_source_is_upgraded_along() -> None:
    there = installed(
        make_stanza("lib", "1", Source="src"),
        make_stanza("lib-bin", "1", Depends="lib (= 1)"),
        make_stanza("lib-data", "1", Source="src"),
        make_stanza("else", "1"),
    )
    index = index_of(
        make_stanza("lib-dev", "2", Depends="lib (= 2)"),
        make_stanza("lib", "2", Source="src"),
        make_stanza("lib-bin", "2", Depends="lib (= 2)"),
        make_stanza("lib-data", "2", Source="src"),
        make_stanza("else", "2"),
    )
    assert [package.name for package in resolve(index, ["lib-dev"], there)] == ["lib", "lib-bin", "lib-data", "lib-dev"]


def test_breaks_against_an_installed_version_upgrades_it() -> None:
    there = installed(make_stanza("old", "1"))
    index = index_of(make_stanza("a", Breaks="old (<< 2)"), make_stanza("old", "2"))
    assert [str(package) for package in resolve(index, ["a"], there)] == ["a 1", "old 2"]


def test_nothing_installed_is_removed_or_made_older() -> None:
    there = installed(make_stanza("lib", "3"), make_stanza("needs", "1", Depends="lib (= 3)"))
    index = index_of(
        make_stanza("a", Depends="lib (<< 3)"), make_stanza("lib", "2"), make_stanza("b", Conflicts="needs")
    )
    with pytest.raises(ResolveError, match=r"a 1 needs lib \(<< 3\), but lib 3 is installed"):
        resolve(index, ["a"], there)
    with pytest.raises(ResolveError, match="b 1 conflicts with needs 1, which is installed"):
        resolve(index, ["b"], there)


def test_what_was_broken_in_a_base_does_not_matter() -> None:
    there = installed(make_stanza("broken", Depends="gone"))
    assert [package.name for package in resolve(index_of(make_stanza("a")), ["a"], there)] == ["a"]


def test_the_state_of_packages_in_dpkgs_status() -> None:
    there = installed(
        make_stanza("a", Status="install ok installed"),
        make_stanza("b", Status="deinstall ok config-files"),
        make_stanza("c", Status="install ok triggers-pending"),
    )
    assert [package.name for package in there] == ["a", "c"]
    with pytest.raises(VerificationError, match="a: dpkg's status has no usable relation"):
        installed(make_stanza("a", Depends="b (>> )"))


# -- reasons ------------------------------------------------------------------------------------------------------


def test_the_path_to_a_missing_package_and_to_a_conflict_is_told() -> None:
    index = index_of(
        make_stanza("a", Depends="b"),
        make_stanza("b", Depends="c | d"),
        make_stanza("c", Depends="gone"),
        make_stanza("d", Conflicts="x"),
        make_stanza("x"),
    )
    with pytest.raises(ResolveError) as caught:
        resolve(index, ["x", "a"])
    assert caught.value.message == "x 1 conflicts with d 1 (required by a → b)"
    chain = [make_stanza("a", Depends="b"), make_stanza("b", Depends="c"), make_stanza("c", Depends="gone")]
    with pytest.raises(ResolveError) as caught:
        resolve(index_of(*chain), ["a"])
    assert caught.value.message == "c 1 needs gone, which the archive does not have (required by a → b → c)"
    with pytest.raises(ResolveError, match=r"x 1 conflicts with d 1 \(required by e\)"):
        resolve(index_of(make_stanza("e", Depends="d"), make_stanza("d", Conflicts="x"), make_stanza("x")), ["e", "x"])


def test_what_was_taken_for_a_choice_that_failed_is_left_out_unless_it_is_recommended() -> None:
    stanzas = [
        make_stanza("a", Depends="b | c"),
        make_stanza("b", Depends="extra, bad"),
        make_stanza("bad", Conflicts="a"),
        make_stanza("c"),
        make_stanza("extra"),
    ]
    assert names(index_of(*stanzas), "a") == ["a", "c"]
    stanzas[3] = make_stanza("c", Recommends="extra")
    assert names(index_of(*stanzas), "a") == ["a", "c", "extra"]
