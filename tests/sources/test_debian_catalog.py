from __future__ import annotations

import lzma

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerforge.errors import VerificationError
from layerforge.sources.debian.catalog import (
    PackageIndex,
    decode_catalog,
    encode_catalog,
    inflate_index,
    read_catalog,
)
from layerforge.sources.debian.control import Relation, compare_versions, is_within, parse_package, parse_relations
from tests.debian_samples import make_stanza


def index_of(*stanzas: str) -> PackageIndex:
    return PackageIndex([(read_catalog(["\n".join(stanzas).encode()]), "debian")])


STANZAS = [
    make_stanza("tool", "1", Depends="lib (>= 2), other | virtual", Multi_Arch="foreign"),
    make_stanza("lib", "2", Essential="yes", Priority="required"),
    make_stanza("real", "3", Provides="virtual (= 3),\n fold-ed, third:any"),
]


def test_stanzas_are_found_by_name() -> None:
    package = index_of(*STANZAS).candidate("tool")
    assert package is not None
    assert package.depends == ((Relation("lib", ">=", "2"),), (Relation("other"), Relation("virtual")))
    assert package.multi_arch == "foreign"


def test_provided_names_are_found_though_folded() -> None:
    index = index_of(*STANZAS)
    for name in ("virtual", "fold-ed", "third"):
        assert [package.name for package in index.providers(name)] == ["real"], name
    assert index.providers("real") == ()


def test_essential_packages() -> None:
    assert [package.name for package in index_of(*STANZAS).essential()] == ["lib"]


def test_a_provider_that_a_newer_version_no_longer_is() -> None:
    old, new = make_stanza("a", "1", Provides="v"), make_stanza("a", "2")
    assert index_of(old, new).providers("v") == ()


@given(st.lists(st.integers(1, 60), max_size=20))
def test_chunks_may_break_anywhere(cuts: list[int]) -> None:
    text = "\n".join(STANZAS * 3).encode()
    chunks, start = [], 0
    for cut in cuts:
        chunks.append(text[start : start + cut])
        start += cut
    assert read_catalog([*chunks, text[start:]]) == read_catalog([text])


def test_many_stanzas_span_blocks() -> None:
    index = index_of(*(make_stanza(f"package{number}", str(number)) for number in range(700)))
    for number in (0, 255, 256, 699):
        package = index.candidate(f"package{number}")
        assert package is not None and package.version == str(number)


def test_a_catalog_survives_encoding() -> None:
    catalog = read_catalog(["\n".join(STANZAS).encode()])
    assert decode_catalog(encode_catalog(catalog)) == catalog
    assert decode_catalog(b"\x93rubbish") is None


def test_inflating() -> None:
    text = b"x" * 3_000_000
    assert b"".join(inflate_index(lzma.compress(text), where="i")) == text


@pytest.mark.parametrize("damage", [lambda data: data[:-8], lambda data: data[:40], lambda data: b"no" + data])
def test_damaged_indexes_are_refused(damage: object) -> None:
    data = lzma.compress(bytes(range(256)) * 9000)
    with pytest.raises(VerificationError):
        list(inflate_index(damage(data), where="i"))  # type: ignore[operator]


def test_a_path_that_leaves_the_archive_is_refused() -> None:
    stanza = make_stanza("a").replace("pool/main", "../../etc")
    with pytest.raises(VerificationError, match="leaves the archive"):
        parse_package(stanza, archive="debian")


def test_a_stanza_without_a_digest_is_refused() -> None:
    stanza = "\n".join(line for line in make_stanza("a").splitlines() if not line.startswith("SHA256"))
    with pytest.raises(VerificationError, match="a: the index has no usable 'SHA256'"):
        parse_package(stanza, archive="debian")


def test_relations() -> None:
    assert parse_relations("a:any (<< 2) | b [amd64],\n c (> 1)") == (
        (Relation("a", "<<", "2", "any"), Relation("b")),
        (Relation("c", ">=", "1"),),
    )
    assert parse_relations("") == ()


@pytest.mark.parametrize(
    ("lower", "higher"),
    [("1.0~rc1", "1.0"), ("1.0", "1.0+b1"), ("9", "10"), ("1:0.1", "2:0"), ("2", "1:1"), ("1.0-1", "1.0-1+deb13u1")],
)
def test_versions(lower: str, higher: str) -> None:
    assert compare_versions(lower, higher) < 0 < compare_versions(higher, lower)
    assert is_within(higher, ">>", lower) and not is_within(higher, "<=", lower)
    assert is_within(lower, "=", lower) and is_within(lower, "", "")


def test_a_stanza_without_a_name_is_refused_with_its_place() -> None:
    text = "\n".join([make_stanza("a"), "Version: 1\nArchitecture: all\n"]).encode()
    with pytest.raises(VerificationError, match=r"i: malformed index: stanza 2 \('Version: 1'\) names no package"):
        read_catalog([text], where="i")


@pytest.mark.parametrize(
    ("stanza", "message"),
    [
        (make_stanza("a", Depends="b (>> )"), "a: the index has no usable relation"),
        (make_stanza("a", Provides="b | | c"), "a: the index has no usable relation"),
        (make_stanza("a", "1 2"), "a: the index has no usable Package or Version"),
        (make_stanza("a").replace("Size: 1", "Size: many"), "a: the index has no usable invalid literal"),
        (make_stanza("a").replace("Size: 1", "Size: -1"), "a: the index has no usable Size -1"),
        (" folded: first\n" + make_stanza("a"), "the index has no usable line 'folded: first'"),
    ],
)
def test_malformed_stanzas_are_refused(stanza: str, message: str) -> None:
    with pytest.raises(VerificationError, match=message):
        parse_package(stanza, archive="debian")


def test_where_names_are_first_spoken_of() -> None:
    index = index_of(
        make_stanza("a", Recommends="late", Description="early is a word"),
        make_stanza("early"),
        make_stanza("late", Enhances="early-bird"),
    )
    places = index.first_mentions(["early", "late", "a", "unknown"])
    assert sorted(places, key=lambda name: places[name]) == ["a", "late", "early"]
