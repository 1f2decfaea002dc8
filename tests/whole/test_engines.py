"""Every fixture, pushed to a real registry, run by a real engine and by the sandbox, and asked for predictions."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.conftest import docker_client, free_port, require
from tests.whole.conftest import LAYERFORGE, ROOT, Forge

pytestmark = [pytest.mark.network]

FIXTURES = ["hello", "digits", "thumbnail", "stream"]
SAMPLES = sorted((ROOT / "fixtures" / "digits" / "samples").glob("*.png"))


def post(url: str, inputs: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    body = json.dumps({"input": inputs}).encode()
    request = urllib.request.Request(f"{url}/predictions", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def data_url(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def wait_until_ready(url: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    health: object = None
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/health-check", timeout=2) as response:
                health = json.load(response)["status"]
                if health == "READY":
                    return
        except OSError:
            pass
        time.sleep(0.05)
    pytest.fail(f"not ready: {health}")


def check(name: str, url: str) -> None:
    """Ask the model of fixture ``name`` what it is for, and look at the answers."""
    if name == "hello":
        status, answer = post(url, {"name": "Ada"})
        assert (status, answer["status"]) == (200, "succeeded"), answer
        assert "Ada" in answer["output"]
        assert answer["metrics"]["predict_time"] >= 0
        status, answer = post(url, {"name": 7})
        assert status == 422
        assert answer["detail"][0]["loc"][-1] == "name"
    elif name == "digits":
        assert SAMPLES
        for sample in SAMPLES:
            status, answer = post(url, {"image": data_url(sample)})
            assert status == 200, answer
            expected = re.search(r"\d", sample.stem)
            assert expected is not None
            output = answer["output"]
            assert output["digit"] == int(expected.group()), sample.name
            assert abs(sum(probabilities(output)) - 1) < 1e-3
    elif name == "thumbnail":
        status, answer = post(url, {"image": data_url(SAMPLES[0])})
        assert status == 200, answer
        header, _, payload = answer["output"].partition(",")
        assert header.startswith("data:image/")
        with Image.open(io.BytesIO(base64.b64decode(payload))) as picture:
            picture.load()
    elif name == "stream":
        status, answer = post(url, {})
        assert status == 200, answer
        assert isinstance(answer["output"], list)
        assert len(answer["output"]) > 1


def probabilities(output: dict[str, Any]) -> list[float]:
    values = output["probabilities"]
    return list(values.values()) if isinstance(values, dict) else list(values)


@contextmanager
def docker_container(client: list[str], reference: str) -> Iterator[str]:
    port = free_port()
    run = [*client, "run", "-d", "-p", f"127.0.0.1:{port}:5000", reference]
    container = subprocess.run(run, check=True, capture_output=True, text=True).stdout.strip()
    try:
        wait_until_ready(f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"
        before = time.monotonic()
        subprocess.run([*client, "stop", "-t", "10", container], check=True, capture_output=True)
        assert time.monotonic() - before < 9, "SIGTERM did not end the server"
        shown = subprocess.run(
            [*client, "inspect", "-f", "{{.State.ExitCode}}", container], check=True, capture_output=True, text=True
        )
        assert shown.stdout.strip() == "0"
    finally:
        logs = subprocess.run([*client, "logs", container], capture_output=True, text=True)
        sys.stderr.write(logs.stdout + logs.stderr)
        subprocess.run([*client, "rm", "-f", container], check=False, capture_output=True)


@pytest.mark.engine
@pytest.mark.registry
@pytest.mark.parametrize("name", FIXTURES)
def test_docker_pulls_and_runs_every_fixture(
    name: str, forge: Forge, locked: Callable[[str], Path], registry: str, docker: str
) -> None:
    reference = f"{registry}/whole/{name}:v1"
    digest = forge.ok("build", locked(name), "--locked", "--push", "-t", reference)
    client = [str(docker_client()), "--host", docker]
    subprocess.run([*client, "pull", "-q", reference], check=True, capture_output=True)
    shown = subprocess.run(
        [*client, "inspect", "-f", "{{index .RepoDigests 0}} {{json .Config.Labels}}", reference],
        check=True,
        capture_output=True,
        text=True,
    )
    pulled, _, labels = shown.stdout.partition(" ")
    assert pulled.endswith(digest)
    document = json.loads(json.loads(labels)["run.cog.openapi_schema"])
    assert document["components"]["schemas"]["Input"]
    with docker_container(client, reference) as url:
        with urllib.request.urlopen(f"{url}/openapi.json", timeout=5) as response:
            assert json.load(response) == document
        check(name, url)


@pytest.mark.sandbox
@pytest.mark.parametrize("name", FIXTURES)
def test_the_sandbox_serves_every_fixture(name: str, forge: Forge, locked: Callable[[str], Path]) -> None:
    port = free_port()
    command = [str(LAYERFORGE), "serve", str(locked(name)), "--locked", "--engine", "sandbox", "--port", str(port)]
    environment = {**os.environ, "LAYERFORGE_HOME": str(forge.home)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        wait_until_ready(f"http://127.0.0.1:{port}")
        check(name, f"http://127.0.0.1:{port}")
    finally:
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=30)
        sys.stderr.write(output)
    assert str(forge.home) not in Path("/proc/mounts").read_text()


@pytest.mark.sandbox
def test_run_prints_and_writes(forge: Forge, locked: Callable[[str], Path], tmp_path: Path) -> None:
    hello = forge.ok("run", locked("hello"), "--engine", "sandbox", "-i", "name=Ada")
    assert "Ada" in hello
    out = tmp_path / "small.png"
    forge.ok("run", locked("thumbnail"), "--engine", "sandbox", "-i", f"image=@{SAMPLES[0]}", "-o", out)
    with Image.open(out) as picture:
        picture.load()
    answer = json.loads(forge.ok("run", locked("digits"), "--engine", "sandbox", "-i", f"image=@{SAMPLES[0]}"))
    assert answer["digit"] == int(re.search(r"\d", SAMPLES[0].stem).group())  # type: ignore[union-attr]
    result = forge("run", locked("hello"), "--engine", "sandbox", "-i", "nane=Ada")
    assert result.status == 1
    assert "name" in result.stderr


@pytest.mark.engine
def test_run_in_docker(forge: Forge, locked: Callable[[str], Path], docker: str) -> None:
    assert "Ada" in forge.ok("run", locked("hello"), "--engine", "docker", "-i", "name=Ada")


@pytest.mark.registry
@pytest.mark.parametrize("name", ["digits", "thumbnail"])
def test_other_tools_accept_the_images(
    name: str, forge: Forge, locked: Callable[[str], Path], registry: str, tmp_path: Path
) -> None:
    for tool in ("skopeo", "umoci"):
        require(shutil.which(tool), f"{tool} is not installed")
    reference = f"{registry}/tools/{name}:v1"
    layout, archive = tmp_path / "layout", tmp_path / "image.tar"
    outputs = ("--output", f"dir:{layout}", "--output", f"tar:{archive}")
    digest = forge.ok("build", locked(name), "--locked", "--push", "-t", reference, *outputs)
    for place in (f"docker://{reference}", f"oci:{layout}", f"oci-archive:{archive}"):
        shown = subprocess.run(
            ["skopeo", "inspect", "--tls-verify=false", place], check=True, capture_output=True, text=True
        )
        assert json.loads(shown.stdout)["Digest"] == digest
    (manifest,) = json.loads((layout / "index.json").read_text())["manifests"]
    ref = manifest["annotations"]["org.opencontainers.image.ref.name"]
    rootless = ["--rootless"] if os.geteuid() else []
    unpack = ["umoci", "unpack", *rootless, "--image", f"{layout}:{ref}", str(tmp_path / "bundle")]
    subprocess.run(unpack, check=True, capture_output=True)
    assert (tmp_path / "bundle" / "rootfs" / "src" / "run.py").is_file()
