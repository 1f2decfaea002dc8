"""Packages upon a base come from the base's own release: made-up Ubuntu and Debian archives on loopback."""

from __future__ import annotations

import lzma
from collections.abc import Iterator
from pathlib import Path

import pytest

from layerforge.errors import ResolveError, SourceError, VerificationError
from layerforge.oci import LINUX_AMD64, LINUX_ARM64
from layerforge.sources.base.facts import BaseFacts
from layerforge.sources.base.packages import check_dpkg, list_components, list_installed, lock_upon
from layerforge.sources.base.root import BaseRoot
from layerforge.sources.debian.archive import open_index, suites_of
from layerforge.sources.debian.mirrors import UBUNTU, Mirrors, find_mirrors, require_keys
from layerforge.sources.debian.rootstate import Listed
from layerforge.store import Store
from tests.debian_samples import SigningKey, make_release, make_stanza, serve

STATUS = """Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.35-0ubuntu3
Multi-Arch: same

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: held
Status: hold ok installed
Architecture: all
Version: 2
Provides: virtual
"""
JAMMY = BaseFacts("ubuntu", "jammy", "Ubuntu 22.04.5 LTS", 35, False, (), True)


def make_root(status: str = STATUS, **sources: str) -> BaseRoot:
    root = BaseRoot()
    contents = {"var/lib/dpkg/status": status.encode()}
    contents |= {
        f"etc/apt/{name.replace('__', '/').replace('_', '.')}": text.encode() for name, text in sources.items()
    }
    root.apply(0, [Listed(path, "file", 0o644) for path in contents], (), (), contents, {})
    return root


def write_suite(folder: Path, suite: str, key: SigningKey, components: dict[str, list[str]], name: str = "") -> None:
    """A suite as Ubuntu has them: the pocket is in ``Suite``, ``Codename`` is the release's."""
    files = {
        f"{component}/binary-{architecture}/Packages.xz": lzma.compress("\n".join(stanzas).encode())
        for component, stanzas in components.items()
        for architecture in ("amd64", "arm64")
    }
    root = folder / "dists" / suite
    for path, data in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    release = make_release("jammy", files, Suite=name or suite, Architectures="amd64 arm64")
    (root / "InRelease").write_bytes(key.clearsign(release))


@pytest.fixture(scope="module")
def keys() -> tuple[SigningKey, SigningKey]:
    return SigningKey(), SigningKey()


@pytest.fixture
def mirrors(tmp_path: Path, keys: tuple[SigningKey, SigningKey]) -> Iterator[Mirrors]:
    ubuntu, debian = keys
    main = [make_stanza("libc6", "2.35-0ubuntu3"), make_stanza("tool", "1", Depends="libc6, libtool")]
    write_suite(tmp_path, "jammy", ubuntu, {"main": main, "universe": [make_stanza("libtool", "1")], "multiverse": []})
    updates = [make_stanza("tool", "2", Depends="libc6, libtool"), make_stanza("newer", "1", Depends="libtool (>= 1)")]
    write_suite(tmp_path, "jammy-updates", ubuntu, {"main": updates, "universe": [], "multiverse": []})
    secure = [make_stanza("libtool", "1.1")]
    write_suite(tmp_path, "jammy-security", ubuntu, {"main": [], "universe": secure, "multiverse": []})
    with serve(tmp_path) as (url, _):
        urls = {"ubuntu": (url,), "ubuntu-ports": (url,)}
        yield Mirrors(urls, (debian.certificate,), (ubuntu.certificate,))


def test_packages_come_from_all_pockets_and_components(mirrors: Mirrors, store: Store) -> None:
    _, locked = lock_upon(["tool"], JAMMY, make_root(), LINUX_AMD64, store, mirrors=mirrors)
    assert [(deb.name, deb.version, deb.archive) for deb in locked] == [
        ("libtool", "1.1", "ubuntu"),
        ("tool", "2", "ubuntu"),
    ]


def test_other_processors_have_an_archive_of_their_own(mirrors: Mirrors, store: Store) -> None:
    assert {archive for _, archive in suites_of("jammy", UBUNTU, "arm64")} == {"ubuntu-ports"}
    _, locked = lock_upon(["libtool"], JAMMY, make_root(status=""), LINUX_ARM64, store, mirrors=mirrors)
    assert [deb.archive for deb in locked] == ["ubuntu-ports"]


def test_the_keys_of_one_distribution_are_not_good_for_the_other(mirrors: Mirrors, store: Store) -> None:
    swapped = Mirrors(mirrors.urls, mirrors.ubuntu_keys, mirrors.keys)
    with pytest.raises(VerificationError, match="no valid signature"):
        open_index("jammy", "amd64", store, mirrors=swapped, distribution=UBUNTU)
    with pytest.raises(SourceError, match="no keyring with Ubuntu's") as caught:
        open_index("jammy", "amd64", store, mirrors=Mirrors(mirrors.urls, mirrors.keys), distribution=UBUNTU)
    assert "LAYERFORGE_UBUNTU_KEYRING" in caught.value.hint


