"""A CI job as it is: no root, no capabilities, no engine, a read-only project, in a container."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import docker_client
from tests.whole.conftest import LAYERFORGE, ROOT, Forge

pytestmark = [pytest.mark.network, pytest.mark.registry, pytest.mark.engine]

USER = 12345
READ_ONLY = ("/usr", "/lib", "/lib64", "/bin", "/etc")


def test_build_and_push_without_any_privilege(
    docker: str, forge: Forge, locked: Callable[[str], Path], registry: str, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(locked("hello"), model)
    model.chmod(0o777)  # that it is mounted read-only is what must keep it as it is
    expected = forge.ok("build", model, "--locked")
    home = tmp_path / "home"
    (home / "materials").mkdir(parents=True)
    shutil.copytree(forge.home / "materials", home / "materials", dirs_exist_ok=True)  # so that it takes less time
    for path in (home, *home.rglob("*")):
        os.chown(path, USER, USER)
    client = [str(docker_client()), "--host", docker]
    empty = tmp_path / "empty.tar"
    subprocess.run(["tar", "-cf", str(empty), "--files-from=/dev/null"], check=True)
    subprocess.run([*client, "import", str(empty), "layerforge-test/empty"], check=True, capture_output=True)

    mounts = [path for path in READ_ONLY if Path(path).exists() and not Path(path).is_symlink()]
    links = [path for path in READ_ONLY if Path(path).is_symlink()]  # /bin and the like, on a merged-usr machine
    mounts += [*links, sys.prefix, sys.base_prefix, str(ROOT)]
    run = [*client, "run", "--rm", "--network=host", "--read-only", "--tmpfs=/tmp:mode=1777", "--cap-drop=ALL"]
    run += [
        f"--user={USER}:{USER}",
        "--security-opt=no-new-privileges",
        f"--volume={home}:/home:rw",
        f"--volume={model}:/model:ro",
    ]
    run += [item for path in dict.fromkeys(mounts) for item in ("--volume", f"{os.path.realpath(path)}:{path}:ro")]
    run += ["--env=HOME=/home", "--env=LAYERFORGE_HOME=/home", f"--env=PYTHONPATH={ROOT}", "--workdir=/model"]
    passed = [name for name in os.environ if name.lower().endswith("_proxy") or name.startswith("SSL_CERT_")]
    run += [f"--env={name}" for name in passed]
    inside = [str(LAYERFORGE), "build", "--locked", "--push", "-t", f"{registry}/team/ci:v1"]

    def call(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*run, "layerforge-test/empty", *command], capture_output=True, text=True)

    told = call("/bin/sh", "-c", "id -u; grep CapEff /proc/self/status; touch new; ls /var/run/docker.sock")
    assert str(USER) in told.stdout
    assert "CapEff:\t0000000000000000" in told.stdout
    assert "Read-only file system" in told.stderr
    assert "docker.sock" in told.stderr
    done = call(*inside)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == expected, "the same bytes as a build with all privileges"
    again = call(*inside)
    assert (again.returncode, again.stdout.strip()) == (0, expected), again.stderr
