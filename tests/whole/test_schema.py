"""``layerforge schema``, and that label, file in the image and what the server answers are one document."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from layerforge.engines.image import read_image
from layerforge.oci import Descriptor
from layerforge.reference import parse_reference
from layerforge.store import Store
from tests.conftest import free_port
from tests.whole.conftest import LAYERFORGE, ROOT, Forge
from tests.whole.test_engines import wait_until_ready


def test_json_and_table(forge: Forge) -> None:
    folder = ROOT / "fixtures" / "thumbnail"
    document = json.loads(forge.ok("schema", folder, "--json"))
    assert document["openapi"] == "3.0.2"
    table = forge.ok("schema", folder)
    assert table.splitlines()[0].split() == ["INPUT", "TYPE", "DEFAULT", "ALLOWED", "DESCRIPTION"]
    assert "≤ 2048" in table


def test_a_model_that_cannot_be_built_here_has_a_schema(forge: Forge, tmp_path: Path) -> None:
    shutil.copy(ROOT / "fixtures/hello/run.py", tmp_path)
    (tmp_path / "cog.yaml").write_text("build:\n  gpu: true\n  python_version: '3.12'\nrun: run.py:Runner\n")
    assert "INPUT" in forge.ok("schema", tmp_path)


def test_faults_have_their_place_and_the_ways_out(forge: Forge, tmp_path: Path) -> None:
    (tmp_path / "cog.yaml").write_text("build:\n  python_version: '3.12'\nrun: run.py:Runner\n")
    (tmp_path / "run.py").write_text("import os\nclass Runner:\n    def run(self, a: int = os.getpid()) -> str: ...\n")
    result = forge("schema", tmp_path)
    assert result.status == 1
    assert result.stdout == ""
    assert "run.py:3: the value of `os.getpid()` cannot be known" in result.stderr
    for way in ("a literal", "run.pyi", "--openapi-schema FILE", "layerforge schema --execute"):
        assert way in result.stderr
    assert "Traceback" not in result.stderr


def test_a_given_document_is_shown(forge: Forge, tmp_path: Path) -> None:
    given = tmp_path / "given.json"
    given.write_text('{"openapi":"3.0.2"}')
    folder = ROOT / "fixtures" / "hello"
    assert forge.ok("schema", folder, "--json", environment={"COG_OPENAPI_SCHEMA": str(given)}) == given.read_text()


def _documents(store: Store, layer: Descriptor) -> list[str]:
    if layer.size > 1_000_000:
        return []  # not the layer of the code
    with tarfile.open(fileobj=io.BytesIO(store.read_blob(layer)), mode="r:*") as tar:
        files = [tar.extractfile(member) for member in tar if member.name == ".cog/openapi_schema.json"]
        return [file.read().decode() for file in files if file is not None]


@pytest.mark.sandbox
def test_one_document_everywhere(forge: Forge, locked: Callable[[str], Path]) -> None:
    folder = locked("thumbnail")
    document = forge.ok("schema", folder, "--json")
    forge.ok("build", folder, "--locked", "-t", "one-document")
    store = Store(forge.home)
    manifest = store.resolve_tag(str(parse_reference("one-document")))
    assert manifest is not None
    image = read_image(store, manifest)
    assert image.config.config.labels["run.cog.openapi_schema"] == document
    assert [document] == [text for layer in image.manifest.layers for text in _documents(store, layer)]
    store.close()
    port = free_port()
    command = [str(LAYERFORGE), "serve", str(folder), "--locked", "--engine", "sandbox", "--port", str(port)]
    environment = {**os.environ, "LAYERFORGE_HOME": str(forge.home)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(url)
        with urllib.request.urlopen(f"{url}/openapi.json", timeout=5) as response:
            assert response.read().decode() == document
        bound = json.loads(document)["components"]["schemas"]["Input"]["properties"]["size"]["maximum"]
        body = json.dumps({"input": {"image": "data:,x", "size": bound + 1}}).encode()
        request = urllib.request.Request(f"{url}/predictions", body, {"Content-Type": "application/json"})
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=5)
        assert caught.value.code == 422
        assert f"maximum of {bound}" in caught.value.read().decode()
    finally:
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=30)
        sys.stderr.write(output)


@pytest.mark.slow
@pytest.mark.sandbox
def test_importing_the_model_gives_the_same_document(forge: Forge, locked: Callable[[str], Path]) -> None:
    folder = locked("thumbnail")
    static = forge.ok("schema", folder, "--json")
    assert forge.ok("schema", folder, "--json", "--execute", "--engine", "sandbox") == static
    forge.ok("build", folder, "--locked", "-t", "built-before")
    shown = forge.ok("schema", folder, "--json", "--from-image", "built-before", "--engine", "sandbox")
    assert shown == static
    result = forge("schema", folder, "--from-image", "never-built", "--engine", "sandbox")
    assert result.status == 1
    assert "no image is called index.docker.io/library/never-built:latest" in result.stderr
