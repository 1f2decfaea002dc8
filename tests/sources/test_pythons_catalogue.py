from __future__ import annotations

import json
import os

import pytest

from layerforge.errors import SourceError
from layerforge.sources.pythons.catalogue import Build, find_builds, parse_downloads, parse_listing
from layerforge.sources.pythons.mirrors import ArchiveSettings
from layerforge.sources.pythons.standalone import read_catalogue
from tests.python_archives import archive_url, described, listed

WHERE = "catalogue.json"


def test_only_stable_plain_builds_for_linux_with_glibc_are_taken() -> None:
    items = [
        listed("3.12.4"),
        listed("3.12.4", arch="aarch64"),
        listed("3.15.0rc1"),
        listed("3.13.1", variant="freethreaded"),
        listed("3.12.3", libc="musl"),
        listed("3.12.2", os="darwin"),
        listed("3.12.1", implementation="pypy"),
        listed("3.12.0", url=None),
        listed("3.11.9", url="https://example.org/python.exe"),
    ]
    assert parse_listing(json.dumps(items).encode()) == (
        Build("3.12.4", "x86_64", archive_url("3.12.4")),
        Build("3.12.4", "aarch64", archive_url("3.12.4", "aarch64")),
    )


def test_a_catalogue_of_ones_own_has_digests() -> None:
    items = {
        "a": described("3.12.4", sha256="ab" * 32),
        "b": described("3.12.5", prerelease="rc1"),
        "c": described("3.12.6", arch={"family": "x86_64", "variant": "v3"}),
        "d": described("3.12.7", arch="x86_64"),
        "e": described("3.12.8", variant="debug"),
    }
    builds = parse_downloads(json.dumps(items).encode(), WHERE)
    assert [(build.version, build.sha256) for build in builds] == [("3.12.4", "ab" * 32), ("3.12.7", "")]


@pytest.mark.parametrize("data", [b"", b"[]", b'{"a": {"name": "cpython"}}', b"\xff\xfe"])
def test_something_else_is_refused(data: bytes) -> None:
    with pytest.raises(SourceError, match=r"catalogue\.json: is no catalogue") as caught:
        parse_downloads(data, WHERE)
    assert "docs/python.md" in caught.value.hint


def test_the_newest_comes_first_and_versions_are_numbers() -> None:
    versions = ("3.12.9", "3.12.10", "3.1.2", "3.13.1")
    builds = [Build(version, "x86_64", "u") for version in versions] + [Build("3.12.11", "aarch64", "u")]
    assert [build.version for build in find_builds(builds, "3.12", "x86_64")] == ["3.12.10", "3.12.9"]
    assert [build.version for build in find_builds(builds, "3.12.9", "x86_64")] == ["3.12.9"]
    assert [build.version for build in find_builds(builds, "3.1", "x86_64")] == ["3.1.2"]
    assert find_builds(builds, "3.10", "x86_64") == ()


@pytest.mark.parametrize("minor", ["3.10", "3.11", "3.12", "3.13", "3.14"])
def test_uvs_own_catalogue_has_every_supported_python_for_both_platforms(minor: str) -> None:
    builds = read_catalogue(minor, ArchiveSettings(), os.environ)
    for machine in ("x86_64", "aarch64"):
        newest = find_builds(builds, minor, machine)[0]
        assert newest.version.startswith(f"{minor}.")
        assert "/releases/download/" in newest.url
        assert machine in newest.url
