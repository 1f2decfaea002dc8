"""Pairs of bases, good and bad: what the verdict says, and what the dynamic loader really does."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from layerforge.abi.demands import Demands, summarize_demands
from layerforge.abi.foundation import Foundation, Provides
from layerforge.abi.verdict import UpperLayer, judge
from tests.abi.made_libraries import (
    Library,
    Side,
    compare,
    foundation_of,
    loads,
    machine_layer,
    make,
    make_loader,
    survey_paths,
)

ONE = "int one(void) { return 1; }"
TWO = "int two(void) { return 2; }"
USE_ONE = "int one(void); int use(void) { return one(); }"
USE_TWO = "int two(void); int use(void) { return two(); }"
V1, V2 = "V1 { global: *; };", "V1 { global: one; local: *; }; V2 { global: two; } V1;"


class Pair(msgspec.Struct, frozen=True):
    """``upper`` was built against ``old``. ``says`` are words that a refusal must have; ``loaded``: not all of it."""

    name: str
    old: Side
    new: Side
    upper: Side
    safe: bool
    says: tuple[str, ...] = ()
    loaded: tuple[str, ...] = ()


def library(source: str = ONE, **options: object) -> Side:
    return {"liba.so.1": Library(source, **options)}  # type: ignore[arg-type]


def user(source: str = USE_ONE, *needs: str, **options: object) -> Side:
    return {"user.so": Library(source, needs=needs or ("liba.so.1",), **options)}  # type: ignore[arg-type]


def versioned(name: str, version: str, default: bool = True) -> str:
    at = "@@" if default else "@"
    return f'__asm__(".symver {name}_{version}, {name}{at}{version}"); int {name}_{version}(void) {{ return 1; }}\n'


def nodes(*versions: str) -> str:
    return "".join(
        f"{version} {{ global: *; }};" if not i else f"{version} {{ }};" for i, version in enumerate(versions)
    )


BIG = "char filling[6 << 20] = {1};" + ONE

PAIRS = [
    Pair("the same again", library(), library(), user(), True),
    Pair("more than before", library(), library(ONE + TWO), user(), True),
    Pair("library missing", library(), {}, user(), False, ("user.so", "liba.so.1")),
    Pair("another soname", library(), {"liba.so.2": Library(ONE)}, user(), False, ("liba.so.1",)),
    Pair("symbol gone", library(ONE + TWO), library(ONE), user(USE_TWO), False, ("user.so", "two")),
    Pair("object gone", library("int one = 5;"), library(TWO), user("extern int one; int *p = &one;"), False, ("one",)),
    Pair(
        "thread-local gone",
        library("__thread int one = 5;"),
        library(TWO),
        user("extern __thread int one; int use(void) { return one; }"),
        False,
        ("one",),
    ),
    Pair(
        "version gone",
        library(ONE + TWO, versions=V2),
        library(ONE, versions=V1),
        user(USE_TWO),
        False,
        ("V2", "liba.so.1"),
    ),
    Pair(
        "version kept, symbol dropped",
        library(ONE + TWO, versions=V2),
        library(ONE + "int three(void) { return 3; }", versions=V2.replace("two", "three")),
        user(USE_TWO),
        False,
        ("two@V2", "liba.so.1"),
    ),
    Pair("versions added", library(ONE, versions=V1), library(ONE + TWO, versions=V2), user(), True),
    Pair("table of versions dropped", library(ONE, versions=V1), library(ONE), user(), False, ("one@V1",)),
    Pair(
        "own versions dropped, but not the table",
        {"liba.so.1": Library(ONE, versions=V1)},
        {"libz.so.1": Library(TWO, versions=V1), "liba.so.1": Library(ONE + USE_TWO, needs=("libz.so.1",))},
        user(),
        True,
    ),
    Pair("versions introduced", library(ONE), library(ONE, versions=V1), user(), True),
    Pair(
        "old version hidden behind a new default",
        library(versioned("one", "V1"), versions=nodes("V1")),
        library(versioned("one", "V1", False) + versioned("one", "V2"), versions=nodes("V1", "V2")),
        user(),
        True,
    ),
    Pair(
        "without a version, and only hidden ones left",
        library(),
        library("int dummy;" + versioned("one", "V2", False), versions=nodes("V1", "V2")),
        user(),
        False,
        ("one",),
    ),
    Pair(
        "symbol in another version",
        library(ONE, versions=V1),
        library(ONE, versions="V3 { global: *; };"),
        user(),
        False,
        ("V1",),
    ),
    Pair(
        "moved into a library that comes along, a stub is left",
        {"liba.so.1": Library(ONE, versions=V1)},
        {"libc0.so.1": Library(ONE, versions=V1), "liba.so.1": Library("", versions=V1, needs=("libc0.so.1",))},
        user(),
        True,
    ),
    Pair(
        "moved into a library that does not come along",
        {"liba.so.1": Library(ONE), "libb.so.1": Library(TWO)},
        {"liba.so.1": Library(TWO), "libb.so.1": Library(ONE)},
        user(),
        False,
        ("one", "libb.so.1 only"),
    ),
    Pair(
        "came along with another, and no longer does",
        {"liba.so.1": Library(ONE), "libb.so.1": Library(TWO, needs=("liba.so.1",))},
        {"liba.so.1": Library(ONE), "libb.so.1": Library(TWO)},
        user(USE_ONE, "libb.so.1"),
        False,
        ("one",),
    ),
    Pair(
        "the library needs one that is gone",
        {"liba.so.1": Library(ONE), "libb.so.1": Library(TWO, needs=("liba.so.1",))},
        {"libb.so.1": Library(TWO, flags=("-Wl,--no-as-needed",))},
        user(USE_TWO, "libb.so.1"),
        True,
    ),
    Pair(
        "weak and gone",
        library(ONE + TWO),
        library(ONE),
        user("__attribute__((weak)) int two(void); int use(void) { return two ? two() : 0; }"),
        True,
    ),
    Pair(
        "chosen at run time (IFUNC)",
        library(),
        library(
            "static int f(void) { return 1; } static void *r(void) { return f; }"
            'int one(void) __attribute__((ifunc("r")));'
        ),
        user(),
        True,
    ),
    Pair("for another processor", library(), library(ONE, machine=183), user(), False, ("liba.so.1",)),
    Pair("a text in its place", library(), library("", text=b"INPUT(libb.so)"), user(), False, ("liba.so.1",)),
    Pair("a cut file in its place", library(), library("", text=b"\x7fELF\x02\x01\x01" + bytes(90)), user(), False),
    Pair(
        "a link to nothing",
        {"liba.so.1.2": Library(ONE, flags=("-Wl,-soname,liba.so.1",)), "liba.so.1": Library(link="liba.so.1.2")},
        {"liba.so.1": Library(link="liba.so.1.3")},
        user(),
        False,
        ("liba.so.1",),
    ),
    Pair(
        "a link to another file",
        {"liba.so.1.2": Library(ONE, flags=("-Wl,-soname,liba.so.1",)), "liba.so.1": Library(link="liba.so.1.2")},
        {"liba.so.1.3": Library(ONE, flags=("-Wl,-soname,liba.so.1",)), "liba.so.1": Library(link="liba.so.1.3")},
        user(),
        True,
    ),
    Pair(
        "an own copy is found first",
        library(),
        {},
        {"own/liba.so.1": Library(ONE), "user.so": Library(USE_ONE, needs=("own/liba.so.1",), rpath="$ORIGIN/own")},
        True,
    ),
    Pair(
        "an own copy lies where nobody looks",
        library(),
        {},
        {"own/liba.so.1": Library(ONE), "user.so": Library(USE_ONE, needs=("liba.so.1",))},
        False,
        ("liba.so.1",),
        ("user.so",),
    ),
    Pair(
        "an own copy that lacks it does not help",
        library(),
        library(TWO),
        {"own/liba.so.1": Library(TWO), "user.so": Library(USE_ONE, needs=("liba.so.1",))},
        False,
        ("one",),
        ("user.so",),
    ),
    Pair(
        "old table of hashes",
        library(flags=("-Wl,--hash-style=sysv",)),
        library(flags=("-Wl,--hash-style=sysv",)),
        user(),
        True,
    ),
    Pair(
        "old table of hashes, symbol gone",
        library(ONE + TWO, flags=("-Wl,--hash-style=sysv",)),
        library(ONE, flags=("-Wl,--hash-style=sysv",)),
        user(USE_TWO, flags=("-Wl,--hash-style=sysv",)),
        False,
        ("two",),
    ),
    Pair("large files", library(BIG), library(BIG + TWO), user("char mine[9 << 20] = {1};" + USE_ONE), True),
    Pair(
        "large files, symbol gone",
        library(BIG + TWO),
        library(BIG),
        user("char mine[9 << 20] = {1};" + USE_TWO),
        False,
        ("two",),
    ),
    Pair(
        "a program",
        library(),
        library(),
        {"program": Library("int one(void); int main(void) { return one() - 1; }", program=True, needs=("liba.so.1",))},
        True,
    ),
    Pair(
        "a program whose symbol is gone",
        library(ONE + TWO),
        library(TWO),
        {"program": Library("int one(void); int main(void) { return one() - 1; }", program=True, needs=("liba.so.1",))},
        False,
        ("program", "one"),
    ),
    Pair(
        "brought by another of the layer's files",
        {"liba.so.1": Library(ONE), "libb.so.1": Library(TWO)},
        {"liba.so.1": Library(TWO), "libb.so.1": Library(TWO)},
        {"a.so": Library("int g;", needs=("liba.so.1",)), "b.so": Library(USE_ONE)},
        False,
        ("one",),
    ),
    Pair(
        "brought by another of the layer's files, and still there",
        {"liba.so.1": Library(ONE), "libb.so.1": Library(TWO)},
        {"liba.so.1": Library(ONE + TWO)},
        {"a.so": Library("int g;", needs=("liba.so.1",)), "b.so": Library(USE_ONE)},
        True,
    ),
    Pair(
        "gone from one of two that have it",
        {"liba.so.1": Library(ONE), "libb.so.1": Library(ONE)},
        {"liba.so.1": Library(TWO), "libb.so.1": Library(ONE)},
        user(USE_ONE, "liba.so.1", "libb.so.1"),
        True,
    ),
]


@pytest.fixture(scope="module")
def loader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_loader(tmp_path_factory.mktemp("loader"))


@pytest.fixture(scope="module")
def machine(loader: Path) -> Provides:
    return machine_layer(loader)


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
def test_the_verdict_is_what_the_loader_does(pair: Pair, loader: Path, machine: Provides, tmp_path: Path) -> None:
    old, new = make(pair.old, tmp_path / "old"), make(pair.new, tmp_path / "new")
    upper = make(pair.upper, tmp_path / "upper", old)
    files = [upper / name for name in pair.loaded or pair.upper]
    assert loads(loader, old, files), "the pair shows nothing: it never worked"
    refusals = compare(machine, loader, old, new, [upper])
    assert loads(loader, new, files) == pair.safe, "the pair is not what it says"
    assert (not refusals) == pair.safe, refusals
    for words in pair.says:
        assert words in " ".join(map(str, refusals))


def test_what_other_upper_layers_have_is_as_before(loader: Path, machine: Provides, tmp_path: Path) -> None:
    old, new = make(library(), tmp_path / "old"), make(library(), tmp_path / "new")
    torch = make({"libtorch.so": Library(TWO)}, tmp_path / "site" / "torch")
    source = USE_TWO + "int one(void); int other(void) { return one(); }"
    needs = (str(torch / "libtorch.so"), str(old / "liba.so.1"))
    vision = make({"vision.so": Library(source, needs=needs)}, tmp_path / "site" / "vision")
    files = [torch / "libtorch.so", vision / "vision.so"]
    assert loads(loader, old, files) and loads(loader, new, files)
    assert compare(machine, loader, old, new, [torch, vision]) == ()


def test_what_was_never_there_is_as_before(loader: Path, machine: Provides, tmp_path: Path) -> None:
    """The library of a graphics driver is put into a container when it starts."""
    driver = make({"libcuda.so.1": Library(TWO)}, tmp_path / "driver")
    old, new = make(library(), tmp_path / "old"), make(library(), tmp_path / "new")
    upper = make({"user.so": Library(USE_TWO, needs=("libcuda.so.1",))}, tmp_path / "upper", driver)
    assert compare(machine, loader, old, new, [upper]) == ()


def generate(dice: random.Random) -> Iterator[Side]:
    """An old side, a new side and an upper side of random libraries, symbols, versions and needs."""
    names = [f"lib{letter}.so.1" for letter in "abc"]
    symbols = ["s0", "s1", "s2", "s3", "s4"]

    def side(changed: dict[str, set[str]] | None) -> tuple[Side, dict[str, set[str]]]:
        made: dict[str, Library] = {}
        has: dict[str, set[str]] = {}
        for number, name in enumerate(names):
            if changed is None:
                has[name] = set(dice.sample(symbols, dice.randint(1, 4)))
            else:
                has[name] = {symbol for symbol in changed[name] if dice.random() < 0.8}
                has[name] |= {symbol for symbol in symbols if dice.random() < 0.1}
                if dice.random() < 0.05:
                    continue
            needs = [other for other in names[:number] if other in made and dice.random() < needing[name, other]]
            tagged = sorted(has[name])
            script = ""
            if versioned_names[name]:
                first = [s for s in tagged if s in ("s0", "s1", "s2") or (changed is not None and dice.random() < 0.1)]
                rest = [s for s in tagged if s not in first]
                script = f"A1 {{ global: {'; '.join([*first, 'dummy'])}; local: *; }};"
                script += f"A2 {{ global: {'; '.join(rest)}; }} A1;" if rest else ""
            source = "int dummy(void) { return 0; }" + "".join(f"int {s}(void) {{ return 1; }}" for s in tagged)
            made[name] = Library(source, needs=needs, versions=script)
        return made, has

    needing = {(a, b): dice.choice((0.0, 0.1, 0.9, 1.0)) for a in names for b in names}
    versioned_names = {name: dice.random() < 0.5 for name in names}
    old, has = side(None)
    new, _ = side(has)
    upper: dict[str, Library] = {}
    for number in range(2):
        needs = dice.sample(names, dice.randint(1, 2))
        reachable = sorted({symbol for name in needs for symbol in has[name]})
        used = dice.sample(reachable, dice.randint(1, len(reachable)))
        weak = {symbol: dice.random() < 0.2 for symbol in used}
        source = "".join(f"{'__attribute__((weak)) ' if weak[s] else ''}int {s}(void);" for s in used)
        source += "int use" + str(number) + "(void) { return 0" + "".join(f" + (long) &{s}" for s in used) + "; }"
        upper[f"user{number}.so"] = Library(source, needs=needs)
    yield from (old, new, upper)


def check_random(seed: int, loader: Path, machine: Provides, folder: Path) -> tuple[bool, bool] | None:
    """(what the verdict says, what the loader does) about a random pair; None when it never worked."""
    old_side, new_side, upper_side = generate(random.Random(seed))
    old, new = make(old_side, folder / "old"), make(new_side, folder / "new")
    upper = make(upper_side, folder / "upper", old)
    files = [upper / name for name in upper_side]
    # One at a time: what the other one brings into the process is another matter.
    if not all(loads(loader, old, [file]) for file in files):
        return None
    return not compare(machine, loader, old, new, [upper]), all(loads(loader, new, [file]) for file in files)


def _check_many(seeds: range, loader: Path, machine: Provides, folder: Path) -> None:
    results = [check_random(seed, loader, machine, folder / str(seed)) for seed in seeds]
    counted = [result for result in results if result is not None]
    assert (True, False) not in counted, f"wrong 'safe': seed {results.index((True, False))}"
    assert (False, True) not in counted, f"wrong refusal: seed {results.index((False, True))}"
    assert {(True, True), (False, False)} <= set(counted), "too few pairs to show anything"


def test_random_pairs(loader: Path, machine: Provides, tmp_path: Path) -> None:
    _check_many(range(12), loader, machine, tmp_path)


@pytest.mark.slow
def test_many_random_pairs(loader: Path, machine: Provides, tmp_path: Path) -> None:
    _check_many(range(100, 300), loader, machine, tmp_path)


# -- what is not about symbols ------------------------------------------------------------------------------------


def root(**parts: object) -> Foundation:
    return Foundation((Provides(**parts),))  # type: ignore[arg-type]


def layer(**parts: object) -> list[UpperLayer]:
    return [UpperLayer("packages/x", Demands(**parts))]  # type: ignore[arg-type]


def test_a_layer_without_a_record_is_not_guessed_about() -> None:
    (refusal,) = judge([UpperLayer("code", None)], root(), root)
    assert "nothing is recorded" in refusal.message
    (refusal,) = judge(layer(unknown={"src/a.so": "damaged"}), root(), root)
    assert refusal.file == "src/a.so" and "damaged" in refusal.message


def test_a_removed_file_of_a_lower_layer_is_refused() -> None:
    (refusal,) = judge(layer(whiteouts=("etc/.wh.motd",)), root(), root)
    assert "removes" in refusal.message


def test_a_folder_that_would_lie_behind_a_link_is_refused() -> None:
    upper = layer(folders=("usr/local/lib/python3.13/site-packages", "srv/data"))
    merged = root(folders=("usr/local/lib",), links={"srv": "var/srv"})
    (refusal,) = judge(upper, merged, lambda: root(folders=("srv",)))
    assert refusal.file == "srv" and "link" in refusal.message
    assert judge(upper, merged, lambda: merged) == (), "it was so before"
    (refusal,) = judge(upper, root(files=("srv",)), root)
    assert "file" in refusal.message


def test_a_file_that_hides_one_of_the_base_is_refused() -> None:
    base = root(files=("etc/passwd", "usr/local/bin/pip"))
    (refusal,) = judge(layer(files=("etc/passwd", "usr/local/bin/pip")), base, lambda: base)
    assert refusal.file == "etc/passwd" and "hide" in refusal.message
    (refusal,) = judge(layer(files=("usr/local/x",)), root(folders=("usr/local/x",)), root)
    assert "folder" in refusal.message


def test_without_the_old_base_every_doubt_is_a_refusal(loader: Path, machine: Provides, tmp_path: Path) -> None:
    driver = make({"libcuda.so.1": Library(TWO)}, tmp_path / "driver")
    upper = make({"user.so": Library(USE_TWO, needs=("libcuda.so.1",))}, tmp_path / "upper", driver)
    demands = summarize_demands(survey_paths([upper / "user.so"]))
    new = foundation_of(machine, make(library(), tmp_path / "new"))
    refusals = judge([UpperLayer("packages/x", demands)], new, lambda: None, python=str(loader))
    assert "libcuda.so.1" in str(refusals[0])
