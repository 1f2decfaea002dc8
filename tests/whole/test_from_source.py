"""Packages that nobody offers as wheels: folders of the project, git repositories, source archives of the index."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from layerforge.lock import Lock, LockedWheel
from layerforge.lockfile import decode_lock
from tests.conftest import require
from tests.whole.conftest import Forge

NAME = "pylock.layerforge.toml"

BACKEND = """
import base64, hashlib, json, os, socket, subprocess, zipfile

def build_wheel(out, settings=None, metadata=None, editable=False):
    with open("package.json") as file:
        package = json.load(file)
    if package.get("runs"):
        subprocess.run(package["runs"], check=True)
    if package.get("connects"):
        socket.create_connection(("127.0.0.1", package["connects"]), timeout=5)
    name = package["name"]
    info = f"{name}-1.0.dist-info"
    members = {f"{info}/METADATA": f"Metadata-Version: 2.1\\nName: {name}\\nVersion: 1.0\\n"}
    tag = package.get("tag", "py3-none-any")
    members[f"{info}/WHEEL"] = f"Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: {tag}\\n"
    if editable:
        members[f"{name}.pth"] = os.getcwd() + "\\n"
    else:
        members[f"{name}.py"] = "WHERE = 'wheel'\\n"
    lines = []
    for path, text in members.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
        lines.append(f"{path},sha256={digest},{len(text.encode())}\\n")
    members[f"{info}/RECORD"] = "".join(lines) + f"{info}/RECORD,,\\n"
    filename = f"{name}-1.0-{tag}.whl"
    with zipfile.ZipFile(os.path.join(out, filename), "w") as wheel:
        for path, text in members.items():
            wheel.writestr(path, text)
    return filename

def build_editable(out, settings=None, metadata=None):
    return build_wheel(out, settings, metadata, editable=True)
"""
RUN = """
import {imports}
from cog import BaseRunner

class Runner(BaseRunner):
    def run(self) -> str:
        return " ".join([{values}])
