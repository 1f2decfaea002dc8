from __future__ import annotations

import lzma
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest

from layerforge.errors import ResolveError, SourceError, VerificationError
from layerforge.lock import LockedDeb
from layerforge.oci import LINUX_AMD64, LINUX_ARM64, Digest, Platform
from layerforge.sources.debian.archive import architecture_of, debian_urls, fetch_release, open_index
from layerforge.sources.debian.mirrors import Mirrors
from layerforge.sources.debian.resolve import resolve
from layerforge.store import Store
from tests.debian_samples import SigningKey, make_release, make_stanza, serve, write_suite

SUITES = ("trixie", "trixie-updates", "trixie-security")


class Site:
    """A small archive, and how to reach it."""

    def __init__(self, root: Path, url: str, requested: list[str], key: SigningKey) -> None:
        self.root, self.url, self.requested, self.key = root, url, requested, key
        self.mirrors = Mirrors({"debian": (url,), "debian-security": (url,)}, (key.certificate,))


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return SigningKey()


@pytest.fixture
def site(tmp_path: Path, key: SigningKey) -> Iterator[Site]:
    root = tmp_path / "archive"
    write_suite(root, "trixie", [make_stanza("tool", "1.0"), make_stanza("lib", "2.0")], key)
    write_suite(root, "trixie-updates", [make_stanza("tool", "1.1")], key)
    write_suite(root, "trixie-security", [make_stanza("tool", "1.0+deb13u1"), make_stanza("lib", "2.0+deb13u1")], key)
    with serve(root) as (url, requested):
        yield Site(root, url, requested, key)


def test_the_highest_version_of_all_suites_wins(site: Site, store: Store) -> None:
    index = open_index("trixie", "amd64", store, mirrors=site.mirrors)
    tool, lib = index.candidate("tool"), index.candidate("lib")
    assert tool is not None and (tool.version, tool.archive) == ("1.1", "debian")
    assert lib is not None and (lib.version, lib.archive) == ("2.0+deb13u1", "debian-security")
    assert index.candidate("other") is None


def test_an_unchanged_index_is_not_fetched_again(site: Site, store: Store) -> None:
    open_index("trixie", "amd64", store, mirrors=site.mirrors)
    site.requested.clear()
    index = open_index("trixie", "amd64", store, mirrors=site.mirrors)
    assert sorted(site.requested) == sorted(f"/dists/{suite}/InRelease" for suite in SUITES)
    assert index.candidate("lib") is not None


def test_a_damaged_note_is_made_again(site: Site, store: Store) -> None:
    open_index("trixie", "amd64", store, mirrors=site.mirrors)
    for note in (store.root / "notes").rglob("*"):
        if note.is_file():
            note.write_bytes(note.read_bytes()[:-20])
    assert open_index("trixie", "amd64", store, mirrors=site.mirrors).candidate("lib") is not None


def test_an_index_that_is_not_the_one_signed_for_is_refused(site: Site, store: Store) -> None:
    path = site.root / "dists/trixie/main/binary-amd64/Packages.xz"
    path.write_bytes(lzma.compress(b"Package: evil\n"))
    with pytest.raises(VerificationError, match="not the file that the signed Release names"):
        open_index("trixie", "amd64", store, mirrors=site.mirrors)
    notes = [path for path in (store.root / "notes").rglob("*") if path.is_file()]
    assert len(notes) <= 2  # those of the other suites


def test_a_longer_index_is_not_read_to_its_end(site: Site, store: Store) -> None:
    path = site.root / "dists/trixie/main/binary-amd64/Packages.xz"
    path.write_bytes(path.read_bytes() + bytes(100))
    with pytest.raises(SourceError, match="more than"):
        open_index("trixie", "amd64", store, mirrors=site.mirrors)


def test_by_hash_is_preferred_and_survives_an_update_of_the_mirror(site: Site, store: Store) -> None:
    folder = write_suite(site.root, "trixie", [make_stanza("tool", "3")], site.key, Acquire_By_Hash="yes")
    index = folder / "main/binary-amd64/Packages.xz"
    data = index.read_bytes()
    by_hash = index.parent / "by-hash/SHA256" / Digest.of(data).hex
    by_hash.parent.mkdir(parents=True)
    by_hash.write_bytes(data)
    index.write_bytes(b"the next one, being uploaded")
    found = open_index("trixie", "amd64", store, mirrors=site.mirrors).candidate("tool")
    assert found is not None and found.version == "3"


def test_a_release_with_a_detached_signature(site: Site) -> None:
    folder = site.root / "dists/trixie"
    text = make_release("trixie", {"main/binary-amd64/Packages.xz": b"x"})
    (folder / "InRelease").unlink()
    (folder / "Release").write_text(text)
    (folder / "Release.gpg").write_bytes(site.key.sign(text))
    assert fetch_release(f"{site.url}/dists/trixie", "trixie", [site.key.certificate]).codename == "trixie"
    (folder / "Release").write_text(text.replace("all amd64", "all arm64"))
    with pytest.raises(VerificationError, match="no valid signature"):
        fetch_release(f"{site.url}/dists/trixie", "trixie", [site.key.certificate])


def test_an_unsigned_release_is_refused(site: Site, store: Store) -> None:
    (site.root / "dists/trixie/InRelease").write_text(make_release("trixie", {}))
    with pytest.raises(VerificationError, match="not a signed Release file"):
        open_index("trixie", "amd64", store, mirrors=site.mirrors)


