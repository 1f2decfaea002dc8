"""A standalone Python from a mirror on loopback to a prediction in the sandbox.

Its archive is made of Debian 12's interpreter, laid out like a real one; so the image is Debian 13 with a Python that
this release does not ship.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import tomli

from layerforge.oci import Digest
from layerforge.platforms import host_platform
from layerforge.sources.debian import debian_urls, lock_debian
from layerforge.sources.debian.deb import DebFile, read_entries
from layerforge.sources.debian.placement import merge_path
from layerforge.sources.download import download
from layerforge.sources.pythons.catalogue import MACHINES
from layerforge.store import Store
from layerforge.validate import validate_image
from tests.conftest import free_port, require
from tests.debian_samples import serve
from tests.python_archives import archive_name, archive_url, described, pack_folder, write_catalogue, write_release
from tests.whole.conftest import Forge

pytestmark = [pytest.mark.network]

MINOR = "3.11"
MODEL = """
import ctypes, json, os, sqlite3, ssl, sys, sysconfig
from cog import BaseRunner

class Runner(BaseRunner):
    def run(self) -> str:
        ssl.create_default_context().load_default_certs()
        facts = [sys.prefix, sys.base_prefix, json.__cached__, sysconfig.get_config_var("DESTDIRS").split()[0]]
        return " ".join([f"{sys.version_info[0]}.{sys.version_info[1]}", *facts])
"""
PACKAGES = "libexpat1, libffi8, libsqlite3-0"


def make_installation(folder: Path, store: Store) -> str:
    """Debian's interpreter laid out like a standalone build's below ``folder``; its version."""
    locked = lock_debian(MINOR, host_platform(), store)
    assert locked.python is not None
    needed = {f"python{MINOR}-minimal", f"libpython{MINOR}-minimal", f"libpython{MINOR}-stdlib", "libexpat1"}
    for deb in locked.interpreter:
        if deb.name not in needed:
            continue
        path = download(store, debian_urls(deb), deb.digest, size=deb.size)
        with DebFile(path, where=deb.name) as package:
            for entry, content in read_entries(package.data_chunks(), where=deb.name):
                place = place_file(merge_path(entry))
                if place is None or entry.kind == "dir":
                    continue
                target = folder / place
                target.parent.mkdir(parents=True, exist_ok=True)
                if entry.kind == "symlink":
                    if not entry.target.startswith("/"):
                        target.symlink_to(entry.target)
                    continue
                data = b"".join(content)
                if "_sysconfigdata_" in place:
                    data = data.replace(b"/usr", b"/install")
                target.write_bytes(data)
                target.chmod(entry.mode & 0o777)
    return locked.python.version


def place_file(path: str) -> str | None:
    """Where a file of Debian's packages lies in the archive."""
    if path == f"usr/bin/python{MINOR}":
        return f"bin/python{MINOR}"
    if path.startswith(f"usr/lib/python{MINOR}/"):
        return path.removeprefix("usr/")
    return f"lib/{path.rpartition('/')[2]}" if "/libexpat.so" in path else None


class Site:
    """A mirror and a catalogue, and what a machine is told to use them with."""

    def __init__(self, folder: Path, url: str, archive: bytes, version: str, machine: str) -> None:
        name = archive_name(version, machine)
        write_release(folder, {name: archive})
        item = described(version, arch={"family": machine, "variant": None}, url=archive_url(version, machine))
        self.digest, self.version = Digest.of(archive), version
        catalogue = write_catalogue(folder / "catalogue.json", [item])
        self.environment = {"LAYERFORGE_PYTHON_MIRROR": url, "UV_PYTHON_DOWNLOADS_JSON_URL": str(catalogue)}


