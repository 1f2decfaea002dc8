"""What is taken over from a base image, by the rules of docs/base-images.md."""

from __future__ import annotations

import json
from typing import Any

import pytest

from layerforge.base_image import (
    BaseImage,
    annotate,
    list_notices,
    merge_container,
    merge_environment,
    read_base,
    read_manifest,
)
from layerforge.errors import ImageError
from layerforge.image import NamedLayer, assemble_image
from layerforge.layers.tar import Layer
from layerforge.oci import (
    CONFIG,
    DOCKER_CONFIG,
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    LAYER_GZIP,
    LINUX_AMD64,
    LINUX_ARM64,
    MANIFEST,
    ContainerConfig,
    Descriptor,
    Digest,
    ImageConfig,
    Manifest,
    decode,
)

LAYER = Digest.of(b"layer")
DIFF = Digest.of(b"diff")
REFERENCE = "docker.io/library/sample:1"


def make_manifest(
    *layers: str, media_type: str = MANIFEST, config: str = CONFIG, size: int = 0
) -> tuple[Descriptor, bytes]:
    listed = [{"mediaType": layer, "digest": LAYER, "size": 5} for layer in layers]
    document = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": {"mediaType": config, "digest": Digest.of(b"config"), "size": size},
        "layers": listed,
    }
    data = json.dumps(document).encode()
    return Descriptor(media_type, Digest.of(data), len(data)), data


def make_config(**fields: Any) -> bytes:
    document = {
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [DIFF]},
        **fields,
    }
    return json.dumps(document).encode()


def make_base(config: dict[str, Any] | None = None, **fields: Any) -> BaseImage:
    manifest, data = make_manifest(DOCKER_LAYER_GZIP, media_type=DOCKER_MANIFEST, config=DOCKER_CONFIG)
    return read_base(REFERENCE, manifest, data, make_config(config=config or {}, **fields), LINUX_AMD64)


def test_docker_types_become_oci_types() -> None:
    base = make_base()
    assert [layer.descriptor.media_type for layer in base.layers] == [LAYER_GZIP]
    assert [layer.diff_id for layer in base.layers] == [DIFF]
    assert base.manifest.media_type == DOCKER_MANIFEST


@pytest.mark.parametrize(
    ("layer", "hint"),
    [
        ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "may not be pushed"),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "may not be pushed"),
        ("application/vnd.oci.image.layer.v1.tar+xz", ""),
    ],
)
def test_a_layer_that_cannot_be_taken_over_is_named(layer: str, hint: str) -> None:
    with pytest.raises(ImageError, match="layer 2 is a") as caught:
        read_manifest(*make_manifest(LAYER_GZIP, layer), REFERENCE)
    assert hint in caught.value.hint
    assert caught.value.where == REFERENCE


def test_what_is_no_image_is_refused() -> None:
    old = Descriptor("application/vnd.docker.distribution.manifest.v1+prettyjws", LAYER, 2)
    with pytest.raises(ImageError, match="schema 1") as caught:
        read_manifest(old, b"{}", REFERENCE)
    assert "skopeo" in caught.value.hint
    with pytest.raises(ImageError, match="no image's manifest"):
        read_manifest(Descriptor("text/html", LAYER, 2), b"{}", REFERENCE)
    with pytest.raises(ImageError, match="no image"):
        read_manifest(*make_manifest(LAYER_GZIP, config="application/vnd.cncf.helm.config.v1+json"), REFERENCE)


def test_a_base_for_another_platform_is_refused() -> None:
    manifest, data = make_manifest(LAYER_GZIP)
    with pytest.raises(ImageError, match="is for linux/amd64, not for linux/arm64"):
        read_base(REFERENCE, manifest, data, make_config(), LINUX_ARM64)


def test_layers_and_diff_ids_must_match() -> None:
    manifest, data = make_manifest(LAYER_GZIP, LAYER_GZIP)
    with pytest.raises(ImageError, match="2 layers, but its configuration 1 DiffIDs"):
        read_base(REFERENCE, manifest, data, make_config(), LINUX_AMD64)


@pytest.mark.parametrize("config", [b"[]", b"{", b'{"os": "linux"}', b"\xff\xfe"])
def test_a_damaged_configuration_is_an_error(config: bytes) -> None:
    manifest, data = make_manifest(LAYER_GZIP)
    with pytest.raises(ImageError, match="not valid"):
        read_base(REFERENCE, manifest, data, config, LINUX_AMD64)


