from __future__ import annotations

from collections.abc import Callable

import pytest

from layerforge.errors import ResolveError
from layerforge.lock import LockedPython
from layerforge.oci import LINUX_AMD64
from layerforge.progress import SILENCE
from layerforge.sources.pythons.choice import Answer, Obstacle, choose_python
from layerforge.sources.pythons.debian import find_debian
from layerforge.store import Store

DEBIAN = LockedPython("3.13", "3.13.5", "debian", "/usr/bin", "Debian trixie ships Python 3.13")
STANDALONE = LockedPython("3.12", "3.12.4", "standalone", "/opt/python/bin", "a standalone build of Python 3.12.4")
BASE = LockedPython("3.12", "3.12.3", "base", "/usr/bin", "the base image has Python 3.12.3")
NONE = Obstacle("Debian ships 3.11 (bookworm) and 3.13 (trixie)")


def never() -> Answer:
    raise AssertionError("asked without need")


def gives(answer: Answer) -> Callable[[], Answer]:
    return lambda: answer


def test_debian_is_taken_before_a_standalone_build() -> None:
    assert choose_python("3.13", "", {"debian": gives(DEBIAN), "standalone": never}) == DEBIAN


def test_a_base_image_that_has_it_is_taken_first() -> None:
    assert choose_python("3.12", "", {"base": gives(BASE), "debian": never, "standalone": never}) == BASE


def test_the_reason_tells_why_the_others_were_passed_over() -> None:
    found = choose_python("3.12", "", {"debian": gives(NONE), "standalone": gives(STANDALONE)})
    assert found.version == "3.12.4"
    assert found.reason == ("a standalone build of Python 3.12.4: Debian ships 3.11 (bookworm) and 3.13 (trixie)")


def test_one_that_is_asked_for_is_the_only_one_asked() -> None:
    found = choose_python("3.12", "standalone", {"base": never, "debian": never, "standalone": gives(STANDALONE)})
    assert found.reason == "a standalone build of Python 3.12.4: layerforge.python asks for it"


def test_when_nobody_has_it_all_three_ways_are_named_with_their_obstacles() -> None:
    away = Obstacle("the standalone build cannot be had: https://mirror.example/a.tar.gz: cannot be reached")
    with pytest.raises(ResolveError) as caught:
        choose_python("3.12", "", {"debian": gives(NONE), "standalone": gives(away)}, "cog.yaml")
    assert str(caught.value).splitlines() == [
        "cog.yaml: Python 3.12 cannot be had",
        "  there is no base image that could have it",
        "  Debian ships 3.11 (bookworm) and 3.13 (trixie)",
        "  the standalone build cannot be had: https://mirror.example/a.tar.gz: cannot be reached",
    ]
    for way in ('"3.11" or "3.13"', "LAYERFORGE_PYTHON_MIRROR", "python:3.12-slim"):
        assert way in caught.value.hint


def test_one_that_is_asked_for_and_has_it_not() -> None:
    with pytest.raises(ResolveError) as caught:
        choose_python("3.12.1", "debian", {"debian": gives(NONE), "standalone": never})
    assert str(caught.value).splitlines() == [
        "Python 3.12.1 cannot be had",
        "  Debian ships 3.11 (bookworm) and 3.13 (trixie)",
        "  no other way was tried: layerforge.python is debian",
    ]
    with pytest.raises(ResolveError, match="no base image"):
        choose_python("3.12", "base", {"debian": never, "standalone": never})


@pytest.mark.parametrize(("minor", "release"), [("3.11", "bookworm"), ("3.13", "trixie")])
def test_the_releases_for_debians_own_stay(minor: str, release: str, store: Store) -> None:
    found = find_debian(minor, LINUX_AMD64, store, SILENCE)  # asks nobody: this test has no network
    assert isinstance(found, LockedPython)
    assert (found.provider, found.home, found.reason) == (
        "debian",
        "/usr/bin",
        f"Debian {release} ships Python {minor}",
    )


@pytest.mark.parametrize("wanted", ["3.10", "3.12", "3.12.4", "3.14"])
def test_what_debian_does_not_ship(wanted: str, store: Store) -> None:
    assert find_debian(wanted, LINUX_AMD64, store, SILENCE) == NONE
