"""Docker and Podman, real ones."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from layerforge.engines.client import OWNER_LABEL, ClientEngine, describe_process, find_programs, is_orphan
from layerforge.engines.docker import Docker
from layerforge.engines.podman import Podman
from layerforge.errors import EngineError, LayerforgeError
from layerforge.oci import Descriptor, Manifest, decode
from layerforge.progress import SILENCE
from layerforge.store import Store

pytestmark = pytest.mark.engine
MakeImage = Callable[..., Descriptor]


@pytest.fixture
def podman(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, require: Callable[..., None]) -> None:
    """Podman with storage of its own, and settings for a machine that itself is restricted."""
    require(shutil.which("podman"), "podman is not installed")
    for name in ("root", "run", "tmp"):
        (tmp_path / "podman" / name).mkdir(parents=True)
    runtime = "runc" if shutil.which("runc") else "crun"
    (tmp_path / "containers.conf").write_text(
        '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n'
        f'[engine]\nruntime = "{runtime}"\ncgroup_manager = "cgroupfs"\ntmp_dir = "{tmp_path}/podman/tmp"\n'
    )
    (tmp_path / "storage.conf").write_text(
        f'[storage]\ndriver = "vfs"\ngraphroot = "{tmp_path}/podman/root"\nrunroot = "{tmp_path}/podman/run"\n'
    )
    monkeypatch.setenv("CONTAINERS_CONF", str(tmp_path / "containers.conf"))
    monkeypatch.setenv("CONTAINERS_STORAGE_CONF", str(tmp_path / "storage.conf"))


@pytest.fixture(params=["docker", "podman"])
def engine(request: pytest.FixtureRequest, require: Callable[..., None]) -> ClientEngine:
    request.getfixturevalue(request.param)
    chosen = Docker() if request.param == "docker" else Podman()
    reason = chosen.find_obstacle()
    require(not reason, f"{request.param} cannot be used: {reason}")
    return chosen


def read(url: str, seconds: float = 20) -> bytes:
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                return bytes(response.read())
        except urllib.error.HTTPError as error:
            with error:
                return f"{error.code}".encode()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def containers(engine: ClientEngine) -> list[str]:
    command = [engine.program, "ps", "--all", "--quiet", "--filter", f"label={OWNER_LABEL}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def test_runs_an_image(engine: ClientEngine, store: Store, make_image: MakeImage) -> None:
    image = make_image()
    with engine.start(store, image, environment={"A": "2"}, reporter=SILENCE) as container:
        assert read(f"{container.url}/index.html") == b"upper"
        assert read(f"{container.url}/gone") == b"404"
        assert read(f"{container.url}/old/kept") == b"upper"
        assert container.is_running()
        assert len(containers(engine)) == 1
        assert wait_for_log(container.logs) == "A=2 port=5000 uid=0 cwd=/work home=/root\n"
    assert not container.is_running()
    assert container.wait() == 3
    assert container.logs().endswith("bye\n")
    assert containers(engine) == []


def wait_for_log(logs: Callable[[], str]) -> str:
    deadline = time.monotonic() + 10
    while not logs() and time.monotonic() < deadline:
        time.sleep(0.05)
    return logs()


def test_only_what_is_missing_travels(
    engine: ClientEngine, store: Store, make_image: MakeImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    open_blob = Store.open_blob
    monkeypatch.setattr(Store, "open_blob", lambda self, one: (opened.append(one.digest), open_blob(self, one))[1])
    first = make_image(labels={"version": "one", "of": engine.name})
    with engine.start(store, first, environment={}, reporter=SILENCE):
        pass
    opened.clear()
    with engine.start(store, first, environment={}, reporter=SILENCE):
        pass
    layers = {layer.digest for layer in decode(store.read_blob(first), Manifest).layers}
    assert not layers & set(opened)
    second = make_image(labels={"version": "two", "of": engine.name})
    opened.clear()
    with engine.start(store, second, environment={}, reporter=SILENCE) as container:
        assert read(f"{container.url}/index.html") == b"upper"
    assert second.digest in opened
    assert not layers & set(opened)


def test_a_damaged_layer_is_not_run(engine: ClientEngine, store: Store, make_image: MakeImage) -> None:
    image = make_image(labels={"test": f"damaged {engine.name}"})
    layer = decode(store.read_blob(image), Manifest).layers[1]
    path = store.blob_path(layer.digest)
    data = bytearray(path.read_bytes())
    data[-2000] ^= 1
    path.write_bytes(data)
    fresh = make_fresh(engine, layer)
    if fresh:
        with pytest.raises(LayerforgeError, match="digest"):
            engine.start(store, image, environment={}, reporter=SILENCE)
    assert containers(engine) == []


def make_fresh(engine: ClientEngine, layer: Descriptor) -> bool:
    """Remove what other tests left in the engine, so that every layer has to travel."""
    images = subprocess.run([engine.program, "images", "--quiet"], capture_output=True, text=True, check=True).stdout
    for identifier in set(images.split()):
        subprocess.run([engine.program, "image", "rm", "--force", identifier], capture_output=True, check=False)
    left = subprocess.run([engine.program, "images", "--quiet"], capture_output=True, text=True, check=True).stdout
    return not left.split()


def test_a_given_port(engine: ClientEngine, store: Store, make_image: MakeImage) -> None:
    from layerforge.engines.image import find_free_port

    port = find_free_port("127.0.0.1")
    with engine.start(store, make_image(), environment={}, port=port, reporter=SILENCE) as container:
        assert container.url == f"http://127.0.0.1:{port}"
        assert read(f"{container.url}/index.html") == b"upper"


def test_kills_what_does_not_stop(engine: ClientEngine, store: Store, make_image: MakeImage) -> None:
    command = ("sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done")
    container = engine.start(store, make_image(), environment={}, command=command, reporter=SILENCE)
    assert wait_for_log(container.logs) == "up\n"
    before = time.monotonic()
    container.stop(1)
    assert time.monotonic() - before < 8  # and not the engine's own ten seconds
    assert container.wait() == 137
    assert containers(engine) == []


def test_what_ends_at_once(engine: ClientEngine, store: Store, make_image: MakeImage) -> None:
    command = ("sh", "-c", "echo no; exit 7")
    try:
        with engine.start(store, make_image(), environment={}, command=command, reporter=SILENCE) as container:
            assert container.wait(10) == 7
        assert container.logs() == "no\n"
    except EngineError as error:  # it was over before its port could be asked for
        assert "no" in error.message
    assert containers(engine) == []


def test_an_unknown_command_is_an_error(engine: ClientEngine, store: Store, make_image: MakeImage) -> None:
    with pytest.raises(EngineError, match=engine.name):
        engine.start(store, make_image(), environment={}, command=["nothing"], reporter=SILENCE)
    assert containers(engine) == []


SCRIPT = """
import sys
from pathlib import Path
from layerforge.engines.choose import choose_engine
from layerforge.oci import Descriptor, MANIFEST, Digest
from layerforge.progress import SILENCE
from layerforge.store import Store
name, home, digest, size = sys.argv[1:]
image = Descriptor(MANIFEST, Digest(digest), int(size))
container = choose_engine(name).start(Store(Path(home)), image, environment={}, reporter=SILENCE)
print(container.url, flush=True)
sys.stdin.read()
"""


def test_the_next_run_removes_what_a_killed_one_left(engine: ClientEngine, store: Store, make_image: MakeImage) -> None:
    image = make_image()
    command = [sys.executable, "-c", SCRIPT, engine.name, str(store.root), image.digest, str(image.size)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("http")
        process.kill()
    orphan = containers(engine)
    assert len(orphan) == 1
    with engine.start(store, image, environment={}, reporter=SILENCE):
        now = containers(engine)
        assert len(now) == 1
        assert now != orphan
    assert containers(engine) == []


# -- without an engine ---------------------------------------------------------------------------------------


def test_a_daemon_that_does_not_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nothing.sock")
    reason = Docker().find_obstacle()
    assert reason == "not installed" or "daemon running" in reason or "connect" in reason.lower()


def test_a_client_that_cannot_be_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The first client on PATH need not be the one that works."""
    for name, script in (("broken", "exit 1"), ("shim", "echo 'podman version 4'"), ("good", "echo 1.0")):
        program = tmp_path / name / "docker"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join(str(tmp_path / name) for name in ("broken", "shim", "good", "broken")))
    assert find_programs("docker")[:3] == [str(tmp_path / name / "docker") for name in ("broken", "shim", "good")]
    docker = Docker()
    assert docker.find_obstacle() == ""
    assert docker.program == str(tmp_path / "good" / "docker")


def test_owners() -> None:
    mine = describe_process(os.getpid())
    assert not is_orphan(mine)
    ended = subprocess.Popen(["true"])
    ended.wait()
    boot, namespace, _, started = mine.split("/")
    assert is_orphan("/".join((boot, namespace, str(ended.pid), started)))
    assert is_orphan("/".join((boot, namespace, str(os.getpid()), "1")))  # another process with the same number
    assert not is_orphan("/".join(("another-boot", namespace, "1", "1")))
    assert not is_orphan("/".join((boot, "pid:[1]", "1", "1")))
    assert not is_orphan("")