def test_nulls_of_docker_are_nothing() -> None:
    base = make_base({"Entrypoint": None, "Volumes": None, "Env": None, "Healthcheck": None}, history=None)
    assert base.container == ContainerConfig()
    assert [entry.created_by for entry in base.history] == [f"layer 1 of {REFERENCE}"]


def test_environment() -> None:
    base = {
        "PATH": "/opt/conda/bin:/usr/local/sbin:/usr/local/bin:/usr/bin",
        "LANG": "de_DE.UTF-8",
        "A": "base",
        "B": "2",
    }
    merged = merge_environment(base, {"A": "ours", "PYTHONUNBUFFERED": "1"})
    assert merged == {
        "PATH": "/usr/local/bin:/opt/conda/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/sbin:/bin",
        "LANG": "de_DE.UTF-8",
        "A": "ours",
        "B": "2",
        "PYTHONUNBUFFERED": "1",
    }
    assert list(merge_environment({}, {"X": "1"}).items()) == [
        ("PATH", "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("LANG", "C.UTF-8"),
        ("X", "1"),
    ]
    assert merge_environment(base, {"PATH": "/mine"})["PATH"] == "/mine"


def test_container() -> None:
    health = {"Test": ["CMD-SHELL", "curl -f http://localhost/"], "Interval": 30_000_000_000}
    base = make_base(
        {
            "User": "1000:1000",
            "Entrypoint": ["/opt/nvidia/nvidia_entrypoint.sh"],
            "Cmd": ["python3"],
            "WorkingDir": "/workspace",
            "ExposedPorts": {"8000/tcp": {}},
            "Volumes": {"/data": {}},
            "Labels": {"maintainer": "them", "run.cog.version": "old"},
            "StopSignal": "SIGQUIT",
            "StopTimeout": 20,
            "Healthcheck": health,
            "Shell": ["/bin/bash", "-c"],
            "OnBuild": ["RUN true"],
        }
    )
    ours = ContainerConfig(
        cmd=("python", "-m", "cog.server.http"),
        working_dir="/src",
        exposed_ports={"5000/tcp": {}},
        labels={"run.cog.version": "ours"},
        stop_signal="SIGTERM",
    )
    merged = merge_container(base.container, ours)
    assert merged == ContainerConfig(
        user="1000:1000",
        exposed_ports={"8000/tcp": {}, "5000/tcp": {}},
        entrypoint=(),
        cmd=("python", "-m", "cog.server.http"),
        volumes={"/data": {}},
        working_dir="/src",
        labels={"maintainer": "them", "run.cog.version": "ours"},
        stop_signal="SIGTERM",
        stop_timeout=20,
        healthcheck=health,
        shell=("/bin/bash", "-c"),
    )
    notices = "\n".join(notice for notice, _ in list_notices(base))
    for word in ("nvidia_entrypoint", "1000:1000", "health check", "/data", "ONBUILD"):
        assert word in notices
    assert not list(list_notices(make_base({"User": "root", "Healthcheck": {"Test": ["NONE"]}})))


def test_layers_and_history_of_the_base_come_first() -> None:
    base = make_base(
        history=[{"created_by": "a"}, {"created_by": "b", "empty_layer": True, "author": "them"}], variant="v8"
    )
    ours = Layer(Descriptor(LAYER_GZIP, Digest.of(b"ours"), 4), Digest.of(b"our diff"))
    named = (NamedLayer("code", Digest.of(b"key"), ours),)
    image = assemble_image(named, ContainerConfig(), LINUX_AMD64, 0, annotate(base), base)
    manifest = decode(image.manifest_bytes, Manifest)
    config = decode(image.config_bytes, ImageConfig)
    assert [layer.digest for layer in manifest.layers] == [LAYER, Digest.of(b"ours")]
    assert manifest.annotations == {
        "org.opencontainers.image.base.name": REFERENCE,
        "org.opencontainers.image.base.digest": base.manifest.digest,
    }
    assert config.rootfs.diff_ids == (DIFF, Digest.of(b"our diff"))
    assert [entry.created_by for entry in config.history] == ["a", "b", "layerforge code"]
    assert config.history[1].author == "them"
    assert json.loads(image.config_bytes)["variant"] == "v8"
    without = assemble_image(named, ContainerConfig(), LINUX_AMD64, 0, {})
    assert not {"variant", "os.version", "os.features"} & json.loads(without.config_bytes).keys()
