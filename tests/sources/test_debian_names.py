from __future__ import annotations

import pytest

from layerforge.sources.debian.catalog import PackageIndex, read_catalog
from layerforge.sources.debian.names import choose_names
from layerforge.sources.debian.renames import ADVICE, RENAMED
from tests.debian_samples import make_stanza


def index_of(*stanzas: str) -> PackageIndex:
    return PackageIndex([(read_catalog(["\n".join(stanzas).encode()]), "debian")])


INDEX = index_of(
    *(make_stanza(name) for name in ("ffmpeg", "libgl1", "libglx-mesa0", "libtiff6", "python3-dev", "libx264-164")),
    *(make_stanza(name) for name in ("libx265-215", "libavcodec61", "libpng16-16")),
    make_stanza("libasound2t64", Provides="libasound2 (= 1)"),
    make_stanza("liboss4-salsa-asound2", Provides="libasound2"),
    make_stanza("libncurses-dev", Provides="libncursesw5-dev"),
    make_stanza("netcat-openbsd", Provides="netcat"),
    make_stanza("netcat-traditional", Provides="netcat"),
)


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ("ffmpeg", ("ffmpeg",)),
        (" ffmpeg=1 ", ("ffmpeg=1",)),
        ("libgl*", ("libgl*",)),
        ("libgl1-mesa-glx", ("libgl1", "libglx-mesa0")),
        ("libasound2", ("libasound2t64",)),
        ("libncursesw5-dev", ("libncurses-dev",)),
    ],
)
def test_names_that_stay_or_are_replaced(asked: str, names: tuple[str, ...]) -> None:
    (choice,) = choose_names(INDEX, [asked])
    assert choice.names == names
    assert bool(choice.message) == (names != (asked.strip(),))
    if choice.message:
        assert asked in choice.message and all(name in choice.message for name in names)


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        ("libtiff5", "it has libtiff6, with another soname"),
        ("libx264-155", "it has libx264-164, with another soname"),
        ("libpng12-0", "it has libpng16-16, with another soname"),
        ("libavcodec58", "it has libavcodec61, with another soname"),
        ("netcat", "name one of them: netcat-openbsd, netcat-traditional"),
        ("python-dev", "write python3-dev"),
        ("python3-distutils", "write python3-setuptools"),
        ("python3.8", "python_version"),
        ("ffmpg", "did you mean ffmpeg?"),
        ("libgl1-mesa-glx=2", "write libgl1 and libglx-mesa0"),
        ("zzz*", "write the name of a package"),
        ("qqqqqq", ""),
    ],
)
def test_names_that_are_refused_with_a_suggestion(asked: str, hint: str) -> None:
    (choice,) = choose_names(INDEX, [asked])
    assert choice.names == () and choice.message
    assert hint in choice.hint if hint else choice.hint == ""


def test_each_entry_has_its_answer_in_order() -> None:
    choices = choose_names(INDEX, ["libtiff5", "ffmpeg", "libgl1-mesa-glx"])
    assert [choice.asked for choice in choices] == ["libtiff5", "ffmpeg", "libgl1-mesa-glx"]


def test_the_tables_have_each_name_once() -> None:
    names = [row.old for row in RENAMED] + [row.name for row in ADVICE]
    assert len(names) == len(set(names))
    assert all(row.new and row.release in ("bullseye", "bookworm") for row in RENAMED)
