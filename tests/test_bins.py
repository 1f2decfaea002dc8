from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from layerforge.bins import BINS, LARGE, assign_bins, bin_names, group_bins
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


@given(wheel_sets, st.integers(1, 20))
def test_the_budget_is_kept(sizes: dict[str, int], budget: int) -> None:
    wheels = assign_bins(make_all(sizes), budget=budget)
    assert len({wheel.bin for wheel in wheels}) <= budget
    assert all(wheel.bin for wheel in wheels)


@given(wheel_sets, wheel_sets, st.integers(1, 20))
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


@given(wheel_sets, names, st.integers(1, 2 * LARGE - 1))
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


def test_a_wheel_that_has_not_changed_stays_whatever_its_size() -> None:
    """Such a lock comes from a Layerforge with other bounds: the bins of all its images are pushed already."""
    previous = (make("huge", 90 * MIB, bin_="bin.3"), make("tiny", 10, bin_="tiny"))
    assert bins_of(assign_bins((make("huge", 90 * MIB), make("tiny", 10)), previous)) == {
        "huge": "bin.3",
        "tiny": "tiny",
    }


def test_a_layer_is_taken_only_by_a_wheel_that_is_much_larger() -> None:
    budget = 2  # one bin, one layer
    previous = (make("old", 9 * MIB, bin_="old"),)
    for size, winner in ((4 * 9 * MIB - 1, "old"), (4 * 9 * MIB + 1, "new")):
        bins = bins_of(assign_bins((make("old", 9 * MIB), make("new", size)), previous, budget=budget))
        assert [name for name, bin_ in bins.items() if bin_ == name] == [winner]
    assert bins_of(assign_bins((make("old", 9 * MIB), make("new", 10 * MIB)), budget=budget))["new"] == "new"


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


def test_a_small_budget_has_fewer_bins() -> None:
    wheels = tuple(make(f"large{index}", 50 * MIB + index) for index in range(9)) + tuple(map(make, "abcdefghij"))
    for budget in range(1, 20):
        found = contents(assign_bins(wheels, budget=budget))
        assert len(found) <= budget
        assert sum(len(group) for group in found.values()) == len(wheels)
        assert len([name for name in found if name in bin_names(budget)]) <= max(1, budget // 2)


def test_groups_are_in_order() -> None:
    wheels = (make("b", bin_="b"), make("z", bin_="bin.1"), make("a", bin_="bin.1"), make("c", bin_="bin.0"))
    assert list(contents(wheels)) == ["b", "bin.1", "bin.0"]
    assert [wheel.name for wheel in group_bins(wheels)["bin.1"]] == ["a", "z"]
    assert msgspec.structs.replace(wheels[0], bin="") == make("b")


class History(RuleBasedStateMachine):
    """A project's locks over the years: packages come, go and are upgraded, one change a lock."""

    BUDGET = 12

    def __init__(self) -> None:
        super().__init__()
        self.lock: tuple[LockedWheel, ...] = ()
        self.moved: set[str] = set()
        self.changed: set[str] = set()
        self.release = 0

    def change(self, wheels: dict[str, LockedWheel]) -> None:
        before = self.lock
        self.lock = assign_bins(wheels.values(), before, budget=self.BUDGET)
        old, new = contents(before), contents(self.lock)
        self.changed = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
        known = {wheel.name: wheel for wheel in before}
        self.moved = {
            wheel.name
            for wheel in self.lock
            if wheel.name in known and wheel.digest == known[wheel.name].digest and wheel.bin != known[wheel.name].bin
        }

    @property
    def wheels(self) -> dict[str, LockedWheel]:
        return {wheel.name: wheel for wheel in self.lock}

    def fresh(self, name: str, size: int) -> LockedWheel:
        self.release += 1
        return make(name, size, f"1.{self.release}")

    @rule(name=names, size=st.integers(1, LARGE - 1))
    def add_a_small_one(self, name: str, size: int) -> None:
        if name in self.wheels:
            return
        self.change({**self.wheels, name: self.fresh(name, size)})
        assert self.changed == {self.wheels[name].bin}
        assert not self.moved

    @precondition(lambda self: self.lock)
    @rule(data=st.data(), size=st.integers(1, LARGE - 1))
    def upgrade_a_small_one(self, data: st.DataObject, size: int) -> None:
        small = [wheel.name for wheel in self.lock if wheel.bin != wheel.name]
        if not small:
            return
        name = data.draw(st.sampled_from(small))
        bin_ = self.wheels[name].bin
        self.change({**self.wheels, name: self.fresh(name, size)})
        assert self.changed == {bin_} == {self.wheels[name].bin}
        assert not self.moved

    @precondition(lambda self: self.lock)
    @rule(data=st.data())
    def remove_one(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.wheels)))
        bin_ = self.wheels[name].bin
        self.change({other: wheel for other, wheel in self.wheels.items() if other != name})
        assert self.changed == {bin_}
        assert not self.moved

    @rule(name=names, size=st.integers(LARGE, 200 * MIB))
    def add_or_upgrade_a_large_one(self, name: str, size: int) -> None:
        crowded = sum(wheel.bin == wheel.name for wheel in self.lock) == self.BUDGET - len(bin_names(self.BUDGET))
        before = self.wheels[name].bin if name in self.wheels else ""
        self.change({**self.wheels, name: self.fresh(name, size)})
        after = self.wheels[name].bin
        # At most one other gives up its layer, and only to this one, and only for want of room.
        assert len(self.moved) <= int(crowded and after == name != before)
        displaced = {layer for other in self.moved for layer in (other, self.wheels[other].bin)}
        assert self.changed - displaced <= {before, after}
        assert all(self.wheels[other].bin != other for other in self.moved)

    @rule()
    def change_nothing(self) -> None:
        self.change(self.wheels)
        assert not self.changed

    @invariant()
    def the_budget_is_kept(self) -> None:
        assert len(contents(self.lock)) <= self.BUDGET
        assert all(wheel.bin in (wheel.name, *bin_names(self.BUDGET)) for wheel in self.lock)


TestHistory = History.TestCase
TestHistory.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
