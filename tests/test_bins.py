from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerforge.bins import BINS, LARGE, assign_bins, group_bins
from layerforge.lock import LockedWheel
from layerforge.oci import Digest

MIB = 1 << 20


def make(name: str, size: int = 1000, version: str = "1.0", bin_: str = "") -> LockedWheel:
    filename = f"{name}-{version}-py3-none-any.whl"
    digest = Digest.of(f"{filename}{size}".encode())
    return LockedWheel(name, version, filename, f"https://index.example.org/{filename}", size, digest, bin_)


def bins_of(wheels: tuple[LockedWheel, ...]) -> dict[str, str]:
    return {wheel.name: wheel.bin for wheel in wheels}


def contents(wheels: tuple[LockedWheel, ...]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(wheel.filename for wheel in group) for name, group in group_bins(wheels).items()}


names = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)
wheel_sets = st.dictionaries(names, st.integers(1, 40 * MIB), max_size=40)


def make_all(sizes: dict[str, int]) -> tuple[LockedWheel, ...]:
    return tuple(make(name, size) for name, size in sizes.items())


@given(wheel_sets, st.randoms())
def test_the_order_asked_in_does_not_matter(sizes: dict[str, int], random: st.Random) -> None:  # type: ignore[name-defined]
    wheels = list(make_all(sizes))
    expected = assign_bins(wheels)
    random.shuffle(wheels)
    assert assign_bins(wheels) == expected
    assert [wheel.name for wheel in expected] == sorted(sizes)


@given(wheel_sets)
def test_nothing_moves_when_nothing_changes(sizes: dict[str, int]) -> None:
    first = assign_bins(make_all(sizes))
    assert assign_bins(make_all(sizes), first) == first


@given(wheel_sets, st.integers(BINS, 20))
def test_the_budget_is_kept(sizes: dict[str, int], budget: int) -> None:
    wheels = assign_bins(make_all(sizes), budget=budget)
    assert len({wheel.bin for wheel in wheels}) <= budget
    assert all(wheel.bin for wheel in wheels)


@given(wheel_sets, wheel_sets, st.integers(BINS, 20))
def test_the_budget_is_kept_from_lock_to_lock(before: dict[str, int], after: dict[str, int], budget: int) -> None:
    wheels = assign_bins(make_all(after), assign_bins(make_all(before)), budget=budget)
    assert len({wheel.bin for wheel in wheels}) <= budget


@given(wheel_sets, names)
def test_a_small_package_more_or_less_changes_one_bin(sizes: dict[str, int], name: str) -> None:
    sizes.pop(name, None)
    without = assign_bins(make_all(sizes))
    with_it = assign_bins(make_all({**sizes, name: 1000}), without)
    changed = {key for key in contents(with_it) if contents(with_it)[key] != contents(without).get(key)}
    assert changed == {bins_of(with_it)[name]}
    assert contents(assign_bins(make_all(sizes), with_it)) == contents(without)


@given(wheel_sets, names, st.integers(1, LARGE))
def test_an_upgrade_of_a_small_package_changes_one_bin(sizes: dict[str, int], name: str, size: int) -> None:
    sizes[name] = 1000
    before = assign_bins(make_all(sizes))
    upgraded = tuple(make(name, size, "2.0") if wheel.name == name else wheel for wheel in make_all(sizes))
    after = assign_bins(upgraded, before)
    assert bins_of(after) == bins_of(before)
    changed = {key for key in contents(after) if contents(after)[key] != contents(before)[key]}
    assert changed == {bins_of(before)[name]}


def test_large_wheels_have_their_own_layer() -> None:
    bins = bins_of(assign_bins((make("numpy", 15 * MIB), make("six"), make("edge", LARGE), make("below", LARGE - 1))))
    assert (bins["numpy"], bins["edge"]) == ("numpy", "edge")
    assert bins["six"].startswith("bin.")
    assert bins["below"].startswith("bin.")


@pytest.mark.parametrize(
    ("before", "size", "after"),
    [("own", LARGE // 2, "own"), ("own", LARGE // 2 - 1, "shared"), ("shared", 2 * LARGE - 1, "shared"),
     ("shared", 2 * LARGE, "own")],
)  # fmt: skip
def test_a_package_moves_only_when_its_size_has_changed_much(before: str, size: int, after: str) -> None:
    previous = (make("pkg", bin_="pkg" if before == "own" else "bin.3"),)
    assert bins_of(assign_bins((make("pkg", size),), previous))["pkg"] in (
        ("pkg",) if after == "own" else tuple(f"bin.{index}" for index in range(BINS))
    )


def test_those_with_a_layer_keep_it_when_the_budget_is_short() -> None:
    previous = (make("old", 9 * MIB, bin_="old"),)
    wheels = (make("old", 9 * MIB), make("new", 30 * MIB))
    assert bins_of(assign_bins(wheels, previous, budget=BINS + 1))["old"] == "old"
    assert bins_of(assign_bins(wheels, budget=BINS + 1))["new"] == "new"


def test_small_packages_are_spread() -> None:
    wheels = assign_bins(tuple(make(f"package{index}") for index in range(400)))
    assert len(group_bins(wheels)) == BINS
    assert all(25 <= len(group) <= 80 for group in group_bins(wheels).values())


def test_new_assignments_are_the_same_in_every_release() -> None:
    """A change here moves packages of everybody who locks anew."""
    expected = {"click": "bin.0", "requests": "bin.1", "six": "bin.4", "tqdm": "bin.4", "urllib3": "bin.4"}
    assert bins_of(assign_bins(tuple(map(make, expected)))) == expected


def test_a_bin_of_an_unknown_name_is_given_up() -> None:
    bins = bins_of(assign_bins((make("six"),), (make("six", bin_="bin.99"),)))
    assert bins == bins_of(assign_bins((make("six"),)))


def test_a_budget_below_the_bins_is_refused() -> None:
    with pytest.raises(ValueError, match="too small"):
        assign_bins((), budget=BINS - 1)


def test_groups_are_in_order() -> None:
    wheels = (make("b", bin_="b"), make("z", bin_="bin.1"), make("a", bin_="bin.1"), make("c", bin_="bin.0"))
    assert list(contents(wheels)) == ["bin.0", "bin.1", "b"]
    assert [wheel.name for wheel in group_bins(wheels)["bin.1"]] == ["a", "z"]
    assert msgspec.structs.replace(wheels[0], bin="") == make("b")
