from __future__ import annotations

from pathlib import Path

import pytest

from layerforge.errors import SourceError
from layerforge.sources.debian.mirrors import find_mirrors, require_keys

DEB822 = """\
Types: deb deb-src
# a comment
URIs: http://mirror.example.org/debian/
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/own.pgp

Types: deb
URIs: https://security.example.org/debian-security
Suites: bookworm-security
Components: main

Types: deb
URIs: https://disabled.example.org/debian
Suites: bookworm
Components: main
Enabled: no
"""


def write(root: Path, name: str, text: str) -> None:
    path = root / "etc/apt" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_deb822_sources_give_both_archives(tmp_path: Path) -> None:
    write(tmp_path, "sources.list.d/debian.sources", DEB822)
    mirrors = find_mirrors(tmp_path, {})
    assert mirrors.of("debian") == ("http://mirror.example.org/debian",)
    assert mirrors.of("debian-security") == ("https://security.example.org/debian-security",)


def test_one_line_sources_with_options_are_understood(tmp_path: Path) -> None:
    lines = [
        "# deb http://comment.example.org/debian bookworm main",
        "deb [arch=amd64 signed-by=/usr/share/keyrings/own.pgp] http://one.example.org/debian bookworm main # note",
        "deb-src http://src.example.org/debian bookworm main",
        "deb http://two.example.org/debian trixie main",
        "deb http://sec.example.org/debian-security trixie-security main",
    ]
    write(tmp_path, "sources.list", "\n".join(lines))
    mirrors = find_mirrors(tmp_path, {})
    assert mirrors.of("debian") == ("http://one.example.org/debian", "http://two.example.org/debian")
    assert mirrors.of("debian-security") == ("http://sec.example.org/debian-security",)


def test_third_parties_whose_suites_are_named_like_debians_are_not_taken(tmp_path: Path) -> None:
    lines = ["deb http://vendor.example.org/node bookworm main", "deb http://vendor.example.org/chrome stable main"]
    lines.append("deb http://vendor.example.org/linux/debian bookworm stable")
    write(tmp_path, "sources.list", "\n".join(lines))
    with pytest.raises(SourceError, match="no mirror of the Debian archive 'debian'") as caught:
        find_mirrors(tmp_path, {}).of("debian")
    assert "LAYERFORGE_DEBIAN_MIRROR" in caught.value.hint


def test_an_unusual_path_is_a_mirror_when_debians_key_signs_it(tmp_path: Path) -> None:
    key = "/usr/share/keyrings/debian-archive-keyring.gpg"
    write(tmp_path, "sources.list", f"deb [signed-by={key}] http://cache.example.org/os/d12 bookworm main")
    assert find_mirrors(tmp_path, {}).of("debian") == ("http://cache.example.org/os/d12",)


def test_mirror_lists_of_cloud_images_are_opened(tmp_path: Path) -> None:
    text = "Types: deb\nURIs: mirror+file:///etc/apt/mirrors/debian.list\nSuites: trixie\nComponents: main\n"
    write(tmp_path, "sources.list.d/debian.sources", text)
    write(tmp_path, "mirrors/debian.list", "# ours\nhttps://near.example.org/debian priority:1\n")
    assert find_mirrors(tmp_path, {}).of("debian") == ("https://near.example.org/debian",)


def test_an_ubuntu_host_has_no_debian_mirror_until_one_is_set(tmp_path: Path) -> None:
    text = "Types: deb\nURIs: http://archive.example.org/ubuntu\nSuites: noble noble-security\nComponents: main\n"
    write(tmp_path, "sources.list.d/ubuntu.sources", text)
    with pytest.raises(SourceError) as caught:
        find_mirrors(tmp_path, {}).of("debian-security")
    assert "LAYERFORGE_DEBIAN_SECURITY_MIRROR" in caught.value.hint
    setting = {"LAYERFORGE_DEBIAN_MIRROR": "http://mine.example.org/debian/"}
    assert find_mirrors(tmp_path, setting).of("debian") == ("http://mine.example.org/debian",)


def test_keys_come_from_the_source_and_the_systems_keyring(tmp_path: Path) -> None:
    write(tmp_path, "sources.list.d/debian.sources", DEB822)
    folder = tmp_path / "usr/share/keyrings"
    folder.mkdir(parents=True)
    (folder / "own.pgp").write_bytes(b"own")
    (folder / "debian-archive-keyring.gpg").write_bytes(b"system")
    assert find_mirrors(tmp_path, {}).keys == (b"own", b"system")


def test_a_missing_keyring_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        require_keys(find_mirrors(tmp_path, {}))
    assert "apt-get install debian-archive-keyring" in caught.value.hint
    with pytest.raises(SourceError, match="cannot read the keyring"):
        find_mirrors(tmp_path, {"LAYERFORGE_DEBIAN_KEYRING": str(tmp_path / "none")})
