"""Upon a base of a registry: built, pushed to this registry and another one, run; what is stored, and what is not."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from layerforge.layers.tar import Layer
from layerforge.oci import ImageConfig, Manifest, decode
from layerforge.store import Store
from layerforge.validate import validate_image
from tests.base_samples import MINOR, VERSION, files_layer, push_base, put_base, python_layer, system_layer
from tests.conftest import docker_client
from tests.registry_servers import Proxy, serve_registry
from tests.whole.conftest import Forge
from tests.whole.test_engines import docker_container, post

pytestmark = [pytest.mark.network, pytest.mark.registry]

HISTORY = [
    {"created": "2024-07-08T00:00:00Z", "created_by": "# debian.sh --arch 'amd64' out/ 'bookworm' '@1720396800'"},
    {"created_by": "ENV GPG_KEY=7169605F62C751356D054A26A821E680E5FA6305", "empty_layer": True},
    {"created_by": "RUN set -eux; wget -O python.tar.xz # buildkit"},
]
OFFICIAL = {
    "Env": [
        "PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin",
        f"PYTHON_VERSION={VERSION}",
        "GPG_KEY=x",
    ],
    "Cmd": ["python3"],
}


class Site:
    """Bases in a registry behind a proxy, and models upon them."""

    def __init__(self, folder: Path, proxy: Proxy, registry: str) -> None:
        self.folder = folder
        self.proxy = proxy
        self.registry = registry
        self.shop = Store(folder / "shop")
        self.system = system_layer(self.shop)
        self.python = python_layer(self.shop)
        self.forge = Forge(folder / "home")

    def base(self, name: str, *layers: Any, config: dict[str, Any], history: Any = None) -> str:
        manifest = put_base(self.shop, layers, config, docker=True, history=history)
        push_base(self.shop, manifest, f"{self.registry}/bases/{name}")
        return f"{self.proxy.address}/bases/{name}"

    def model(self, name: str, base: str, *lines: str) -> Path:
        folder = self.folder / name
        folder.mkdir()
        text = [f'build:\n  python_version: "{MINOR}"', *lines, 'run: "run.py:Runner"', f"layerforge:\n  base: {base}"]
        (folder / "cog.yaml").write_text("\n".join(text) + "\n")
        (folder / "run.py").write_text(
            "import os, sys\nfrom cog import BaseRunner\n\n\nclass Runner(BaseRunner):\n"
            "    def run(self, name: str = '') -> str:\n"
            "        return f'{name} {sys.prefix} {sys.base_prefix} {os.getuid()} {os.environ.get(\"FROM_BASE\")}'\n"
        )
        return folder

    def stored(self, reference: str) -> tuple[Manifest, ImageConfig, list[bool]]:
        """The image, and which of its layers are in the store."""
        store = Store(self.forge.home)
        found = store.resolve_tag(reference)
        assert found is not None
        manifest = decode(store.read_blob(found), Manifest)
        config = decode(store.read_blob(manifest.config), ImageConfig)
        return manifest, config, [store.has_blob(layer) for layer in manifest.layers]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, registry: str) -> Iterator[Site]:
    with Proxy(registry) as proxy:
        yield Site(tmp_path_factory.mktemp("bases"), proxy, registry)


@pytest.fixture(scope="module")
def official(site: Site) -> Path:
    """A model upon what looks like an official Python image."""
    config = {**OFFICIAL, "Env": [*OFFICIAL["Env"], "FROM_BASE=yes"], "Volumes": {"/data": {}}}
    base = site.base(f"python:{MINOR}-slim", site.system, site.python, config=config, history=HISTORY)
    return site.model("official", base)


def test_nothing_of_the_base_is_stored(site: Site, official: Path, tmp_path: Path) -> None:
    site.forge.ok("lock", official)
    layers = {site.system.descriptor.digest, site.python.descriptor.digest}
    asked = [request.path for request in site.proxy.requests if any(layer in request.path for layer in layers)]
    assert not asked  # the configuration says which release and which Python it is
    lock = (official / "pylock.layerforge.toml").read_text()
    assert 'provider = "base", home = "/usr/local/bin"' in lock
    assert 'release = "bookworm"' in lock

    with serve_registry(tmp_path / "other") as other:
        digest = site.forge.ok("build", official, "--locked", "--push", "-t", f"{other}/models/official:1")
        manifest, config, stored = site.stored(f"{other}/models/official:1")
        assert stored[:2] == [False, False]
        assert all(stored[2:])
        inspect = ["skopeo", "inspect", "--tls-verify=false", f"docker://{other}/models/official:1"]
        shown = json.loads(subprocess.run(inspect, check=True, capture_output=True, text=True).stdout)
        assert shown["Digest"] == digest
        copy = [
            "skopeo",
            "copy",
            "--src-tls-verify=false",
            f"docker://{other}/models/official:1",
            f"oci:{tmp_path}/copy:1",
        ]
        subprocess.run(copy, check=True, capture_output=True)  # which reads and checks every blob
    assert config.config.volumes == {"/data": {}}
    assert config.config.cmd == ("python", "-m", "cog.server.http")
    assert [entry.created_by for entry in config.history][-3:] == [
        "layerforge python",
        "layerforge code",
        "layerforge runtime",
    ]
    assert manifest.annotations["org.opencontainers.image.base.name"].endswith(f"python:{MINOR}-slim")


def test_pushed_beside_its_base_nothing_is_sent(site: Site, official: Path) -> None:
    before, count = site.proxy.received, len(site.proxy.requests)
    site.forge.ok("build", official, "--push", "-t", f"{site.proxy.address}/models/official:1")
    asked = site.proxy.requests[count:]
    assert len([request for request in asked if request.is_("POST", "mount=")]) == 2
    assert not [request for request in asked if request.is_("GET", "/blobs/")]
    own = sum(layer.size for layer in site.stored(f"{site.proxy.address}/models/official:1")[0].layers[2:])
    assert site.proxy.received - before < own + 100_000


def test_nothing_changed_means_that_nobody_is_asked(site: Site, official: Path) -> None:
    expected = site.forge.ok("build", official)
    before = len(site.proxy.requests)
    assert site.forge.ok("build", official) == expected
    assert len(site.proxy.requests) == before


@pytest.mark.sandbox
def test_the_sandbox_fetches_what_it_needs(site: Site, official: Path) -> None:
    said = site.forge.ok("run", official, "--engine", "sandbox", "-i", "name=Ada")
    assert said == "Ada /usr/local /usr/local 0 yes"


@pytest.mark.engine
def test_docker_runs_it(site: Site, official: Path, docker: str) -> None:
    reference = f"{site.registry}/models/docker:1"
    site.forge.ok("build", official, "--push", "-t", reference)
    client = [str(docker_client()), "--host", docker]
    with docker_container(client, reference) as url:
        status, answer = post(url, {"name": "Ada"})
    assert (status, answer["output"]) == (200, "Ada /usr/local /usr/local 0 yes")
    assert site.forge.ok("run", official, "--engine", "docker", "-i", "name=Eve").startswith("Eve ")


@pytest.mark.slow
@pytest.mark.sandbox
def test_a_python_elsewhere_gets_an_environment(site: Site) -> None:
    python = python_layer(site.shop, "opt/conda")
    config = {"Env": ["PATH=/opt/conda/bin:/usr/bin:/bin"], "Entrypoint": ["/entry.sh"], "User": "model"}
    model = site.model("conda", site.base("conda:1", site.system, python, config=config))
    result = site.forge("lock", model)
    assert result.status == 0, result.stderr
    assert "entrypoint (/entry.sh) is not run" in result.stderr
    assert "user model" in result.stderr
    said = site.forge.ok("run", model, "--engine", "sandbox", "-i", "name=Ada")
    assert said == "Ada /usr/local /opt/conda 1000 None"
    site.forge.ok("build", model, "-t", "conda:1")
    assert site.stored("index.docker.io/library/conda:1")[1].config.user == "model"


def test_an_output_is_whole(site: Site, official: Path, tmp_path: Path) -> None:
    digest = site.forge.ok("build", official, "--output", f"dir:{tmp_path / 'layout'}")
    store = Store(site.forge.home)
    manifest = next(found for found in store.tags().values() if found.digest == digest)
    validate_image(store, manifest)
    blobs = {path.name for path in (tmp_path / "layout/blobs/sha256").iterdir()}
    assert site.system.descriptor.digest.hex in blobs


CHECK = """import subprocess, sys
from cog import BaseRunner


