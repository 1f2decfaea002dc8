"""What must be true of a build: same bytes, no second work, bounded memory, a store that survives anything."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from layerforge.inflate import inflate_layer
from layerforge.layers.compression import COMPRESSIONS
from layerforge.oci import LAYER_GZIP, ImageConfig, Manifest, decode
from layerforge.store import Store
from layerforge.validate import validate_image
from tests.conftest import require
from tests.whole.conftest import LAYERFORGE, Forge

pytestmark = [pytest.mark.network]


@pytest.mark.parametrize("name", ["hello", "digits", "thumbnail", "stream"])
def test_every_image_is_valid(name: str, forge: Forge, locked: Callable[[str], Path]) -> None:
    folder = locked(name)
    digest = forge.ok("build", folder, "--locked")
    store = Store(forge.home)
    manifest = store.resolve_tag(f"index.docker.io/library/{name}:latest") or store.resolve_tag(f"{name}:latest")
    assert manifest is not None, store.tags()
    assert manifest.digest == digest
    validate_image(store, manifest)


@pytest.mark.sandbox
@pytest.mark.parametrize("compression", ["zstd", "none"])
def test_compression_changes_how_layers_are_stored_and_nothing_else(
    compression: str, forge: Forge, locked: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = locked("hello")
    store = Store(forge.home)
    diff_ids, kinds = {}, {}
    for name in ("gzip", compression):
        forge.ok("build", folder, "--locked", "--compression", name, "-t", f"stored:{name}")
        manifest = store.resolve_tag(f"index.docker.io/library/stored:{name}") or store.resolve_tag(f"stored:{name}")
        assert manifest is not None, store.tags()
        validate_image(store, manifest)
        image = decode(store.read_blob(manifest), Manifest)
        diff_ids[name] = decode(store.read_blob(image.config), ImageConfig).rootfs.diff_ids
        kinds[name] = {layer.media_type for layer in image.layers}
    assert diff_ids[compression] == diff_ids["gzip"]
    assert kinds == {"gzip": {LAYER_GZIP}, compression: {COMPRESSIONS[compression].media_type}}
    copy = shutil.copytree(folder, tmp_path / "copy")
    with (copy / "cog.yaml").open("a") as file:
        file.write(f"layerforge: {{compression: {compression}}}\n")
    assert "Ada" in forge.ok("run", copy, "--locked", "--engine", "sandbox", "-i", "name=Ada")


def test_bytecode_can_be_left_out(forge: Forge, locked: Callable[[str], Path]) -> None:
    with_it = forge.ok("build", locked("hello"), "--locked")
    without = forge.ok("build", locked("hello"), "--locked", "--no-bytecode")
    assert without != with_it
    store = Store(forge.home)
    manifest = store.resolve_tag("index.docker.io/library/hello:latest") or store.resolve_tag("hello:latest")
    assert manifest is not None
    assert manifest.digest == without
    layers = decode(store.read_blob(manifest), Manifest).layers
    found = {"src": 0, "usr/local": 0, "usr/lib": 0}
    for layer in layers:
        with (
            store.open_blob(layer) as blob,
            inflate_layer(blob, layer) as plain,
            tarfile.open(fileobj=plain, mode="r|") as archive,
        ):
            for name in archive.getnames():
                for folder in found:
                    found[folder] += name.startswith(f"{folder}/") and name.endswith(".pyc")
    assert found["src"] == found["usr/local"] == 0
    assert found["usr/lib"] > 100  # the interpreter's library is compiled all the same


def scramble(source: Path, destination: Path) -> Path:
    """A copy of ``source`` whose files were made in another order, with other modes for group and others."""
    files = [path for path in source.rglob("*") if path.is_file()]
    random.Random(7).shuffle(files)
    for path in files:
        target = destination / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        target.chmod(0o700 if path.stat().st_mode & 0o100 else 0o600)
        os.utime(target, (random.random() * 1e9,) * 2)
    return destination


def test_one_lock_gives_one_digest(forge: Forge, locked: Callable[[str], Path], tmp_path: Path) -> None:
    folder = locked("digits")
    expected = forge.ok("build", folder, "--locked")
    elsewhere = scramble(folder, tmp_path / "some" / "other place")
    home = tmp_path / "home"
    (home / "materials").mkdir(parents=True)
    shutil.copytree(forge.home / "materials", home / "materials", dirs_exist_ok=True)  # only downloads are shared
    command = [str(LAYERFORGE), "build", str(elsewhere), "--locked", "-t", "digits"]
    environment = {
        **os.environ,
        "LAYERFORGE_HOME": str(home),
        "TZ": "Pacific/Kiritimati",
        "LC_ALL": "C",
        "PYTHONHASHSEED": "12345",
        "HOME": str(tmp_path),
    }
    # Another user, as far as the process can tell, who may still enter the folders on the way to this Python.
    another = ["unshare", "--user", "--map-user=12345", "--map-group=12345"]
    possible = subprocess.run([*another, "id", "-u"], capture_output=True, text=True)
    require(possible.stdout.strip() == "12345", "user namespaces are not allowed here")
    script = 'umask 077; exec "$@"'
    done = subprocess.run(
        [*another, "sh", "-c", script, "sh", *command], env=environment, capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == expected


def test_nothing_changed_means_no_work(forge: Forge, locked: Callable[[str], Path]) -> None:
    folder = locked("digits")
    first = forge.ok("build", folder)
    before = {path: path.stat().st_mtime_ns for path in (forge.home / "blobs").rglob("*")}
    again = forge("build", folder)
    assert (again.status, again.stdout.strip()) == (0, first)
    assert before == {path: path.stat().st_mtime_ns for path in (forge.home / "blobs").rglob("*")}
    steps = [line for line in again.stderr.splitlines() if "cached" in line]
    assert any("base" in line for line in steps)
    assert any("runtime" in line for line in steps)


def test_a_changed_line_makes_only_the_code_layer(forge: Forge, locked: Callable[[str], Path], tmp_path: Path) -> None:
    folder = tmp_path / "digits"
    shutil.copytree(locked("digits"), folder)
    forge.ok("build", folder)
    with (folder / "run.py").open("a") as file:
        file.write("# changed\n")
    lines = forge("build", folder).stderr.splitlines()
    made = [line for line in lines if line.strip() and "cached" not in line]
    assert len(made) == 1, made
    assert " code" in made[0]


def measure_build(folder: Path, home: Path, *options: str) -> int:
    """The peak memory, in bytes, of a build in a process of its own."""
    # A small process in between: a child's peak begins with what its parent had when it forked.
    script = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True);"
    script += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    done = subprocess.run(
        [sys.executable, "-c", script, str(LAYERFORGE), "build", str(folder), *options],
        env={**os.environ, "LAYERFORGE_HOME": str(home)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1]) << 10


def test_memory_stays_bounded(forge: Forge, locked: Callable[[str], Path], tmp_path: Path) -> None:
    folder = tmp_path / "digits"
    shutil.copytree(locked("digits"), folder)
    with (folder / "huge.safetensors").open("wb") as file:
        for _ in range(96):
            file.write(os.urandom(1 << 20) * 8)  # 768 MiB
    home = tmp_path / "home"
    (home / "materials").mkdir(parents=True)
    shutil.copytree(forge.home / "materials", home / "materials", dirs_exist_ok=True)
    peak = measure_build(folder, home, "--locked")
    assert peak < 300 << 20, f"{peak >> 20} MiB"
    stored = sum(path.stat().st_size for path in (home / "blobs").rglob("*") if path.is_file())
    assert stored < 700 << 20, "the weights were copied into the store"


@pytest.mark.slow
def test_memory_stays_bounded_with_hundreds_of_system_packages(models: Callable[[str], Path], tmp_path: Path) -> None:
    folder = tmp_path / "hello"
    shutil.copytree(models("hello"), folder)
    (folder / "pylock.layerforge.toml").unlink(missing_ok=True)  # resolving is part of the process that is measured
    config = (folder / "cog.yaml").read_text()
    wanted = "build:\n  system_packages: [ffmpeg, build-essential]\n"
    (folder / "cog.yaml").write_text(config.replace("build:\n", wanted, 1))
    assert "ffmpeg" in (folder / "cog.yaml").read_text()
    peak = measure_build(folder, tmp_path / "home")
    assert peak < 300 << 20, f"{peak >> 20} MiB"


def test_a_killed_build_leaves_a_store_that_the_next_one_uses(
    forge: Forge, locked: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = locked("digits")
    expected = forge.ok("build", folder, "--locked")
    home = tmp_path / "home"
    (home / "materials").mkdir(parents=True)
    shutil.copytree(forge.home / "materials", home / "materials", dirs_exist_ok=True)
    environment = {**os.environ, "LAYERFORGE_HOME": str(home)}
    command = [str(LAYERFORGE), "build", str(folder), "--locked"]
    dice = random.Random()
    for _ in range(8):
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        time.sleep(dice.uniform(0.2, 3.0))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        json.loads((home / "index.json").read_text()) if (home / "index.json").exists() else None
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, expected), done.stderr
    assert not list((home / "tmp").glob("*/*"))
    store = Store(home)
    (manifest,) = store.tags().values()
    validate_image(store, manifest)


def test_two_builds_at_once_share_a_store(forge: Forge, locked: Callable[[str], Path], tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "materials").mkdir(parents=True)
    shutil.copytree(forge.home / "materials", home / "materials", dirs_exist_ok=True)
    environment = {**os.environ, "LAYERFORGE_HOME": str(home)}
    processes = [
        subprocess.Popen(
            [str(LAYERFORGE), "build", str(locked(name)), "--locked"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in ("hello", "digits", "stream")
    ]
    results = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], results
    made = sum(line.strip().endswith("base") or "  base " in line for _, err in results for line in err.splitlines())
    assert made == 3  # each says what became of its base
    assert sum("cached  base" in err for _, err in results) == 2


def test_a_full_disk_is_an_error_and_no_more(forge: Forge, locked: Callable[[str], Path], tmp_path: Path) -> None:
    require(os.geteuid() == 0, "only root can mount a small disk")
    home = tmp_path / "home"
    home.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(home)], capture_output=True)
    require(mounted.returncode == 0, "mounting is not allowed here")
    try:
        result = Forge(home)("build", locked("hello"), "--locked")
        assert result.status == 1
        assert "error:" in result.stderr
        assert "no space left" in result.stderr
        assert "hint:" in result.stderr
        assert "Traceback" not in result.stderr
        Store(home)
    finally:
        subprocess.run(["umount", str(home)], check=True)


def test_ctrl_c_ends_at_once_and_leaves_nothing_behind(
    forge: Forge, locked: Callable[[str], Path], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    (home / "materials").mkdir(parents=True)
    shutil.copytree(forge.home / "materials", home / "materials", dirs_exist_ok=True)
    process = subprocess.Popen(
        [str(LAYERFORGE), "build", str(locked("digits")), "--locked"],
        env={**os.environ, "LAYERFORGE_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    started = time.monotonic()
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130, stderr
    assert time.monotonic() - started < 10
    assert "Traceback" not in stderr
    assert not list((home / "tmp").glob("*/*"))


def test_training_and_concurrency_are_told_to_the_server(
    forge: Forge, locked: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = tmp_path / "hello"
    shutil.copytree(locked("hello"), folder)
    (folder / "train.py").write_text("def train(steps: int) -> str:\n    return 'x' * steps\n")
    with (folder / "cog.yaml").open("a") as file:
        file.write('train: "train.py:train"\nconcurrency:\n  max: 4\n')
    layout = tmp_path / "layout"
    forge.ok("build", folder, "--output", f"dir:{layout}")
    index = json.loads((layout / "index.json").read_bytes())

    def read(descriptor: dict[str, str]) -> Any:
        return json.loads((layout / "blobs" / descriptor["digest"].replace(":", "/")).read_bytes())

    container = read(read(index["manifests"][0])["config"])["config"]
    assert {"COG_TRAIN_TYPE_STUB=train.py:train", "COG_MAX_CONCURRENCY=4"} <= set(container["Env"])
    assert "/trainings" in json.loads(container["Labels"]["run.cog.openapi_schema"])["paths"]
