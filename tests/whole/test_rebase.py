"""An image of last year's packages, put on today's: what travels, what comes out, what is refused, and that it runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from layerforge.abi.demands import ANNOTATION
from layerforge.blobs import list_blobs
from layerforge.engines.sandbox import Sandbox
from layerforge.errors import EngineError
from layerforge.oci import MANIFEST, Descriptor, Digest
from layerforge.prediction import predict, wait_until_ready
from layerforge.progress import SILENCE
from layerforge.reference import parse_reference
from layerforge.registry import Registry
from layerforge.registry.pull import pull_blobs
from layerforge.store import Store
from tests.conftest import require
from tests.registry_servers import Proxy
from tests.whole.conftest import ROOT, Forge

pytestmark = [pytest.mark.network, pytest.mark.registry, pytest.mark.slow]

OLD = """
import sys
from layerforge.sources.debian import archive
suites_of = archive.suites_of
archive.suites_of = lambda *arguments: suites_of(*arguments)[:1]  # the release as it came, without its updates
from layerforge.cli import main
main()
"""
CONFIG = 'build:\n  python_version: "3.11"\n  system_packages: [libsndfile1]\nrun: "run.py:Runner"\n'


class Made:
    """The image of the release as it came is at ``name``, and what a build with all updates gives is ``expected``."""

    def __init__(self, registry: str, folder: Path) -> None:
        self.registry = registry
        self.home = folder / "home"
        self.model = folder / "hello"
        shutil.copytree(ROOT / "fixtures/hello", self.model, ignore=shutil.ignore_patterns("pylock*"))
        (self.model / "cog.yaml").write_text(CONFIG)
        self.name = "team/old:v1"
        command = [sys.executable, "-c", OLD, "build", str(self.model), "--push", "-t", f"{registry}/{self.name}"]
        environment = {**os.environ, "LAYERFORGE_HOME": str(self.home)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        self.old = done.stdout.strip()
        (self.model / "pylock.layerforge.toml").unlink()
        self.expected = Forge(self.home).ok("build", self.model)


@pytest.fixture(scope="module")
def made(registry: str, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(registry, tmp_path_factory.mktemp("rebase"))


@pytest.fixture
def fresh(made: Made, tmp_path: Path) -> Forge:
    """A machine that has never seen the image; only Debian's packages need not be fetched again."""
    home = tmp_path / "home"
    (home / "materials").mkdir(parents=True)
    shutil.copytree(made.home / "materials", home / "materials", dirs_exist_ok=True)
    return Forge(home)


@pytest.fixture
def proxy(registry: str) -> Iterator[Proxy]:
    with Proxy(registry) as proxy:
        yield proxy


def read_manifest(address: str, name: str) -> dict[str, Any]:
    repository, _, tag = name.partition(":")
    headers = {"Accept": MANIFEST}
    request = urllib.request.Request(f"http://{address}/v2/{repository}/manifests/{tag}", headers=headers)
    with urllib.request.urlopen(request) as response:
        document: dict[str, Any] = json.load(response)
    return document


def test_only_the_lower_layers_travel_and_the_image_is_that_of_a_build(made: Made, fresh: Forge, proxy: Proxy) -> None:
    before = read_manifest(made.registry, made.name)
    result = fresh("rebase", f"{proxy.address}/{made.name}", "-t", f"{proxy.address}/team/old:v2", "--json")
    assert result.status == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["before"] == made.old
    require(report["changes"], "the release has no updates yet")
    assert report["after"] == made.expected, "a build from scratch with the newer packages gives the same image"
    assert all(line in result.stderr for line in report["changes"])
    after = read_manifest(made.registry, "team/old:v2")
    old, new = ({layer["digest"]: layer["size"] for layer in each["layers"]} for each in (before, after))
    kept = old.keys() & new.keys()
    assert [layer for layer in before["layers"] if layer["digest"] in kept and ANNOTATION in layer["annotations"]] == [
        layer for layer in after["layers"] if ANNOTATION in layer["annotations"]
    ]
    config = after["config"]["size"]
    manifest = len(json.dumps(after, separators=(",", ":"), sort_keys=True))
    assert proxy.received == sum(new[digest] for digest in new.keys() - kept) + config + manifest
    upper = {layer["digest"] for layer in before["layers"] if ANNOTATION in layer["annotations"]}
    read = {request.path.rpartition("/")[2] for request in proxy.requests if request.is_("GET", "/blobs/")}
    assert not upper & read, "a layer of packages or code was downloaded"


