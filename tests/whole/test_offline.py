"""From a machine with a network to one that never had any: the same image, and not one socket."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from layerforge.store import Store, digest_file
from layerforge.validate import validate_image
from tests.base_samples import MINOR
from tests.conftest import require
from tests.registry_servers import Proxy
from tests.whole import test_base, test_standalone
from tests.whole.conftest import LAYERFORGE, Forge

pytestmark = [pytest.mark.network]

ALONE = ["unshare", "--user", "--map-user=12345", "--map-group=12345", "--net"]
"""Another user, in a network namespace whose only interface, the loopback one, is down."""


class Island:
    """A machine without a network, and its store. Calls the command line, and fails when a socket is opened."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.folder.mkdir()
        require(shutil.which("strace"), "strace is not installed")
        probe = subprocess.run([*ALONE, "sh", "-c", "id -u; cat /proc/net/route"], capture_output=True, text=True)
        require(probe.stdout.split("\n")[0] == "12345", "network namespaces are not allowed here")
        assert len(probe.stdout.strip().split("\n")) <= 2, "there is a route to somewhere"

    def __call__(self, *arguments: str | Path) -> str:
        environment = {name: value for name, value in os.environ.items() if not re.match("PIP_|UV_|LAYERFORGE_", name)}
        log = self.folder / "sockets"
        trace = ["strace", "-f", "--seccomp-bpf", "-qqq", "--signal=none", "-e", "trace=socket", "-o", str(log)]
        done = subprocess.run(
            [*ALONE, *trace, str(LAYERFORGE), *map(str, arguments)],
            env={**environment, "LAYERFORGE_HOME": str(self.home), "HOME": str(self.folder), "PYTHONHASHSEED": "7"},
            cwd=self.folder,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert log.read_text() == "", "a socket was opened"
        return done.stdout.strip()


def carry(forge: Forge, model: Path, island: Island, environment: dict[str, str] | None = None) -> Path:
    """Fetch, export, import; the model's copy on the island."""
    forge.ok("fetch", model, "--locked", environment=environment)
    forge.ok("export-store", island.folder / "parcel.tar", model, environment=environment)
    island("import-store", island.folder / "parcel.tar")
    return Path(shutil.copytree(model, island.folder / "elsewhere" / model.name))


def test_a_machine_that_was_never_online(forge: Forge, locked: Callable[[str], Path], tmp_path: Path) -> None:
    expected = forge.ok("build", locked("thumbnail"), "--locked")
    island = Island(tmp_path / "island")
    copy = carry(forge, locked("thumbnail"), island)
    assert island("build", copy, "--offline") == expected
    store = Store(island.home)
    (manifest,) = store.tags().values()
    validate_image(store, manifest)


def test_what_is_missing_is_named(forge: Forge, locked: Callable[[str], Path], tmp_path: Path) -> None:
    result = Forge(tmp_path / "home")("build", locked("hello"), "--offline")
    assert result.status == 1
    assert re.search(r"the store lacks .*\.deb.* and \d+ more", result.stderr)
    assert "hint: run `layerforge fetch`" in result.stderr
    folder = Path(shutil.copytree(locked("hello"), tmp_path / "hello"))
    config = (folder / "cog.yaml").read_text()
    (folder / "cog.yaml").write_text(config.replace("build:\n", "build:\n  system_packages: [jq]\n", 1))
    result = forge("build", folder, "--offline")
    assert result.status == 1
    assert "build.system_packages: + jq" in result.stderr
    assert forge("build", folder, "--offline", "--push").status == 2
    result = forge("export-store", tmp_path / "x.tar", folder)
    assert (result.status, (tmp_path / "x.tar").exists()) == (1, False)


def test_garbage_is_not_imported(forge: Forge, tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(b"garbage" * 1000)
    for name, words in (("x.tar", "is no export of a store"), ("none.tar", "No such file")):
        result = forge("import-store", tmp_path / name)
        assert result.status == 1
        assert words in result.stderr
        assert "Traceback" not in result.stderr


def test_a_full_disk_in_mid_fetch(forge: Forge, locked: Callable[[str], Path], tmp_path: Path) -> None:
    require(os.geteuid() == 0, "only root can mount a small disk")
    home = tmp_path / "home"
    home.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(home)], capture_output=True)
    require(mounted.returncode == 0, "mounting is not allowed here")
    try:
        result = Forge(home)("fetch", locked("hello"), "--locked")
        assert result.status == 1
        assert "no space left" in result.stderr
        assert "LAYERFORGE_HOME" in result.stderr
        assert "Traceback" not in result.stderr
        for path in (home / "materials/sha256").iterdir():
            assert digest_file(path)[0].hex == path.name
    finally:
        subprocess.run(["umount", "--lazy", str(home)], check=True)


@pytest.mark.slow
def test_two_fetches_at_once_and_one_that_is_killed(
    forge: Forge, locked: Callable[[str], Path], tmp_path: Path
) -> None:
    home, folder = tmp_path / "home", locked("hello")
    command = [str(LAYERFORGE), "fetch", str(folder), "--locked"]
    options: dict[str, Any] = {"env": {**os.environ, "LAYERFORGE_HOME": str(home)}, "stderr": subprocess.PIPE}
    killed = subprocess.Popen(command, **options)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not list((home / "materials").glob("sha256/*")):
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    both = [subprocess.Popen(command, text=True, **options) for _ in range(2)]
    errors = [process.communicate(timeout=200)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    assert not list((home / "partial").glob("sha256/*"))
    assert Forge(home).ok("build", folder, "--offline") == forge.ok("build", folder, "--locked")


@pytest.mark.slow
@pytest.mark.registry
def test_a_base_of_a_registry(registry: str, tmp_path: Path) -> None:
    with Proxy(registry) as proxy:
        site = test_base.Site(tmp_path / "site", proxy, registry)
        config = test_base.OFFICIAL
        base = site.base(f"offline:{MINOR}", site.system, site.python, config=config, history=test_base.HISTORY)
        model = site.model("official", base)
        site.forge.ok("lock", model)
        island = Island(tmp_path / "island")
        copy = carry(site.forge, model, island)
        expected = site.forge.ok("build", model, "--locked")
    assert island("build", copy, "--offline") == expected
    assert island("build", copy, "--offline", "--output", f"dir:{island.folder}/out") == expected


@pytest.fixture
def site(forge: Forge, tmp_path_factory: pytest.TempPathFactory) -> Iterator[test_standalone.Site]:
    yield from test_standalone.make_site(forge, tmp_path_factory)


@pytest.mark.slow
def test_a_standalone_python(site: test_standalone.Site, forge: Forge, tmp_path: Path) -> None:
    model = test_standalone.write_model(tmp_path / "standalone")
    forge.ok("lock", model, environment=site.environment)
    island = Island(tmp_path / "island")
    copy = carry(forge, model, island, site.environment)
    expected = forge.ok("build", model, "--locked", environment=site.environment)
    assert island("build", copy, "--offline") == expected
