"""The commands that look at images, move them and remove them, on real registries, layouts and the store."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from layerforge.adopt import adopt_image
from layerforge.cli import cli
from layerforge.cli.gc import parse_size
from layerforge.collect import collect
from layerforge.errors import LayerforgeError
from layerforge.image import Image
from layerforge.progress import SILENCE
from layerforge.reference import Reference
from layerforge.registry import push_image
from layerforge.sinks.layout import LayoutSink
from layerforge.store import Store
from layerforge.validate import validate_image
from tests.made_images import CONTAINER, base_layer, code_layer, make_image, put_image
from tests.registry_servers import PASSWORD, USER, Proxy, serve_registry_with_password, serve_registry_with_tokens
from tests.test_registry import Remote, tag_of


@pytest.fixture
def image(store: Store, tmp_path: Path) -> Image:
    return make_image(store, tmp_path / "model")


@pytest.fixture
def reference(registry: str, request: pytest.FixtureRequest) -> Reference:
    name = request.node.name.replace("_", "-").partition("[")[0]
    return Reference(registry, f"tools/{name}", "v1")


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Result]]:
    """Calls a command on a store of its own, as on another machine."""
    monkeypatch.setenv("LAYERFORGE_HOME", str(tmp_path / "another"))

    def call(*arguments: object, **options: object) -> Result:
        return CliRunner().invoke(cli, [str(argument) for argument in arguments], **options)  # type: ignore[arg-type]

    yield call


def ok(result: Result) -> str:
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout.rstrip("\n")


def without(image: Image, store: Store, **changes: object) -> Image:
    """An image with other settings and another code layer."""
    container = msgspec.structs.replace(CONTAINER, **changes)  # type: ignore[arg-type]
    return put_image(store, {"base": base_layer(store), "code": code_layer(store, "changed")}, container)


# -- inspect ---------------------------------------------------------------------------------------------------


@pytest.mark.registry
def test_inspect_reads_no_layer(store: Store, image: Image, reference: Reference, call: Callable[..., Result]) -> None:
    push_image(store, image.manifest, reference)
    with Proxy(reference.registry) as proxy:
        there = f"{proxy.address}/{reference.repository}:v1"
        text = ok(call("inspect", there))
        document = json.loads(ok(call("inspect", there, "--json")))
        read = [request.path for request in proxy.requests if request.is_("GET", "/blobs/")]
        assert len(set(read)) == 1, "the configuration only"
    assert document["digest"] == image.manifest.digest
    (summary,) = document["images"]
    assert [layer["digest"] for layer in summary["layers"]] == [layer.digest for layer in image.layers]
    assert summary["size"] == sum(layer.size for layer in image.layers)
    assert summary["environment"]["LANG"] == "C.UTF-8"
    for layer in summary["layers"]:
        assert layer["name"] in text
        assert layer["digest"][7:19] in text


def test_inspect_a_layout_and_the_store(
    store: Store, image: Image, tmp_path: Path, call: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    LayoutSink(tmp_path / "layout").deliver(store, image.manifest, "model:v1")
    for name in (tmp_path / "layout", f"dir:{tmp_path / 'layout'}", f"dir:{tmp_path / 'layout'}:v1"):
        assert json.loads(ok(call("inspect", name, "--json")))["digest"] == image.manifest.digest
    store.tag("index.docker.io/library/model:latest", image.manifest)
    monkeypatch.setenv("LAYERFORGE_HOME", str(store.root))
    assert json.loads(ok(call("inspect", "model", "--json")))["digest"] == image.manifest.digest
    assert json.loads(ok(call("inspect", "store:model", "--json")))["digest"] == image.manifest.digest


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("store:nothing", "the store has no image of this name"),
        ("UPPER", "upper-case letters"),
        ("dir:/nowhere", "is not an image layout"),
    ],
)
def test_images_that_are_not_there(name: str, message: str, call: Callable[..., Result]) -> None:
    result = call("inspect", name)
    assert isinstance(result.exception, LayerforgeError)
    assert message in str(result.exception)


def test_a_layout_with_several_images_wants_a_tag(store: Store, image: Image, tmp_path: Path) -> None:
    sink = LayoutSink(tmp_path / "layout")
    sink.deliver(store, image.manifest, "model:v1")
    sink.deliver(store, without(image, store).manifest, "model:v2")
    with pytest.raises(LayerforgeError, match="holds v1, v2"):
        adopt_image(f"dir:{tmp_path / 'layout'}", store, SILENCE)
    assert adopt_image(f"dir:{tmp_path / 'layout'}:v1", store, SILENCE).descriptor == image.manifest


def test_a_damaged_layout_is_not_believed(store: Store, image: Image, tmp_path: Path) -> None:
    LayoutSink(tmp_path / "layout").deliver(store, image.manifest, "model:v1")
    path = tmp_path / "layout" / "blobs" / "sha256" / image.manifest.digest.hex
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data.replace(b'"schemaVersion":2', b'"schemaVersion":3'))
    fresh = Store(tmp_path / "fresh")
    with pytest.raises(LayerforgeError, match="not that of its name"):
        adopt_image(f"dir:{tmp_path / 'layout'}", fresh, SILENCE)


# -- diff ------------------------------------------------------------------------------------------------------


@pytest.mark.registry
def test_diff_reads_only_what_differs(store: Store, reference: Reference, call: Callable[..., Result]) -> None:
    layers = {"base": base_layer(store), "code": code_layer(store, "one")}
    labels = {"run.cog.pip_freeze": "numpy==1.0\nold==1"}
    old = put_image(store, layers, msgspec.structs.replace(CONTAINER, labels=labels))
    labels = {"run.cog.pip_freeze": "numpy==2.0\nnew==1"}
    changed = {**layers, "code": code_layer(store, "other")}
    new = put_image(store, changed, msgspec.structs.replace(CONTAINER, labels=labels, env=("PATH=/usr/bin", "A=1")))
    push_image(store, old.manifest, reference)
    push_image(store, new.manifest, msgspec.structs.replace(reference, tag="v2"))
    with Proxy(reference.registry) as proxy:
        there = f"{proxy.address}/{reference.repository}"
        result = call("diff", f"{there}:v1", f"{there}:v2")
        assert result.exit_code == 1
        for line in ("~ numpy  1.0 → 2.0", "+ new  1", "- old  1", "+ A  1", "src/hello.txt", "~ PATH"):
            assert line in result.stdout, result.stdout
        read = {request.path.rpartition("/")[2] for request in proxy.requests if request.is_("GET", "/blobs/")}
        assert layers["base"].descriptor.digest not in read
        changes = json.loads(call("diff", f"{there}:v1", f"{there}:v2", "--json").stdout)
        assert {"kind": "python", "name": "numpy", "before": "1.0", "after": "2.0"} in changes
        assert {change["name"] for change in changes if change["kind"] == "file"} == {"src/hello.txt"}
        same = call("diff", f"{there}:v1", f"{there}:v1")
        assert (same.exit_code, same.stdout) == (0, "")


# -- copy, tag, delete -----------------------------------------------------------------------------------------


@pytest.mark.registry
def test_copy_from_registry_to_registry_and_folder(
    store: Store, image: Image, reference: Reference, call: Callable[..., Result], tmp_path: Path
) -> None:
    push_image(store, image.manifest, reference)
    with serve_registry_with_password(tmp_path / "other") as other, pytest.MonkeyPatch.context() as patch:
        config = tmp_path / "docker"
        config.mkdir()
        patch.setenv("DOCKER_CONFIG", str(config))
        ok(call("login", other, "-u", USER, "--password-stdin", input=PASSWORD))
        assert ok(call("copy", reference, f"{other}/copied:v3")) == image.manifest.digest
        copied = Reference(other, "copied", "v3")
        validate_image(Remote(copied), image.manifest)
    assert ok(call("copy", reference, f"dir:{tmp_path / 'layout'}")) == image.manifest.digest
    assert ok(call("copy", tmp_path / "layout", f"{reference.registry}/tools/back:v1")) == image.manifest.digest
    validate_image(Remote(Reference(reference.registry, "tools/back", "v1")), image.manifest)


@pytest.mark.registry
def test_tag_and_delete(store: Store, image: Image, reference: Reference, call: Callable[..., Result]) -> None:
    push_image(store, image.manifest, reference)
    ok(call("tag", reference, "v2", "v3"))
    for tag in ("v2", "v3"):
        assert tag_of(msgspec.structs.replace(reference, tag=tag)) == image.manifest.digest
    other = call("tag", reference, f"{reference.registry}/tools/elsewhere:v1")
    assert "is another repository" in str(other.exception)
    by_tag = call("delete", "-y", reference)
    if by_tag.exception:
        assert "by its digest" in by_tag.exception.hint  # type: ignore[attr-defined]
    ok(call("delete", "-y", f"{reference.registry}/{reference.repository}@{image.manifest.digest}"))
    assert tag_of(msgspec.structs.replace(reference, tag="v2")) is None
    gone = call("delete", "-y", f"{reference.registry}/{reference.repository}@{image.manifest.digest}")
    assert "404" in str(gone.exception)


def test_nothing_is_deleted_unasked(call: Callable[..., Result]) -> None:
    result = call("delete", "store:model", input="n\n")
    assert result.exit_code != 0


def test_tags_of_the_store(
    store: Store, image: Image, call: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAYERFORGE_HOME", str(store.root))
    store.tag("index.docker.io/library/model:latest", image.manifest)
    ok(call("tag", "store:model", "model:old"))
    assert set(store.tags()) == {"index.docker.io/library/model:latest", "index.docker.io/library/model:old"}
    ok(call("delete", "-y", "store:model"))
    assert set(store.tags()) == {"index.docker.io/library/model:old"}
    assert "no image of this name" in str(call("delete", "-y", "store:model").exception)


# -- login -----------------------------------------------------------------------------------------------------

HELPER = """#!{python}
import json, os, pathlib, sys
kept = pathlib.Path({folder!r}) / "kept.json"
entries = json.loads(kept.read_text()) if kept.exists() else {{}}
data = sys.stdin.read()
if sys.argv[1] == "store":
    entry = json.loads(data)
    entries[entry["ServerURL"]] = entry
