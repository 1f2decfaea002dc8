"""Images for several platforms from one machine: nothing of a foreign platform is executed while they are made."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tomli
from elftools.elf.elffile import ELFFile

from layerforge.oci import INDEX, LAYER_GZIP, Descriptor, Index, Manifest, decode
from layerforge.store import Store
from layerforge.validate import validate_image
from tests.conftest import require
from tests.whole.conftest import Forge

pytestmark = [pytest.mark.network]

BOTH = "linux/amd64,linux/arm64"
MACHINES = {"amd64": "EM_X86_64", "arm64": "EM_AARCH64"}


@pytest.fixture(scope="module")
def model(models: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The thumbnail fixture (Pillow, Python 3.11) with a lock of its own."""
    return Path(shutil.copytree(models("thumbnail"), tmp_path_factory.mktemp("platforms") / "thumbnail"))


@pytest.fixture(scope="module")
def index(forge: Forge, model: Path) -> Index:
    """The index over the images of both platforms."""
    digest = forge.ok("build", model, "--platform", BOTH, "-t", "example.org/platforms:both", timeout=500)
    store = Store(forge.home)
    found = store.resolve_tag("example.org/platforms:both")
    assert found is not None and found.digest == digest and found.media_type == INDEX
    validate_image(store, found)
    return decode(store.read_blob(found), Index)


def of(index: Index, architecture: str) -> Descriptor:
    (found,) = (m for m in index.manifests if m.platform and m.platform.architecture == architecture)
    return found


def layers(store: Store, manifest: Descriptor) -> tuple[Descriptor, ...]:
    return decode(store.read_blob(manifest), Manifest).layers


@pytest.fixture(scope="module", params=list(MACHINES))
def root(
    request: pytest.FixtureRequest, index: Index, forge: Forge, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path]]:
    """The architecture, and the unpacked image."""
    store = Store(forge.home)
    folder = tmp_path_factory.mktemp("root")
    for layer in layers(store, of(index, request.param)):
        assert layer.media_type == LAYER_GZIP
        with store.open_blob(layer) as blob:
            subprocess.run(["tar", "-xzf", "-", "-C", str(folder)], input=blob.readall(), check=True)
    yield request.param, folder
    subprocess.run(["rm", "-rf", str(folder)], check=True)


def test_every_program_and_library_is_of_its_platform(root: tuple[str, Path]) -> None:
    architecture, folder = root
    found: Counter[str] = Counter()
    for path in folder.rglob("*"):
        if path.is_symlink() or not path.is_file():
            continue
        with path.open("rb") as file:
            if file.read(4) != b"\x7fELF":
                continue
            file.seek(0)
            found[str(ELFFile(io.BytesIO(file.read(64)))["e_machine"])] += 1
    assert set(found) == {MACHINES[architecture]}
    assert found[MACHINES[architecture]] > 100


def test_the_foreign_image_runs_under_emulation(root: tuple[str, Path]) -> None:
    architecture, folder = root
    if architecture != "arm64" or os.uname().machine == "aarch64":
        return
    emulator = shutil.which("qemu-aarch64-static")
    require(emulator, "qemu-user-static is not installed")
    require(os.geteuid() == 0, "chroot needs root")
    shutil.copy(str(emulator), folder / "qemu")
    program = "import sys, ssl, cog, PIL.Image as P; print(sys.implementation._multiarch, P.new('L', (2, 3)).size)"
    command = ["chroot", str(folder), "/qemu", "/usr/local/bin/python", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, env={"PATH": "/usr/sbin:/usr/bin"}, timeout=120)
    (folder / "qemu").unlink()
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split("\n")[0] == "aarch64-linux-gnu (2, 3)"


def test_bytecode_does_not_depend_on_the_platform(index: Index, forge: Forge) -> None:
    store = Store(forge.home)
    shared = {layer.digest for layer in layers(store, of(index, "amd64"))}
    common = [layer for layer in layers(store, of(index, "arm64")) if layer.digest in shared]
    assert common, "the code layer is the same for every platform"


def test_each_platform_has_its_section_in_the_lock(index: Index, model: Path) -> None:
    document = tomli.loads((model / "pylock.layerforge.toml").read_text())
    sections = {section["platform"]: section for section in document["tool"]["layerforge"]["platforms"]}
    assert list(sections) == BOTH.split(",")
    for platform, section in sections.items():
        architectures = {deb["architecture"] for deb in section["base"]}
        assert architectures == {platform.partition("/")[2], "all"}
    versions = [package["version"] for package in document["packages"] if package["name"] == "pillow"]
    assert len(versions) == 1, "both platforms have the same version"


def test_one_lock_serves_each_platform_alone_and_both(index: Index, forge: Forge, model: Path) -> None:
    before = (model / "pylock.layerforge.toml").read_bytes()
    for architecture in MACHINES:
        alone = forge.ok("build", model, "--locked", "--platform", f"linux/{architecture}")
        assert alone == of(index, architecture).digest
    forge.ok("build", model, "--locked", "--platform", BOTH)
    assert (model / "pylock.layerforge.toml").read_bytes() == before


def test_a_platform_that_the_lock_lacks(forge: Forge, locked: Callable[[str], Path]) -> None:
    host = "arm64" if os.uname().machine == "x86_64" else "amd64"
    result = forge("build", locked("hello"), "--locked", "--platform", f"linux/{host}")
    assert result.status == 1
    assert f"the lock has no section for linux/{host}" in result.stderr
    assert "hint: run `layerforge lock" in result.stderr


def test_a_platform_that_does_not_exist(forge: Forge, model: Path) -> None:
    result = forge("build", model, "--platform", "linux/amd64,linux/m68k")
    assert result.status == 1
    assert "'linux/m68k' is not a platform" in result.stderr


def test_the_platforms_of_cog_yaml(forge: Forge, models: Callable[[str], Path], index: Index, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(models("thumbnail"), tmp_path / "thumbnail"))
    with (folder / "cog.yaml").open("a") as file:
        file.write("layerforge:\n  platforms: [linux/amd64, linux/arm64]\n")
    digest = forge.ok("build", folder, "-t", "example.org/platforms:file", timeout=500)
    store = Store(forge.home)
    found = store.resolve_tag("example.org/platforms:file")
    assert found is not None and found.digest == digest
    platforms = [str(manifest.platform) for manifest in decode(store.read_blob(found), Index).manifests]
    assert platforms == ["linux/amd64", "linux/arm64"]


@pytest.mark.registry
def test_an_index_is_pushed_whole(index: Index, forge: Forge, model: Path, registry: str) -> None:
    skopeo = shutil.which("skopeo")
    require(skopeo, "skopeo is not installed")
    name = f"{registry}/platforms:both"
    digest = forge.ok("build", model, "--locked", "--platform", BOTH, "--push", "-t", name)
    raw = subprocess.run(
        [str(skopeo), "inspect", "--tls-verify=false", "--raw", f"docker://{name}"], capture_output=True, check=True
    )
    assert decode(raw.stdout, Index) == index
    for architecture in MACHINES:
        command = [str(skopeo), "--override-arch", architecture, "inspect", "--tls-verify=false", f"docker://{name}"]
        described = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        assert described["Architecture"] == architecture
    again = forge("build", model, "--locked", "--platform", BOTH, "--push", "-t", name)
    assert again.stdout.strip() == digest and "up to date" in again.stderr
