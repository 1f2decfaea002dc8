"""What two models, or two locks of one model, have in common: layers, to the byte, in the store and in a registry."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from layerforge.lockfile import decode_lock
from tests.registry_servers import Proxy
from tests.whole.conftest import Forge
from tests.whole.test_rebase import read_manifest

pytestmark = [pytest.mark.network]

KEY = "run.layerforge.step.key"
RUNNER = "from cog import BaseRunner\n\n\nclass Runner(BaseRunner):\n    def run(self) -> str:\n        return 'x'\n"

FORTY = """numpy scipy pandas scikit-learn pillow matplotlib tokenizers safetensors huggingface-hub fastapi uvicorn
    pydantic
    httpx requests tqdm pyyaml regex sentencepiece protobuf grpcio h5py imageio onnxruntime soundfile jinja2 networkx
    psutil orjson msgpack joblib lxml beautifulsoup4 sqlalchemy cryptography rich click typer websockets shapely
    jsonschema"""


def write_model(folder: Path, packages: list[str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    yaml = 'build:\n  python_version: "3.13"\n  python_requirements: requirements.txt\nrun: run.py:Runner\n'
    (folder / "cog.yaml").write_text(yaml)
    (folder / "requirements.txt").write_text("".join(f"{name}\n" for name in packages))
    (folder / "run.py").write_text(RUNNER)
    return folder


def layers_of(manifest: dict[str, object]) -> dict[str, dict[str, object]]:
    """The layers of a manifest by their keys."""
    return {layer["annotations"][KEY]: layer for layer in manifest["layers"]}  # type: ignore[attr-defined]


@pytest.mark.registry
def test_two_models_share_the_layers_of_large_wheels(
    forge: Forge, locked: Callable[[str], Path], registry: str, tmp_path: Path
) -> None:
    first = locked("digits")  # numpy, Pillow, safetensors
    second = write_model(tmp_path / "other", ["numpy", "pillow", "click"])
    forge.ok("build", second)
    with Proxy(registry) as proxy:
        forge.ok("build", first, "--locked", "--push", "-t", f"{proxy.address}/team/one:v1")
        before = proxy.received
        forge.ok("build", second, "--locked", "--push", "-t", f"{proxy.address}/team/two:v1")
        sent = proxy.received - before
    one, two = (layers_of(read_manifest(registry, f"team/{name}:v1")) for name in ("one", "two"))
    common = one.keys() & two.keys()
    assert all(one[key] == two[key] for key in common), "same key, same descriptor"
    wheels = decode_lock((second / "pylock.layerforge.toml").read_bytes(), "lock").platforms[0].packages
    large = [wheel for wheel in wheels if wheel.bin == wheel.name]
    assert {"numpy", "pillow"} <= {wheel.name for wheel in large}
    shared = sum(int(str(one[key]["size"])) for key in common)
    own = sum(int(str(layer["size"])) for key, layer in two.items() if key not in common)
    assert shared > sum(wheel.size for wheel in large)
    assert sent < own + (64 << 10), f"{sent} bytes were sent for {own} bytes of layers that are new"
    assert own < shared / 10


@pytest.mark.slow
def test_one_small_package_more_remakes_one_bin(forge: Forge, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "forty", FORTY.split())
    forge.ok("build", folder)
    before = decode_lock((folder / "pylock.layerforge.toml").read_bytes(), "lock").platforms[0].packages
    assert len(before) > 60
    for listed in ([*FORTY.split(), "six"], FORTY.split()):
        write_model(folder, listed)
        forge.ok("lock", folder)
        after = decode_lock((folder / "pylock.layerforge.toml").read_bytes(), "lock").platforms[0].packages
        changed = {wheel.name for wheel in (*before, *after) if wheel not in before or wheel not in after}
        assert changed == {"six"}, "one wheel is there that was not, or the other way round; no other one moved"
        begun = resource.getrusage(resource.RUSAGE_CHILDREN)
        result = forge("build", folder, "--locked")
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert result.status == 0, result.stderr
        made = [line.split("packages/")[1].split()[0] for line in result.stderr.splitlines()
                if "packages/" in line and "cached" not in line]  # fmt: skip
        (bin_,) = {wheel.bin for wheel in (*before, *after) if wheel.name == "six"}
        assert made in ([bin_], []), "with it the bin is made anew; without it, it is the one of before"
        assert bool(made) == ("six" in listed)
        seconds = ended.ru_utime + ended.ru_stime - begun.ru_utime - begun.ru_stime
        assert seconds < 3, "processor time of the whole command, the start of both interpreters included"
        before = after


@pytest.mark.slow
def test_a_layer_is_the_same_to_the_byte_in_every_store(
    forge: Forge, locked: Callable[[str], Path], tmp_path: Path
) -> None:
    """Made with other neighbours, by another process, in another store: for another model, in short."""
    first = locked("digits")
    digest = forge.ok("build", first, "--locked", "--output", f"dir:{tmp_path / 'one'}")
    other = Forge(tmp_path / "home")
    (other.home / "materials").mkdir(parents=True)
    shutil.copytree(forge.home / "materials", other.home / "materials", dirs_exist_ok=True)
    second = write_model(tmp_path / "other", ["numpy", "pillow", "click"])
    assert other.ok("build", second, "--output", f"dir:{tmp_path / 'two'}") != digest
    one, two = ({path.name for path in (tmp_path / name / "blobs/sha256").iterdir()} for name in ("one", "two"))
    wheels = decode_lock((second / "pylock.layerforge.toml").read_bytes(), "lock").platforms[0].packages
    least = sum(wheel.size for wheel in wheels if wheel.bin == wheel.name)
    shared = sum((tmp_path / "one/blobs/sha256" / name).stat().st_size for name in one & two)
    assert shared > least
