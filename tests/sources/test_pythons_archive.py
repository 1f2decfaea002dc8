"""Pinning an archive, against a mirror on loopback: where the digest comes from, and what stands in the lock."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from layerforge.errors import SourceError
from layerforge.lock import LockedPython
from layerforge.oci import LINUX_AMD64, LINUX_ARM64, Digest, Platform
from layerforge.progress import SILENCE
from layerforge.sources.download import download
from layerforge.sources.pythons.archive import archive_urls, pin_archive
from layerforge.sources.pythons.catalogue import Build
from layerforge.sources.pythons.choice import Obstacle
from layerforge.sources.pythons.mirrors import ArchiveSettings, list_locations, read_archive_settings
from layerforge.sources.pythons.standalone import find_standalone
from layerforge.store import Store
from tests.conftest import free_port
from tests.debian_samples import serve
from tests.python_archives import ORIGIN, archive_name, archive_url, described, write_catalogue, write_release

DATA = b"archive" * 1000
BUILD = Build("3.12.4", "x86_64", archive_url("3.12.4"))
NAME = archive_name("3.12.4")


class Mirror:
    def __init__(self, root: Path, url: str, requested: list[str]) -> None:
        self.root, self.url, self.requested = root, url, requested
        self.settings = ArchiveSettings(mirror=url)

    @property
    def names(self) -> list[str]:
        """What was asked for, without its folder."""
        return [path.rpartition("/")[2].replace("%2B", "+") for path in self.requested]


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Mirror]:
    root = tmp_path / "mirror"
    root.mkdir()
    with serve(root) as (url, requested):
        yield Mirror(root, url, requested)


def test_the_digest_is_the_published_one_and_only_the_size_is_asked_for(mirror: Mirror, store: Store) -> None:
    write_release(mirror.root, {NAME: DATA, "other.tar.gz": b"other"})
    pinned = pin_archive(BUILD, mirror.settings, store, SILENCE)
    assert (pinned.filename, pinned.size, pinned.digest) == (NAME, len(DATA), Digest.of(DATA))
    assert pinned.url == archive_url("3.12.4")  # any mirror will do for those who build from this lock
    assert not store.material_path(pinned.digest).exists()
    assert mirror.names == ["SHA256SUMS", NAME]


def test_older_releases_have_a_file_for_each_digest(mirror: Mirror, store: Store) -> None:
    folder = write_release(mirror.root, {NAME: DATA}, sums=False)
    (folder / f"{NAME}.sha256").write_text(f"{Digest.of(DATA).hex}\n")
    assert pin_archive(BUILD, mirror.settings, store, SILENCE).digest == Digest.of(DATA)
    assert mirror.names == ["SHA256SUMS", f"{NAME}.sha256", NAME]


def test_sums_of_other_files_do_not_count(mirror: Mirror, store: Store) -> None:
    folder = write_release(mirror.root, {NAME: DATA}, sums=False)
    (folder / "SHA256SUMS").write_text(f"{'0' * 64}  {NAME}.zst\n{'1' * 64}  x{NAME}\n")
    assert pin_archive(BUILD, mirror.settings, store, SILENCE).digest == Digest.of(DATA)


def test_without_a_published_digest_the_archive_is_downloaded_once(mirror: Mirror, store: Store) -> None:
    write_release(mirror.root, {NAME: DATA}, sums=False)
    pinned = pin_archive(BUILD, mirror.settings, store, SILENCE)
    assert (pinned.size, pinned.digest) == (len(DATA), Digest.of(DATA))
    assert mirror.names.count(NAME) == 1
    path = download(store, archive_urls(pinned, mirror.settings), pinned.digest, size=pinned.size)
    assert path.read_bytes() == DATA
    assert mirror.names.count(NAME) == 1


def test_the_catalogues_digest_is_believed_before_the_servers(mirror: Mirror, store: Store) -> None:
    write_release(mirror.root, {NAME: DATA})
    known = msgspec.structs.replace(BUILD, sha256=Digest.of(b"wanted").hex)
    pinned = pin_archive(known, mirror.settings, store, SILENCE)
    assert pinned.digest == Digest.of(b"wanted")
    with pytest.raises(SourceError, match="sha256"):
        download(store, archive_urls(pinned, mirror.settings), pinned.digest, size=pinned.size)


def test_a_digest_that_is_none(mirror: Mirror, store: Store) -> None:
    with pytest.raises(SourceError, match="is published as its sha256"):
        pin_archive(msgspec.structs.replace(BUILD, sha256="beef"), mirror.settings, store, SILENCE)


def test_an_archive_that_is_not_there(mirror: Mirror, store: Store) -> None:
    with pytest.raises(SourceError, match="404"):
        pin_archive(BUILD, mirror.settings, store, SILENCE)


def test_a_folder_can_be_a_mirror(tmp_path: Path, store: Store) -> None:
    write_release(tmp_path / "a mirror", {NAME: DATA})
    settings = ArchiveSettings(mirror=(tmp_path / "a mirror").as_uri())
    pinned = pin_archive(BUILD, settings, store, SILENCE)
    assert (pinned.digest, pinned.size) == (Digest.of(DATA), len(DATA))
    path = download(store, archive_urls(pinned, settings), pinned.digest, size=pinned.size)
    assert path.read_bytes() == DATA
    with pytest.raises(SourceError, match="No such file"):
        pin_archive(Build("3.12.9", "x86_64", archive_url("3.12.9")), settings, store, SILENCE)


# -- settings ------------------------------------------------------------------------------------------------------


def test_credentials_are_not_locked(mirror: Mirror, store: Store) -> None:
    write_release(mirror.root, {NAME: DATA})
    private = mirror.url.replace("http://", "http://user:secret@")
    pinned = pin_archive(BUILD, ArchiveSettings(mirror=private), store, SILENCE)
    assert "secret" not in str(pinned)
    own = Build("3.12.4", "x86_64", f"{private}/20261110/{NAME.replace('+', '%2B')}?token=secret")
    pinned = pin_archive(own, ArchiveSettings(), store, SILENCE)
    assert "secret" not in str(pinned)
    assert pinned.url == f"{mirror.url}/20261110/{NAME.replace('+', '%2B')}"


def test_a_mirror_is_asked_instead_of_the_origin() -> None:
    url = archive_url("3.12.4", origin="https://releases.example.org/github/builds/releases/download")
    path = url.partition("/releases/download/")[2]
    assert list_locations(url, ArchiveSettings()) == (url, f"{ORIGIN}/{path}")
    assert list_locations(f"{ORIGIN}/{path}", ArchiveSettings()) == (f"{ORIGIN}/{path}",)
    assert list_locations(url, ArchiveSettings(mirror="https://m.example/pbs/")) == (f"https://m.example/pbs/{path}",)
    own = "https://files.example.org/python.tar.gz"
    assert list_locations(own, ArchiveSettings(mirror="https://m.example/pbs")) == (own,)


def test_settings_of_the_environment_and_of_uvs_files(tmp_path: Path) -> None:
    configuration = tmp_path / ".config" / "uv"
    configuration.mkdir(parents=True)
    (configuration / "uv.toml").write_text('python-install-mirror = "file"\npython-downloads-json-url = "c.json"\n')
    environment = {"HOME": str(tmp_path)}
    assert read_archive_settings(environment) == ArchiveSettings("file", "c.json")
    environment["UV_PYTHON_INSTALL_MIRROR"] = "uv"
    environment["UV_PYTHON_DOWNLOADS_JSON_URL"] = "other.json"
    assert read_archive_settings(environment) == ArchiveSettings("uv", "other.json")
    environment["LAYERFORGE_PYTHON_MIRROR"] = "own"
    assert read_archive_settings(environment).mirror == "own"
    (tmp_path / "named.toml").write_text('python-install-mirror = "named"\n')
    named = {"HOME": str(tmp_path), "UV_CONFIG_FILE": str(tmp_path / "named.toml")}
    assert read_archive_settings(named) == ArchiveSettings("named", "")
    (configuration / "uv.toml").write_text("not toml")
    assert read_archive_settings({"HOME": str(tmp_path)}) == ArchiveSettings()


# -- which build ---------------------------------------------------------------------------------------------------


class Machine:
    """A machine whose catalogue and mirror are these."""

    def __init__(self, folder: Path, mirror: Mirror, store: Store, versions: list[str]) -> None:
        items = [described(version) for version in versions]
        items += [
            described(version, arch={"family": "aarch64", "variant": None}, url=archive_url(version, "aarch64"))
            for version in versions
        ]
        machines = ("x86_64", "aarch64")
        write_release(
            mirror.root, {archive_name(version, machine): DATA for version in versions for machine in machines}
        )
        self.environment = {
            "HOME": str(folder),
            "LAYERFORGE_PYTHON_MIRROR": mirror.url,
            "UV_PYTHON_DOWNLOADS_JSON_URL": str(write_catalogue(folder / "catalogue.json", items)),
        }
        self.store = store

    def find(
        self, wanted: str, likely: LockedPython | None = None, platform: Platform = LINUX_AMD64
    ) -> LockedPython | Obstacle:
        return find_standalone(wanted, platform, likely, self.store, SILENCE, self.environment)


@pytest.fixture
def machine(tmp_path: Path, mirror: Mirror, store: Store) -> Machine:
    return Machine(tmp_path, mirror, store, ["3.12.4", "3.12.10", "3.10.1"])


def test_the_newest_build_is_locked(machine: Machine) -> None:
    found = machine.find("3.12")
    assert isinstance(found, LockedPython)
    assert (found.minor, found.version, found.provider, found.home) == (
        "3.12",
        "3.12.10",
        "standalone",
        "/opt/python/bin",
    )
    assert found.archive is not None
    assert found.archive.digest == Digest.of(DATA)
    assert found.reason == "a standalone build of Python 3.12.10"


def test_a_patch_version_is_taken_at_its_word(machine: Machine) -> None:
    found = machine.find("3.12.4")
    assert isinstance(found, LockedPython)
    assert found.version == "3.12.4"
    assert machine.find("3.12.5") == Obstacle("the catalogue of standalone builds has no Python 3.12.5 for x86_64")


def test_what_was_locked_stays_until_it_does_not_fit(machine: Machine, mirror: Mirror) -> None:
    old = machine.find("3.12.4")
    assert isinstance(old, LockedPython)
    mirror.requested.clear()
    assert machine.find("3.12", old) == old
    assert mirror.requested == []
    newer = machine.find("3.12.10", old)
    assert isinstance(newer, LockedPython)
    assert newer.version == "3.12.10"


def test_a_second_platform_gets_the_version_of_the_first(machine: Machine) -> None:
    first = machine.find("3.12.4")
    assert isinstance(first, LockedPython)
    second = machine.find("3.12", msgspec.structs.replace(first, archive=None), LINUX_ARM64)
    assert isinstance(second, LockedPython)
    assert second.archive is not None
    assert (second.version, "aarch64" in second.archive.filename) == ("3.12.4", True)


def test_obstacles(machine: Machine, tmp_path: Path) -> None:
    assert machine.find("3.12", platform=Platform("linux", "riscv64")) == Obstacle(
        "there is no standalone build for linux/riscv64"
    )
    machine.environment["LAYERFORGE_PYTHON_MIRROR"] = f"http://127.0.0.1:{free_port()}"
    found = machine.find("3.12")
    assert isinstance(found, Obstacle)
    assert found.text.startswith("the standalone build cannot be had: http://127.0.0.1:")
    machine.environment["UV_PYTHON_DOWNLOADS_JSON_URL"] = str(tmp_path / "missing.json")
    found = machine.find("3.12")
    assert isinstance(found, Obstacle)
    assert "missing.json" in found.text