def test_a_pocket_does_not_pass_for_the_release(
    tmp_path: Path, mirrors: Mirrors, keys: tuple[SigningKey, SigningKey], store: Store
) -> None:
    write_suite(tmp_path, "jammy", keys[0], {"main": []}, name="jammy-proposed")
    with pytest.raises(VerificationError, match="not of jammy"):
        open_index("jammy", "amd64", store, mirrors=mirrors, distribution=UBUNTU)


def test_a_component_that_is_missing_is_named(mirrors: Mirrors, store: Store) -> None:
    with pytest.raises(SourceError, match="no component 'restricted'"):
        open_index("jammy", "amd64", store, mirrors=mirrors, distribution=UBUNTU, components=("main", "restricted"))


def test_what_is_installed() -> None:
    installed = {package.name: package for package in list_installed(make_root())}
    assert sorted(installed) == ["held", "libc6"]
    assert installed["libc6"].version == "2.35-0ubuntu3"
    assert [str(relation) for relation in installed["held"].provides] == ["virtual"]
    with pytest.raises(VerificationError, match="x: dpkg's status has no usable 'Version'"):
        list(list_installed(make_root("Package: x\nStatus: install ok installed\n")))


def test_components_are_those_of_the_base() -> None:
    assert list_components(make_root(), JAMMY) == ("main", "universe")
    old = "deb http://archive.ubuntu.com/ubuntu jammy main multiverse\n# deb http://x/ubuntu jammy restricted\n"
    assert list_components(make_root(sources_list=old), JAMMY) == ("main", "universe", "multiverse")
    new = "Types: deb\nURIs: http://ports.ubuntu.com/\nSuites: jammy jammy-updates\nComponents: main restricted\n"
    assert list_components(make_root(sources_list_d__ubuntu_sources=new), JAMMY) == ("main", "restricted", "universe")
    other = "deb http://archive.ubuntu.com/ubuntu noble main multiverse\n"
    assert list_components(make_root(sources_list=other), JAMMY) == ("main", "universe")
    bookworm = BaseFacts("debian", "bookworm", "Debian 12", 36, False, (), True)
    assert list_components(make_root(), bookworm) == ("main",)


@pytest.mark.parametrize(
    ("facts", "match"),
    [
        (BaseFacts("", "", "Alpine Linux v3.20", 0, True, (), False), "the base is Alpine Linux v3.20"),
        (BaseFacts("debian", "bookworm", "Distroless", 36, False, (), False), "no list of installed packages"),
    ],
)
def test_a_base_without_packages_is_refused(facts: BaseFacts, match: str) -> None:
    with pytest.raises(ResolveError, match=match) as caught:
        check_dpkg(facts)
    assert "system_packages" in caught.value.hint


def test_mirrors_of_ubuntu(tmp_path: Path) -> None:
    folder = tmp_path / "etc/apt/sources.list.d"
    folder.mkdir(parents=True)
    (folder / "ubuntu.sources").write_text(
        "Types: deb\nURIs: http://mirror.example.org/ubuntu/\nSuites: noble noble-updates\nComponents: main universe\n"
        "Signed-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg\n"
    )
    (folder / "ppa.list").write_text("deb http://ppa.launchpad.net/team/ubuntu noble main\n")
    (folder / "vendor.list").write_text(
        "deb [signed-by=/etc/keys/vendor.gpg] http://vendor.example.org/ubuntu noble main\n"
    )
    keyring = tmp_path / "usr/share/keyrings/ubuntu-archive-keyring.gpg"
    keyring.parent.mkdir(parents=True)
    keyring.write_bytes(b"keys of Ubuntu")
    found = find_mirrors(tmp_path, {})
    assert found.of("ubuntu") == ("http://mirror.example.org/ubuntu",)
    assert require_keys(found, UBUNTU) == (b"keys of Ubuntu",)
    assert not found.keys
    with pytest.raises(SourceError, match="no mirror of the Ubuntu archive 'ubuntu-ports'") as caught:
        found.of("ubuntu-ports")
    assert "LAYERFORGE_UBUNTU_PORTS_MIRROR" in caught.value.hint
    set_ = {"LAYERFORGE_UBUNTU_MIRROR": "http://a.example.org/u/ http://b.example.org/u"}
    assert find_mirrors(tmp_path, set_).of("ubuntu") == ("http://a.example.org/u", "http://b.example.org/u")


def test_what_the_base_has_stays_unless_it_is_too_old(mirrors: Mirrors, store: Store) -> None:
    old = STATUS + "\nPackage: libtool\nStatus: install ok installed\nArchitecture: amd64\nVersion: 0.9\n"
    _, kept = lock_upon(["tool"], JAMMY, make_root(old), LINUX_AMD64, store, mirrors=mirrors)
    assert [(deb.name, deb.version) for deb in kept] == [("tool", "2")]
    assert lock_upon(["libc6"], JAMMY, make_root(), LINUX_AMD64, store, mirrors=mirrors) == ((), ())
    _, raised = lock_upon(["newer"], JAMMY, make_root(old), LINUX_AMD64, store, mirrors=mirrors)
    assert [(deb.name, deb.version) for deb in raised] == [("libtool", "1.1"), ("newer", "1")]