class Runner(BaseRunner):
    def run(self) -> str:
        tree = subprocess.run(["tree", "--version"], capture_output=True, text=True).stdout
        sql = subprocess.run(["sqlite3", ":memory:", "select 6*7"], capture_output=True, text=True).stdout.strip()
        audit = subprocess.run(["dpkg", "--audit"], capture_output=True, text=True)
        listed = subprocess.run(["dpkg", "-l"], capture_output=True, text=True).stdout.splitlines()
        names = [line.split()[1] for line in listed if line.startswith("ii ")]
        owner = subprocess.run(["dpkg", "-S", "/usr/bin/tree"], capture_output=True, text=True).stdout.strip()
        known = [name in names for name in ("tree", "base-files")]
        return f"{tree[:6]}|{sql}|{audit.returncode}{audit.stdout}|{known}|{owner}|{sys.prefix}"
"""


@pytest.mark.slow
@pytest.mark.sandbox
def test_system_packages_upon_a_debian_base(site: Site, forge: Forge, locked: Callable[[str], Path]) -> None:
    """The base is an image of ours without its model: what matters is that its layers come from a registry."""
    digest = forge.ok("build", locked("hello"), "--locked", "-t", "hello:as-base")
    source = Store(forge.home)
    found = source.resolve_tag("index.docker.io/library/hello:as-base")
    assert found is not None
    assert found.digest == digest
    manifest = decode(source.read_blob(found), Manifest)
    config = decode(source.read_blob(manifest.config), ImageConfig)
    made = [entry.created_by.removeprefix("layerforge ") for entry in config.history]
    layers = [
        Layer(layer, diff_id)
        for layer, diff_id, name in zip(manifest.layers, config.rootfs.diff_ids, made, strict=True)
        if name in ("base", "python", "root")
    ]
    pushed = push_base(
        source, put_base(source, layers, {"Env": ["PATH=/usr/bin:/bin"]}), f"{site.registry}/bases/trixie:1"
    )
    model = site.folder / "system"
    model.mkdir()
    (model / "run.py").write_text(CHECK)
    lines = ["build:", '  python_version: "3.13"', "  system_packages: [tree, sqlite3]", 'run: "run.py:Runner"']
    (model / "cog.yaml").write_text("\n".join([*lines, "layerforge:", f"  base: {pushed}"]) + "\n")
    site.forge.ok("lock", model)
    lock = (model / "pylock.layerforge.toml").read_text()
    assert 'release = "trixie"' in lock
    assert '"libc6"' not in lock  # the base has it
    said = site.forge.ok("run", model, "--locked", "--engine", "sandbox")
    assert said == "tree v|42|0|[True, True]|tree: /usr/bin/tree|/usr/local"


@pytest.mark.parametrize(
    ("name", "files", "words"),
    [
        (
            "alpine:3",
            {"etc/os-release": 'ID=alpine\nPRETTY_NAME="Alpine Linux v3.20"', "lib/ld-musl-x86_64.so.1": ""},
            "musl",
        ),
        ("scratch:1", {"etc/nothing": ""}, "no C library"),
    ],
)
def test_a_base_that_cannot_carry_a_model(site: Site, name: str, files: dict[str, str], words: str) -> None:
    base = site.base(name, files_layer(site.shop, files), config={})
    model = site.model(re.sub(r"\W", "-", name), base)
    result = site.forge("build", model)
    assert result.status == 1
    assert words in result.stderr
    assert "hint:" in result.stderr
    assert not (model / "pylock.layerforge.toml").exists()


def test_another_python_than_the_base_has(site: Site) -> None:
    base = site.base("nopython:1", site.system, config={})
    elsewhere = {"LAYERFORGE_PYTHON_MIRROR": "file:///nothing/there"}
    result = site.forge("build", site.model("nopython", base), environment=elsewhere)
    assert result.status == 1
    assert f"has no Python {MINOR}" in result.stderr
    assert "the standalone build cannot be had: file:///nothing/there" in result.stderr