"""


def write_package(folder: Path, name: str, more: str = "") -> Path:
    """A package with a backend of its own, which needs nothing from an index."""
    folder.mkdir(parents=True)
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "own"\nbackend-path = ["backend"]\n'
    )
    (folder / "backend").mkdir()
    (folder / "backend/own.py").write_text(BACKEND)
    (folder / "package.json").write_text(f'{{"name": "{name}"{more}}}')
    (folder / f"{name}.py").write_text("WHERE = __file__\n")
    return folder


def write_model(folder: Path, requirements: str, *modules: str, more: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    values = ", ".join(f"str(getattr({name}, 'WHERE', {name}.__name__))" for name in modules)
    (folder / "run.py").write_text(RUN.format(imports=", ".join(modules) or "sys", values=values))
    (folder / "requirements.txt").write_text(requirements)
    (folder / "cog.yaml").write_text(
        f'build:\n  python_version: "3.13"\n  python_requirements: requirements.txt\n{more}run: run.py:Runner\n'
    )
    return folder


def read_wheels(folder: Path) -> dict[str, LockedWheel]:
    lock: Lock = decode_lock((folder / NAME).read_bytes(), NAME)
    return {wheel.name: wheel for section in lock.platforms for wheel in section.packages}


def forget(forge: Forge, *wheels: LockedWheel) -> None:
    """Take what was built out of the store."""
    shutil.rmtree(forge.home / "notes/built", ignore_errors=True)
    for wheel in wheels:
        (forge.home / "materials/sha256" / wheel.digest.hex).unlink()


@pytest.mark.sandbox
def test_folders_and_repositories(forge: Forge, tmp_path: Path) -> None:
    require(shutil.which("git"), "git is not installed")
    folder = write_model(tmp_path / "model", "./lib/plain\n-e ./lib/edited\n", "plain", "edited", "remote")
    write_package(folder / "lib/plain", "plain")
    write_package(folder / "lib/edited", "edited")
    repository = write_package(tmp_path / "repository/python/remote", "remote").parent.parent
    git = ["git", "-C", str(repository), "-c", "user.name=T", "-c", "user.email=t@e.org"]
    for words in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "one"]):
        subprocess.run([*git, *words], check=True)
    url = "https://git.example.org/remote.git"
    (tmp_path / "gitconfig").write_text(f'[url "file://{repository}"]\n\tinsteadOf = {url}\n')
    with (folder / "requirements.txt").open("a") as file:
        file.write(f"remote @ git+{url}@main#subdirectory=python/remote\n")
    environment = {"GIT_CONFIG_GLOBAL": str(tmp_path / "gitconfig")}
    forge.ok("lock", folder, environment=environment)
    wheels = read_wheels(folder)
    commit = subprocess.run([*git, "rev-parse", "main"], capture_output=True, text=True, check=True).stdout.strip()
    source = wheels["remote"].source
    assert source is not None
    assert (source.url, source.reference, source.commit, source.subdirectory) == (url, "main", commit, "python/remote")
    output = forge.ok("run", folder, "--engine", "sandbox", environment=environment)
    assert output == "wheel /src/lib/edited/edited.py wheel"

    # The store loses them: each is built again, and is the same file.
    forget(forge, *wheels.values())
    forge.ok("fetch", folder, environment=environment)

    # A branch that moves does not move the lock; another file of a folder makes it stale, an editable's code does not.
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "two"], check=True)
    (folder / "lib/edited/edited.py").write_text("WHERE = 'edited'\n")
    forge.ok("lock", "--check", folder, environment=environment)
    (folder / "lib/plain/plain.py").write_text("WHERE = 'changed'\n")
    assert "lib/plain" in forge("lock", "--check", folder, environment=environment).stderr
    forge.ok("lock", folder, environment=environment)
    assert read_wheels(folder)["remote"] == wheels["remote"]


@pytest.mark.sandbox
def test_what_a_build_may_not_and_what_it_lacks(forge: Forge, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "compiled", "./lib")
    write_package(folder / "lib", "compiled", ', "runs": ["gcc", "--version"]')
    result = forge("lock", folder)
    assert result.status == 1
    assert "requirements.txt:1: " in result.stderr
    assert "add to build.system_packages: build-essential, python3-dev" in result.stderr
    assert not (folder / NAME).exists()

    command = ["python3", "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        try:
            assert server.stdout is not None
            port = server.stdout.readline().split(b"port ")[1].split()[0].decode()
            folder = write_model(tmp_path / "connected", "./lib")
            write_package(folder / "lib", "connected", f', "connects": {port}')
            assert "cannot be built from source" in forge("lock", folder).stderr
            write_model(folder, "./lib", more="layerforge:\n  build_network: true\n")
            forge.ok("lock", folder)
        finally:
            server.terminate()


@pytest.mark.slow
@pytest.mark.sandbox
def test_a_package_for_this_machine_only_is_refused_for_another(forge: Forge, tmp_path: Path) -> None:
    machine = {"x86_64": "aarch64", "aarch64": "x86_64"}[os.uname().machine]
    other = {"x86_64": "linux/amd64", "aarch64": "linux/arm64"}[machine]
    folder = write_model(tmp_path / "pure", "./lib")
    write_package(folder / "lib", "pure")
    forge.ok("lock", folder, "--platform", other)  # a wheel for any machine may be built on any
    folder = write_model(tmp_path / "native", "./lib")
    write_package(folder / "lib", "native", f', "tag": "cp313-cp313-linux_{os.uname().machine}"')
    result = forge("lock", folder, "--platform", other)
    assert result.status == 1
    assert f"has no wheel for {other}, and building it on" in result.stderr


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.sandbox
def test_real_source_archives(forge: Forge, tmp_path: Path) -> None:
    """docopt has no wheel at all; pyahocorasick is an extension in C."""
    folder = write_model(
        tmp_path / "real",
        "docopt==0.6.2\npyahocorasick==2.1.0 --no-binary pyahocorasick\n",
        "docopt",
        "ahocorasick",
    )
    text = (folder / "cog.yaml").read_text()
    packages = "  system_packages: [build-essential, python3-dev]\n"
    (folder / "cog.yaml").write_text(text.replace("run: run", packages + "run: run"))
    forge.ok("lock", folder, timeout=900)
    wheels = read_wheels(folder)
    assert [wheels[name].source.kind for name in ("docopt", "pyahocorasick")] == ["sdist"] * 2  # type: ignore[union-attr]
    assert forge.ok("run", folder, "--engine", "sandbox", timeout=900) == "docopt ahocorasick"
    forget(forge, *wheels.values())
    forge.ok("fetch", folder, timeout=900)  # fails if a wheel is another file than the lock's