elif sys.argv[1] == "get":
    if data not in entries:
        print("credentials not found in native keychain")
        sys.exit(1)
    print(json.dumps(entries[data]))
elif sys.argv[1] == "erase":
    entries.pop(data, None)
kept.write_text(json.dumps(entries))
"""


@pytest.fixture
def docker_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "docker"
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))
    return folder / "config.json"


@pytest.mark.registry
@pytest.mark.parametrize("kind", ["password", "token"])
@pytest.mark.parametrize("helper", [False, True])
def test_login_and_logout(
    kind: str,
    helper: bool,
    store: Store,
    image: Image,
    docker_config: Path,
    tmp_path: Path,
    call: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if helper:
        program = tmp_path / "bin" / "docker-credential-test"
        program.parent.mkdir()
        program.write_text(HELPER.format(python=sys.executable, folder=str(tmp_path)))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
        docker_config.parent.mkdir()
        docker_config.write_text('{"credsStore": "test", "other": 1}')
    with (
        serve_registry_with_password(tmp_path / "r")
        if kind == "password"
        else serve_registry_with_tokens(tmp_path / "r")
    ) as server:
        address = server if isinstance(server, str) else server[0]
        there = Reference(address, "model", "v1")
        wrong = call("login", address, "-u", USER, "--password-stdin", input="wrong")
        assert isinstance(wrong.exception, LayerforgeError)
        assert "wrong" not in str(wrong.exception)
        assert helper or not docker_config.exists(), "what is refused is not kept"
        ok(call("login", address, "-u", USER, "--password-stdin", input=PASSWORD + "\n"))
        push_image(store, image.manifest, there)
        assert PASSWORD not in docker_config.read_text()
        if helper:
            assert json.loads(docker_config.read_text())["other"] == 1
            assert json.loads((tmp_path / "kept.json").read_text())[address]["Secret"] == PASSWORD
        else:
            assert stat.S_IMODE(docker_config.stat().st_mode) == 0o600
        ok(call("logout", address))
        with pytest.raises(LayerforgeError, match=r"401|denied|authentication"):
            push_image(store, image.manifest, msgspec.structs.replace(there, tag="v2"))
        assert "not logged in" in call("logout", "elsewhere.example").stderr or helper


def test_a_damaged_configuration_is_left_alone(docker_config: Path, call: Callable[..., Result]) -> None:
    docker_config.parent.mkdir()
    docker_config.write_text("{")
    result = call("logout", "r.example")
    assert "cannot be read" in str(result.exception)
    assert docker_config.read_text() == "{"


# -- gc --------------------------------------------------------------------------------------------------------


def age(path: Path, hours: float) -> None:
    then = time.time() - hours * 3600
    os.utime(path, (then, then))


def test_what_was_used_longest_ago_goes_first_and_tagged_images_stay(store: Store, image: Image) -> None:
    store.tag("index.docker.io/library/model:latest", image.manifest)
    loose = [store.put_bytes(os.urandom(1000), "application/octet-stream") for _ in range(4)]
    for path in (store.root / "blobs/sha256").iterdir():
        age(path, 100)
    for hours, blob in zip((50, 40, 30, 1), loose, strict=True):
        age(store.blob_path(blob.digest), hours)
    total = sum(path.stat().st_size for path in (store.root / "blobs/sha256").iterdir())
    dry = collect(store, total - 1500, SILENCE, dry_run=True)
    assert (dry.count, dry.removed, dry.kept) == (2, 2000, total - 2000)
    assert collect(store, total - 1500, SILENCE) == dry
    assert [store.has_blob(blob) for blob in loose] == [False, False, True, True]
    rest = collect(store, 0, SILENCE)
    assert rest.count == 1, "the fourth was used an hour ago"
    validate_image(store, image.manifest)


def test_a_layer_that_is_asked_for_is_used(store: Store) -> None:
    layer = code_layer(store)
    key = layer.diff_id
    store.remember_layer(key, layer)
    age(store.blob_path(layer.descriptor.digest), 100)
    age(store.root / "keys/sha256" / key.hex, 100)
    assert store.find_layer(key) == layer
    assert collect(store, 0, SILENCE).count == 0
    age(store.root / "keys/sha256" / key.hex, 100)
    age(store.blob_path(layer.descriptor.digest), 100)
    assert collect(store, 0, SILENCE).count == 1
    assert store.find_layer(key) is None


@pytest.mark.parametrize(("text", "size"), [("0", 0), ("500MB", 500_000_000), ("1.5 gb", 1_500_000_000), ("7k", 7000)])
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


def test_the_commands_start_without_what_they_do_not_need() -> None:
    """Help for every command, in a process of its own, as a user's first contact."""
    for name in ("inspect", "diff", "copy", "tag", "delete", "gc", "login", "logout"):
        command = [sys.executable, "-m", "layerforge", name, "--help"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("Usage:")
