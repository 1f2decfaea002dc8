"""Fixtures shared by all tests: a fresh store, and real components started on free ports and stopped again.

A component that cannot be had makes a test skip with its reason, or fail where ``LAYERFORGE_REQUIRE_ALL=1``.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from layerforge.store import Store

REQUIRE_ALL = os.environ.get("LAYERFORGE_REQUIRE_ALL") == "1"


def require(condition: object, reason: str) -> None:
    """Skip the test unless ``condition``; fail it instead where every component must be there."""
    if condition:
        return
    if REQUIRE_ALL:
        pytest.fail(f"LAYERFORGE_REQUIRE_ALL=1, but {reason}")
    pytest.skip(reason)


@pytest.fixture(name="require")
def require_fixture() -> Callable[[object, str], None]:
    """:func:`require`, for tests that find out late."""
    return require


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test touches the user's own store or Docker configuration, or takes its settings from them."""
    for variable in ("LAYERFORGE_HOME", "COG_CACHE_DIR", "DOCKER_CONFIG", "SOURCE_DATE_EPOCH", "LAYERFORGE_ENGINE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path_factory.getbasetemp() / "docker-config"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A fresh, empty store."""
    fresh = Store(tmp_path / "store")
    yield fresh
    fresh.close()


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path, seconds: float = 20) -> None:
    """Wait until ``url`` answers with 200; fail with the log when ``process`` ends or time runs out."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            time.sleep(0.05)
    pytest.fail(f"{url} does not answer:\n{log.read_text()[-2000:]}")


def stop(process: subprocess.Popen[bytes], grace: float = 20) -> None:
    """End a process that a fixture started."""
    process.terminate()
    try:
        process.wait(grace)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``host:port`` of a real, empty docker-registry that lives as long as the test session."""
    program = shutil.which("docker-registry")
    require(program, "docker-registry is not installed")
    folder = tmp_path_factory.mktemp("registry")
    address = f"127.0.0.1:{free_port()}"
    configuration = folder / "config.yml"
    configuration.write_text(
        f"version: 0.1\nlog: {{level: warn}}\nstorage:\n  filesystem: {{rootdirectory: {folder}/data}}\n"
        f"  delete: {{enabled: true}}\nhttp: {{addr: '{address}'}}\n"
    )
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen([str(program), "serve", str(configuration)], stdout=output, stderr=output)
    try:
        wait_for(f"http://{address}/v2/", process, log)
        yield address
    finally:
        stop(process)


def docker_client() -> str | None:
    """A Docker client that knows BuildKit: Debian's own before any other on PATH."""
    candidates = ("/usr/bin/docker", shutil.which("docker"))
    return next((path for path in candidates if path and Path(path).exists()), None)


@pytest.fixture(scope="session")
def docker_host() -> Iterator[str]:
    """The address (``unix://…``) of a real Docker Engine with data folders of its own."""
    dockerd = shutil.which("dockerd") or shutil.which("dockerd", path="/usr/sbin:/sbin")
    require(dockerd, "dockerd is not installed")
    require(os.geteuid() == 0, "a Docker Engine can only be started by root")
    require(docker_client(), "no docker client is installed")
    folder = Path(tempfile.mkdtemp(prefix="lf-dockerd-"))  # short: a socket's path has at most 107 bytes
    address = f"unix://{folder}/docker.sock"
    log = folder / "log"
    command = [str(dockerd), "--host", address, "--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec"]
    command += ["--pidfile", f"{folder}/pid", "--config-file", f"{folder}/daemon.json", "--bip", "172.30.213.1/24"]
    (folder / "daemon.json").write_text("{}")
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + 60
        while subprocess.run([str(docker_client()), "--host", address, "info"], capture_output=True).returncode:
            if process.poll() is not None or time.monotonic() > deadline:
                require(False, f"dockerd does not start: {log.read_text()[-1500:]}")
            time.sleep(0.2)
        yield address
    finally:
        stop(process)
        subprocess.run(["sh", "-c", f"umount -R {folder}/data/overlay2/*/merged 2>/dev/null"], check=False)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def docker(docker_host: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A real Docker Engine, with ``DOCKER_HOST`` set to it; the value is that address."""
    monkeypatch.setenv("DOCKER_HOST", docker_host)
    return docker_host
