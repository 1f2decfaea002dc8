"""New weights for an image that is in a registry: what travels, and that it is what a build gives."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from layerforge.reference import Reference
from layerforge.registry import push_image
from layerforge.store import Store
from tests.made_images import make_image
from tests.registry_servers import Proxy
from tests.whole.conftest import Forge
from tests.whole.test_rebase import read_manifest

pytestmark = [pytest.mark.network, pytest.mark.registry]


def write_weights(folder: Path, **files: bytes) -> None:
    for name, data in files.items():
        path = folder / "weights" / f"{name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


@pytest.fixture
def model(locked: Callable[[str], Path], tmp_path: Path) -> Path:
    """A model with one large weight and one small one."""
    folder = tmp_path / "model"
    shutil.copytree(locked("hello"), folder)
    write_weights(folder, large=os.urandom(17 << 20), small=b"small")
    return folder


def test_only_the_new_weights_travel_and_the_image_is_that_of_a_build(
    forge: Forge, model: Path, registry: str, tmp_path: Path
) -> None:
    name = "team/weighed:v1"
    before = forge.ok("build", model, "--locked", "--push", "-t", f"{registry}/{name}")
    old = read_manifest(registry, name)
    elsewhere = tmp_path / "only-weights"
    write_weights(elsewhere, large=os.urandom(17 << 20), small=b"small")
    fresh = Forge(tmp_path / "empty")
    with Proxy(registry) as proxy:
        there = f"{proxy.address}/{name}"
        result = fresh("weights", "push", there, "--weights", elsewhere, "--json")
        assert result.status == 0, result.stderr
        report = json.loads(result.stdout)
        new = read_manifest(registry, name)
        changed = [layer for layer in new["layers"] if layer not in old["layers"]]
        assert len(changed) == 1
        assert proxy.received < (17 << 20) + (64 << 10), "one layer, configuration and manifest"
        assert len(proxy.requests) <= 10
    assert report["before"] == before
    assert report["changes"] == ["changed: weights/large.safetensors (17.8 MB)"]
    assert [layer["digest"] for layer in old["layers"] if layer not in new["layers"]] != []
    shutil.copytree(elsewhere / "weights", model / "weights", dirs_exist_ok=True)
    assert forge.ok("build", model, "--locked") == report["after"], "a build with these weights gives the same image"


def test_what_is_missing_is_an_error_unless_it_is_meant(
    forge: Forge, model: Path, registry: str, tmp_path: Path
) -> None:
    there = f"{registry}/team/pruned:v1"
    digest = forge.ok("build", model, "--locked", "--push", "-t", there)
    elsewhere = tmp_path / "some"
    write_weights(elsewhere, small=b"other")
    refused = forge("weights", "push", there, "--weights", elsewhere)
    assert refused.status == 1
    assert "lacks weights/large.safetensors" in refused.stderr
    assert json.loads(forge.ok("inspect", there, "--json"))["digest"] == digest
    done = json.loads(forge.ok("weights", "push", there, "--weights", elsewhere, "--prune", "--json"))
    assert done["changes"] == ["left out: weights/large.safetensors", "changed: weights/small.safetensors (5 B)"]
    (model / "weights" / "large.safetensors").unlink()
    (model / "weights" / "small.safetensors").write_bytes(b"other")
    assert forge.ok("build", model, "--locked") == done["after"]


def test_an_image_without_weights_gets_some_and_a_folder_without_any_is_an_error(
    forge: Forge, locked: Callable[[str], Path], registry: str, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(locked("hello"), model)
    there = f"{registry}/team/bare:v1"
    forge.ok("build", model, "--locked", "--push", "-t", there)
    empty = tmp_path / "nothing"
    empty.mkdir()
    assert "holds no weights" in forge("weights", "push", there, "--weights", empty).stderr
    write_weights(model, first=b"first")
    done = forge.ok("weights", "push", there, "--weights", model, "-t", f"{registry}/team/bare:v2")
    assert forge.ok("build", model, "--locked") == done


def test_images_of_others_are_left_alone(forge: Forge, registry: str, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    image = make_image(store, tmp_path / "made")
    push_image(store, image.manifest, Reference(registry, "team/others", "v1"))
    write_weights(tmp_path / "w", a=b"a")
    result = forge("weights", "push", f"{registry}/team/others:v1", "--weights", tmp_path / "w")
    assert result.status == 1
    assert "not an image that Layerforge built" in result.stderr
