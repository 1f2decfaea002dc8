"""Properties: of comparing versions, and of every set that the resolver gives, whatever the archive looks like."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from layerforge.errors import ResolveError
from layerforge.sources.debian.catalog import PackageIndex, read_catalog
from layerforge.sources.debian.control import Package, compare_versions, is_within, parse_relations
from layerforge.sources.debian.installed import parse_status
from layerforge.sources.debian.reach import meets, offends
from layerforge.sources.debian.resolve import resolve
from tests.debian_samples import make_stanza

VERSIONS = st.from_regex(r"([0-9]:)?[0-9][0-9a-z.+~]{0,6}(-[0-9a-z.+~]{1,4})?", fullmatch=True)
NAMES = [f"p{number}" for number in range(8)]


@given(VERSIONS, VERSIONS, VERSIONS)
def test_versions_are_in_a_total_order(a: str, b: str, c: str) -> None:
    assert (compare_versions(a, b) > 0) == (compare_versions(b, a) < 0)
    first, second, third = sorted((a, b, c), key=functools.cmp_to_key(compare_versions))
    assert compare_versions(first, second) <= 0 and compare_versions(second, third) <= 0
    assert compare_versions(first, third) <= 0


@given(VERSIONS, VERSIONS)
def test_exactly_one_of_earlier_equal_later(a: str, b: str) -> None:
    assert sum(is_within(a, operator, b) for operator in ("<<", "=", ">>")) == 1
    assert is_within(a, "<=", b) != is_within(a, ">>", b) and is_within(a, ">=", b) != is_within(a, "<<", b)
    assert compare_versions(f"{a}~", a) < 0 < compare_versions(f"{a}+", a)


RELATIONS = st.builds(
    lambda name, condition: name + condition,
    st.sampled_from([*NAMES, "virtual"]),
    st.sampled_from(["", "", "", " (>= 2)", " (<< 2)", " (= 1)"]),
)
GROUPS = st.lists(st.lists(RELATIONS, min_size=1, max_size=3).map(" | ".join), max_size=3).map(", ".join)


@st.composite
def archives(draw: st.DrawFn) -> list[str]:
    """A few packages with every kind of relation."""
    stanzas = []
    for name in NAMES:
        fields = {"Depends": draw(GROUPS)}
        if draw(st.integers(0, 3)) == 0:
            fields["Conflicts"] = draw(RELATIONS)
        if draw(st.integers(0, 3)) == 0:
            fields["Breaks"] = draw(RELATIONS)
        if draw(st.integers(0, 2)) == 0:
            fields["Provides"] = draw(st.sampled_from(["virtual", "virtual (= 2)"]))
        if draw(st.integers(0, 5)) == 0:
            fields["Multi_Arch"] = draw(st.sampled_from(["same", "foreign", "allowed"]))
        fields = {key: value for key, value in fields.items() if value}
        stanzas.append(make_stanza(name, draw(st.sampled_from(["1", "2"])), **fields))
    return stanzas


def index_of(stanzas: Sequence[str]) -> PackageIndex:
    return PackageIndex([(read_catalog(["\n".join(stanzas).encode()]), "debian")])


def check_set(packages: Sequence[Package]) -> None:
    """Every dependency is met, and nothing conflicts."""
    assert len({package.name for package in packages}) == len(packages)
    for package in packages:
        for group in package.depends:
            assert any(meets(other, relation, "amd64", "amd64") for other in packages for relation in group), package
        for relation in (*package.conflicts, *package.breaks):
            assert not any(offends(other, relation, "amd64") for other in packages if other is not package), package


@settings(max_examples=150, deadline=None)
@given(archives(), st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True))
def test_a_set_is_closed_free_of_conflicts_and_always_the_same(stanzas: list[str], roots: list[str]) -> None:
    try:
        chosen = resolve(index_of(stanzas), roots)
    except ResolveError as error:
        assert error.message and error.hint
        return
    check_set(chosen)
    assert set(roots) <= {package.name for package in chosen}
    assert resolve(index_of(stanzas), roots) == chosen


@settings(max_examples=100, deadline=None)
@given(archives(), archives(), st.sampled_from(NAMES), st.sampled_from(NAMES))
def test_what_is_added_to_a_base_fits_to_it(old: list[str], new: list[str], base: str, root: str) -> None:
    try:
        there = resolve(index_of(old), [base])
        added = resolve(index_of(new), [root], parse_status("\n".join(_only(old, there))))
    except ResolveError:
        return
    final = {package.name: package for package in (*there, *added)}
    check_set(list(final.values()))
    for package in added:
        before = next((other for other in there if other.name == package.name), None)
        assert before is None or compare_versions(package.version, before.version) > 0


def _only(stanzas: list[str], packages: Sequence[Package]) -> list[str]:
    names = {package.name for package in packages}
    return [stanza for stanza in stanzas if stanza.split("\n")[0].removeprefix("Package: ") in names]


@settings(max_examples=100, deadline=None)
@given(archives(), st.randoms(use_true_random=False), st.sampled_from(NAMES))
def test_the_order_of_the_archive_decides_only_between_equals(stanzas: list[str], random: object, root: str) -> None:
    shuffled = list(stanzas)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    outcomes = []
    for order in (stanzas, shuffled):
        try:
            outcomes.append({package.name for package in resolve(index_of(order), [root])})
        except ResolveError:
            outcomes.append(set())
    if not any("virtual" in line for stanza in stanzas for line in stanza.split("\n")):
        assert outcomes[0] == outcomes[1]


@given(st.text(alphabet="ab1 .:|,()<>=[]~-", max_size=30))
def test_relations_are_read_or_refused(text: str) -> None:
    try:
        groups = parse_relations(text)
    except ValueError:
        return
    again = ", ".join(" | ".join(map(str, group)) for group in groups)
    assert parse_relations(again) == groups
