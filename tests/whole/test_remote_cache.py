"""A fresh machine, an image in the registry, one changed line: what travels."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.registry_servers import Proxy
from tests.whole.conftest import Forge
from tests.whole.test_rebase import read_manifest

pytestmark = [pytest.mark.network, pytest.mark.registry]

COUNTED = """
import http.client, os
put = http.client.HTTPConnection.putrequest
def counted(self, method, url, *arguments, **options):
    with open(os.environ["REQUESTS"], "a") as file:
        file.write(f"{method} {self.host} {url}\\n")
    return put(self, method, url, *arguments, **options)
http.client.HTTPConnection.putrequest = counted
from layerforge.cli import main
main()
"""
"""The command line, with a record of every HTTP request of the process."""


def test_a_code_change_on_a_fresh_machine(
    forge: Forge, locked: Callable[[str], Path], registry: str, tmp_path: Path
) -> None:
    model = tmp_path / "digits"
    shutil.copytree(locked("digits"), model)
    forge.ok("build", model, "--locked", "--push", "-t", f"{registry}/team/cached:v1")
    before = read_manifest(registry, "team/cached:v1")
    source = model / "run.py"
    source.write_text(source.read_text() + "\n# changed\n")
    with Proxy(registry) as proxy:
        name = f"{proxy.address}/team/cached:v1"
        command = [sys.executable, "-c", COUNTED, "build", str(model), "--locked", "--push", "-t", name]
        requests = tmp_path / "requests"
        environment = {**os.environ, "LAYERFORGE_HOME": str(tmp_path / "empty"), "REQUESTS": str(requests)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        asked = requests.read_text().splitlines()
        assert len(asked) <= 12, "\n".join(asked)
        after = read_manifest(registry, "team/cached:v1")
        new = [layer for layer in after["layers"] if layer not in before["layers"]]
        assert len(new) == 1, "only the code is another layer"
        manifest = sum(1 for request in proxy.requests if request.is_("PUT", "/manifests/"))
        uploads = sum(1 for request in proxy.requests if request.is_("PUT", "/uploads/"))
        assert (manifest, uploads) == (1, 2), "code and configuration"
        assert not any(request.is_("GET", "/blobs/") for request in proxy.requests), "no layer is downloaded"
    assert done.stdout.strip() == forge.ok("build", model, "--locked"), "the digest is that of a whole build"


def test_another_repository_is_mounted_from_when_the_lock_vouches_or_a_digest_is_named(
    forge: Forge, locked: Callable[[str], Path], registry: str, tmp_path: Path
) -> None:
    model = locked("hello")
    digest = forge.ok("build", model, "--locked", "--push", "-t", f"{registry}/team/first:v1")
    fresh = Forge(tmp_path / "empty")
    with Proxy(registry) as proxy:
        cache = f"{proxy.address}/team/first@{digest}"
        there = f"{proxy.address}/team/second:v1"
        result = fresh("build", model, "--locked", "--push", "-t", there, "--cache-from", cache)
        assert result.status == 0, result.stderr
        assert result.stdout.strip() == digest
        layers = read_manifest(registry, "team/second:v1")["layers"]
        mounted = sum(1 for request in proxy.requests if request.is_("POST", "mount="))
        assert mounted >= len(layers)
        assert proxy.received < 64 << 10, "nothing but manifest and configuration is sent"
