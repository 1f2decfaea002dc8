from __future__ import annotations

import pytest

from layerforge.errors import ConfigError, ResolveError
from layerforge.progress import Silence
from layerforge.sources.debian.resolve import resolve
from layerforge.sources.debian.wishes import placing_errors, settle_names
from tests.debian_samples import make_stanza
from tests.sources.test_debian_resolve import index_of

INDEX = index_of(
    make_stanza("libgl1"),
    make_stanza("libglib2.0-0t64", Provides="libglib2.0-0"),
    make_stanza("libtiff6"),
    make_stanza("one", Depends="deep"),
    make_stanza("deep", Depends="gone"),
    make_stanza("left", Conflicts="right"),
    make_stanza("right"),
)
LINES = {"libglib2.0-0": 4, "libtiff5": 5, "ffmepg": 6, "one": 7, "left": 8, "right": 9}


class Notes(Silence):
    """Keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[tuple[str, str]] = []

    def warn(self, text: str, hint: str = "") -> None:
        self.warnings.append((text, hint))


def locate(name: str) -> tuple[str, int]:
    return "cog.yaml", LINES.get(name.partition("=")[0], 0)


def test_a_replaced_name_is_told_with_its_line() -> None:
    notes = Notes()
    assert settle_names(INDEX, ["libgl1", "libglib2.0-0", "libgl1"], locate, notes) == ("libgl1", "libglib2.0-0t64")
    ((text, hint),) = notes.warnings
    assert text.startswith("cog.yaml:4: system_packages: libglib2.0-0 is installed as libglib2.0-0t64: ")
    assert hint == "write libglib2.0-0t64"


def test_every_unknown_name_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        settle_names(INDEX, ["libtiff5", "libgl1", "ffmepg"], locate, Notes())
    assert [(problem.path, problem.line) for problem in caught.value.problems] == [("cog.yaml", 5), ("cog.yaml", 6)]
    assert "it has libtiff6" in caught.value.problems[0].hint


@pytest.mark.parametrize(
    ("names", "where"),
    [(["libgl1", "one"], "cog.yaml:7"), (["left", "right"], "cog.yaml:8"), (["left=2"], "cog.yaml:8")],
)
def test_an_error_of_the_resolver_gets_the_place_of_its_entry(names: list[str], where: str) -> None:
    with pytest.raises(ResolveError) as caught, placing_errors(names, locate):
        resolve(INDEX, names)
    assert caught.value.where == where