def test_what_is_new_already_is_left_alone(made: Made, fresh: Forge, proxy: Proxy) -> None:
    first = fresh.ok("rebase", f"{made.registry}/{made.name}", "-t", f"{made.registry}/team/old:v3")
    again = fresh("rebase", f"{proxy.address}/team/old:v3")
    assert (again.status, again.stdout.strip()) == (0, first)
    assert "nothing changed" in again.stderr
    assert proxy.methods() == ["GET", "GET"], "manifest and configuration"


def test_another_repository_gets_the_other_layers_mounted(made: Made, fresh: Forge, proxy: Proxy) -> None:
    fresh.ok("rebase", f"{proxy.address}/{made.name}", "-t", f"{proxy.address}/elsewhere/new:v1")
    mounts = [request for request in proxy.requests if request.is_("POST", "mount=")]
    document = read_manifest(made.registry, "elsewhere/new:v1")
    upper = [layer for layer in document["layers"] if ANNOTATION in layer["annotations"]]
    assert len(mounts) >= len(upper)
    assert proxy.received < sum(layer["size"] for layer in document["layers"] if layer not in upper) + (64 << 10)


def test_a_dry_run_pushes_nothing(made: Made, fresh: Forge, proxy: Proxy) -> None:
    digest = fresh.ok("rebase", f"{proxy.address}/{made.name}", "--dry-run")
    assert digest == made.expected
    assert set(proxy.methods()) <= {"GET", "HEAD"}


def test_the_rebased_image_runs(made: Made, fresh: Forge) -> None:
    digest = fresh.ok("rebase", f"{made.registry}/{made.name}", "-t", f"{made.registry}/team/run:v1")
    store = Store(fresh.home)
    data = store.blob_path(Digest(digest)).read_bytes()
    manifest = Descriptor(MANIFEST, Digest(digest), len(data))
    pull_blobs(store, list_blobs(store, manifest))
    try:
        with Sandbox().start(store, manifest, environment={}, reporter=SILENCE) as container:
            wait_until_ready(container, 60, SILENCE)
            assert "Ada" in str(predict(container.url, {"name": "Ada"}).output)
    except EngineError as error:
        require("sandbox" not in str(error), str(error))
        raise
    finally:
        store.close()


def test_an_image_without_a_record_is_refused_and_stays(made: Made, fresh: Forge, registry: str) -> None:
    reference = parse_reference(f"{registry}/team/old:stripped")
    with Registry(parse_reference(f"{registry}/{made.name}")) as repository:
        _, data = repository.get_manifest("v1")
        document = msgspec.json.decode(data)
        for layer in document["layers"]:
            layer["annotations"].pop(ANNOTATION, None)
        stripped = msgspec.json.encode(document)
        descriptor = Descriptor(MANIFEST, Digest.of(stripped), len(stripped))
        repository.push_manifest("stripped", descriptor, stripped)
    result = fresh("rebase", str(reference))
    assert result.status == 1
    assert "nothing is recorded of what layer code demands" in result.stderr
    assert "hint:" in result.stderr
    with Registry(reference) as repository:
        assert repository.get_manifest("stripped")[0].digest == descriptor.digest


def test_an_image_upon_another_follows_its_tag(made: Made, fresh: Forge, registry: str, tmp_path: Path) -> None:
    fresh.ok("rebase", f"{registry}/{made.name}", "-t", f"{registry}/team/old:new")

    def point_base_at(tag: str) -> None:
        with Registry(parse_reference(f"{registry}/team/old")) as repository:
            repository.push_manifest("base", *repository.get_manifest(tag))

    model = tmp_path / "upon"
    shutil.copytree(ROOT / "fixtures/hello", model, ignore=shutil.ignore_patterns("pylock*"))
    (model / "cog.yaml").write_text(
        f'build:\n  python_version: "3.11"\nlayerforge:\n  base: {registry}/team/old:base\nrun: "run.py:Runner"\n'
    )
    point_base_at("v1")
    fresh.ok("build", model, "--push", "-t", f"{registry}/team/upon:v1")
    point_base_at("new")
    digest = fresh.ok("rebase", f"{registry}/team/upon:v1")
    (model / "pylock.layerforge.toml").unlink()
    assert digest == fresh.ok("build", model)
