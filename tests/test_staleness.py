from __future__ import annotations

import pytest
from msgspec.structs import replace

from layerforge.lock import LockedDeb, LockedPython, LockedWheel, PlatformLock, Wanted
from layerforge.oci import Digest
from layerforge.staleness import EVERYTHING, Touched, Upgrade, choose_kept, find_touched, list_differences

WANTED = Wanted("3.13", "", "", ("jq",), ("one", "two"), ("granian",), 3)
DEB = LockedDeb("jq", "1", "amd64", "debian", "pool/jq.deb", 1, Digest.of(b"jq"))
WHEEL = LockedWheel("some-thing", "1", "some_thing-1-py3-none-any.whl", "", 1, Digest.of(b"x"), "bin.0")
SECTION = PlatformLock("linux/amd64", "trixie", LockedPython("3.13", "3.13.5", "debian"), (), (), (DEB,), (WHEEL,), ())
NOTHING = Touched(False, False, False, False)


@pytest.mark.parametrize(
    ("change", "touched", "lines"),
    [
        ({}, NOTHING, []),
        ({"python": "3.12"}, EVERYTHING, ["build.python_version: 3.13 → 3.12"]),
        ({"provider": "base"}, EVERYTHING, ["layerforge.python: (none) → base"]),
        ({"base": "python:3.13"}, EVERYTHING, ["layerforge.base: (none) → python:3.13"]),
        ({"revision": 4}, EVERYTHING, ["resolved by the rules of another Layerforge (revision 3, now 4)"]),
        ({"system": ()}, Touched(False, True, False, False), ["build.system_packages: - jq"]),
        ({"packages": ("two", "three")}, Touched(False, False, True, False),
         ["Python requirements: - one", "Python requirements: + three"]),
        ({"packages": ("two", "one")}, Touched(False, False, True, False), ["Python requirements: in another order"]),
        ({"max_layers": 20}, Touched(False, False, False, False, True), ["layerforge.max_layers: (none) → 20"]),
        ({"runtime": ("granian", "x")}, Touched(False, False, False, True), ["the runtime's requirements: + x"]),
    ],
)  # fmt: skip
def test_differences(change: dict[str, str], touched: Touched, lines: list[str]) -> None:
    new = replace(WANTED, **change)
    assert find_touched(WANTED, new) == touched
    assert touched.anything == bool(lines)
    assert list(list_differences(WANTED, new)) == lines
    assert (new.digest == WANTED.digest) == (not lines)


def test_what_is_not_touched_is_kept() -> None:
    kept = choose_kept(SECTION, None, NOTHING)
    assert (kept.section, kept.debs, kept.packages, kept.runtime, kept.layers) == (SECTION, True, True, True, True)
    kept = choose_kept(SECTION, None, Touched(False, False, False, False, True))
    assert (kept.debs, kept.packages, kept.runtime, kept.layers) == (True, True, True, False)
    kept = choose_kept(SECTION, None, Touched(False, True, False, False))
    assert (kept.debs, kept.packages) == (False, True)
    assert kept.preferred_debs("trixie") == (DEB,)
    assert kept.preferred_debs("bookworm") == ()


def test_an_upgrade_is_for_those_it_names() -> None:
    kept = choose_kept(SECTION, None, NOTHING, Upgrade(names=frozenset({"Some_Thing"})))
    assert (kept.debs, kept.packages, kept.runtime) == (True, False, True)
    assert kept.preferred_wheels() == ()
    assert kept.bins == (WHEEL,), "a new version stays in its layer"
    kept = choose_kept(SECTION, None, NOTHING, Upgrade(names=frozenset({"jq"})))
    assert (kept.debs, kept.packages, kept.preferred_debs("trixie")) == (False, True, ())


def test_everything_is_resolved_anew_but_keeps_its_bins() -> None:
    kept = choose_kept(SECTION, None, NOTHING, Upgrade(everything=True))
    assert (kept.section, kept.preferred, kept.preferred_wheels(), kept.bins) == (None, None, (), (WHEEL,))


def test_a_new_platform_prefers_what_another_has() -> None:
    kept = choose_kept(None, SECTION, NOTHING)
    assert (kept.section, kept.preferred_wheels(), kept.preferred_debs("trixie")) == (None, (WHEEL,), ())