@pytest.fixture(scope="module")
def site(forge: Forge, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    yield from make_site(forge, tmp_path_factory)


def make_site(forge: Forge, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("standalone")
    store = Store(forge.home)
    version = make_installation(folder / "python", store)
    store.close()
    (folder / "mirror").mkdir()
    with serve(folder / "mirror") as (url, _):
        archive = pack_folder(folder / "python")
        yield Site(folder / "mirror", url, archive, version, MACHINES[host_platform().architecture])


def write_model(folder: Path, python: str = MINOR, provider: str = "standalone", packages: str = PACKAGES) -> Path:
    folder.mkdir()
    text = f'build:\n  python_version: "{python}"\n  system_packages: [{packages}]\nrun: "run.py:Runner"\n'
    (folder / "cog.yaml").write_text(f"{text}layerforge:\n  python: {provider}\n")
    (folder / "run.py").write_text(MODEL)
    return folder


@pytest.fixture(scope="module")
def model(site: Site, forge: Forge, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with its lock."""
    folder = write_model(tmp_path_factory.mktemp("models") / "standalone")
    forge.ok("lock", folder, environment=site.environment)
    return folder


def test_the_lock_names_the_archive_and_the_reason(site: Site, model: Path) -> None:
    (platform,) = tomli.loads((model / "pylock.layerforge.toml").read_text())["tool"]["layerforge"]["platforms"]
    python = platform["python"]
    assert (python["provider"], python["version"], python["home"]) == ("standalone", site.version, "/opt/python/bin")
    assert python["reason"] == f"a standalone build of Python {site.version}: layerforge.python asks for it"
    assert python["archive"]["sha256"] == site.digest.hex
    assert site.environment["LAYERFORGE_PYTHON_MIRROR"] not in str(python)
    assert (platform["release"], platform["interpreter"]) == ("trixie", [])


@pytest.mark.sandbox
def test_the_image_runs(site: Site, model: Path, forge: Forge) -> None:
    digest = forge.ok("build", model, "--locked", "-t", "example.org/standalone:1", environment=site.environment)
    store = Store(forge.home)
    manifest = store.resolve_tag("example.org/standalone:1")
    assert manifest is not None and manifest.digest == digest
    validate_image(store, manifest)
    said = forge.ok("run", model, "--engine", "sandbox", environment=site.environment)
    minor, prefix, base_prefix, cached, built = said.split()
    assert (minor, prefix, base_prefix, built) == (MINOR, "/usr/local", "/opt/python", "/opt/python")
    assert cached == "/opt/python/lib/python3.11/json/__pycache__/__init__.cpython-311.pyc"


@pytest.mark.slow
def test_what_the_store_has_needs_no_mirror_and_gives_the_same(
    site: Site, model: Path, forge: Forge, tmp_path: Path
) -> None:
    expected = forge.ok("build", model, "--locked", environment=site.environment)
    home = tmp_path / "home"
    (home / "materials").mkdir(parents=True)
    shutil.copytree(forge.home / "materials", home / "materials", dirs_exist_ok=True)  # only downloads are shared
    away = {**site.environment, "LAYERFORGE_PYTHON_MIRROR": f"http://127.0.0.1:{free_port()}"}
    assert Forge(home).ok("build", model, "--locked", environment=away) == expected


def test_an_archive_that_was_replaced_is_refused(site: Site, model: Path, tmp_path: Path) -> None:
    write_release(tmp_path / "mirror", {archive_name(site.version, MACHINES[host_platform().architecture]): b"other"})
    environment = {**site.environment, "LAYERFORGE_PYTHON_MIRROR": (tmp_path / "mirror").as_uri()}
    result = Forge(tmp_path / "home")("build", model, "--locked", environment=environment)
    assert result.status == 1
    assert "hint: the server gave another file than the one locked" in result.stderr
    assert Store(tmp_path / "home").tags() == {}


def test_nothing_to_be_had_names_all_three_ways(forge: Forge, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", "3.12", "auto")
    address = f"http://127.0.0.1:{free_port()}"
    catalogue = write_catalogue(tmp_path / "catalogue.json", [described("3.12.4")])
    environment = {"LAYERFORGE_PYTHON_MIRROR": address, "UV_PYTHON_DOWNLOADS_JSON_URL": str(catalogue)}
    require(host_platform().architecture == "amd64", "the catalogue of this test is for amd64")
    result = forge("build", folder, environment=environment)
    assert result.status == 1
    for words in ("Python 3.12 cannot be had", "Debian ships 3.11", "no base image", f"be had: {address}"):
        assert words in result.stderr
    assert 'hint: write python_version: "3.11" or "3.13"' in result.stderr
    assert not (folder / "pylock.layerforge.toml").exists()