def test_an_expired_release_is_refused(site: Site, store: Store) -> None:
    write_suite(site.root, "trixie", [], site.key, Valid_Until="Fri, 10 Jan 2025 00:00:00 UTC")
    now = datetime(2025, 1, 9, tzinfo=timezone.utc)
    open_index("trixie", "amd64", store, mirrors=site.mirrors, now=now)
    with pytest.raises(VerificationError, match="expired"):
        open_index("trixie", "amd64", store, mirrors=site.mirrors)


def test_a_replayed_release_of_another_suite_is_refused(site: Site, store: Store) -> None:
    old = (site.root / "dists/trixie/InRelease").read_bytes()
    (site.root / "dists/trixie-security/InRelease").write_bytes(old)
    with pytest.raises(VerificationError, match="not of trixie-security"):
        open_index("trixie", "amd64", store, mirrors=site.mirrors)


def test_a_second_mirror_is_tried(site: Site, store: Store) -> None:
    urls = (f"{site.url}/gone", site.url)
    mirrors = Mirrors({"debian": urls, "debian-security": urls}, (site.key.certificate,))
    assert open_index("trixie", "amd64", store, mirrors=mirrors).candidate("tool") is not None


def test_an_architecture_that_the_archive_lacks(site: Site, store: Store) -> None:
    with pytest.raises(SourceError, match="no packages for arm64 \\(it has amd64\\)"):
        open_index("trixie", "arm64", store, mirrors=site.mirrors)


def test_an_unreachable_mirror_is_named(site: Site, store: Store) -> None:
    mirrors = Mirrors({"debian": ("http://127.0.0.1:9/debian",), "debian-security": (site.url,)}, site.mirrors.keys)
    with pytest.raises(SourceError, match=r"127\.0\.0\.1:9/debian/dists/trixie"):
        open_index("trixie", "amd64", store, mirrors=mirrors)


def test_architectures() -> None:
    assert [architecture_of(platform) for platform in (LINUX_AMD64, LINUX_ARM64)] == ["amd64", "arm64"]
    with pytest.raises(ResolveError):
        architecture_of(Platform("windows", "amd64"))


def test_urls_of_a_locked_package() -> None:
    deb = LockedDeb("c++", "1", "amd64", "debian-security", "pool/main/c/c++_1%3a1~x.deb", 1, Digest.of(b""))
    mirrors = Mirrors({"debian-security": ("http://a.example.org/s", "http://b.example.org/s")}, ())
    assert debian_urls(deb, mirrors) == (
        "http://a.example.org/s/pool/main/c/c++_1%253a1~x.deb",
        "http://b.example.org/s/pool/main/c/c++_1%253a1~x.deb",
    )


def test_a_truncated_index_with_a_right_digest_is_refused_and_not_kept(site: Site, store: Store) -> None:
    whole = lzma.compress(make_stanza("tool").encode() * 500)
    folder = site.root / "dists/trixie"
    (folder / "main/binary-amd64/Packages.xz").write_bytes(whole[:-40])
    text = make_release("trixie", {"main/binary-amd64/Packages.xz": whole[:-40]})
    (folder / "InRelease").write_bytes(site.key.clearsign(text))
    with pytest.raises(VerificationError, match="the index is cut off"):
        open_index("trixie", "amd64", store, mirrors=site.mirrors)
    notes = [path for path in (store.root / "notes").rglob("*") if path.is_file()]
    assert len(notes) <= 2


def test_an_index_that_the_mirror_replaced_by_an_older_one_is_refused(site: Site, store: Store) -> None:
    path = site.root / "dists/trixie/main/binary-amd64/Packages.xz"
    old = path.read_bytes()
    write_suite(site.root, "trixie", [make_stanza("tool", "9")], site.key)
    path.write_bytes(old)
    with pytest.raises(SourceError, match=r"Packages\.xz: (is not the file that the signed Release names|more than)"):
        open_index("trixie", "amd64", store, mirrors=site.mirrors)


def test_a_release_signed_by_another_key_is_refused(site: Site, store: Store) -> None:
    write_suite(site.root, "trixie", [make_stanza("tool", "9")], SigningKey())
    with pytest.raises(VerificationError, match="no valid signature"):
        open_index("trixie", "amd64", store, mirrors=site.mirrors)


def test_what_cannot_be_installed_says_why_before_anything_is_fetched(site: Site, store: Store) -> None:
    stanzas = [
        make_stanza("model", Pre_Depends="loop", Depends="old (>= 2)"),
        make_stanza("loop", Depends="model, pool"),
        make_stanza("pool", Conflicts="enemy"),
        make_stanza("old", "1"),
        make_stanza("enemy"),
    ]
    write_suite(site.root, "trixie", stanzas, site.key)
    index = open_index("trixie", "amd64", store, mirrors=site.mirrors)
    reasons = {
        "model": "model 1 needs old (>= 2), but the archive has old 1 (required by model)",
        "missing": "the archive has no package missing",
        "old=3": "old 3 is not in the archive",
        "loop": "model 1 needs old (>= 2), but the archive has old 1 (required by loop → model)",
    }
    for root, reason in reasons.items():
        with pytest.raises(ResolveError) as caught:
            resolve(index, [root])
        assert caught.value.message == reason
    with pytest.raises(ResolveError, match="conflicts with"):
        resolve(index, ["pool", "enemy"])
    assert not any("/pool/" in path for path in site.requested)
