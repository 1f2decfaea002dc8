"""Base images for tests: made in a store with our own tar writer, as registries have them, and pushed to a real one."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import zstandard
from isal import igzip

from layerforge.layers.tar import Layer, TarWriter
from layerforge.oci import (
    CONFIG,
    DOCKER_CONFIG,
    DOCKER_INDEX,
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    INDEX,
    LAYER_GZIP,
    LAYER_ZSTD,
    MANIFEST,
    Descriptor,
    Platform,
    builtins,
)
from layerforge.platforms import host_platform
from layerforge.reference import parse_reference
from layerforge.registry import push_image
from layerforge.store import Store
from tests.made_images import write_layer

Fill = Callable[[TarWriter], None]

BOOKWORM = """PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
NAME="Debian GNU/Linux"
VERSION_ID="12"
VERSION_CODENAME=bookworm
ID=debian
"""
JAMMY = """PRETTY_NAME="Ubuntu 22.04.5 LTS"
NAME="Ubuntu"
VERSION_ID="22.04"
VERSION_CODENAME=jammy
ID=ubuntu
ID_LIKE=debian
UBUNTU_CODENAME=jammy
"""
MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"
_DROPPED = {"test", "tests", "site-packages", "dist-packages", "__pycache__", "idlelib", "ensurepip"}
VERSION = platform.python_version()


def put_base(
    store: Store,
    layers: Sequence[Layer],
    config: Mapping[str, Any] | None = None,
    *,
    history: Sequence[Mapping[str, Any]] | None = None,
    docker: bool = False,
    target: Platform | None = None,
    more: Mapping[str, Any] | None = None,
) -> Descriptor:
    """The image of ``layers``, bottom first, in ``store``. ``config`` and ``more`` are raw JSON, nulls and all."""
    wanted = target or host_platform()
    document = {
        "architecture": wanted.architecture,
        "os": wanted.os,
        "created": "2024-05-06T07:08:09.123456789Z",
        "config": {"Entrypoint": None, "Volumes": None, **(config or {})},
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        **({"history": history} if history is not None else {}),
        **(more or {}),
    }
    described = store.put_bytes(json.dumps(document).encode(), DOCKER_CONFIG if docker else CONFIG)
    types = {LAYER_GZIP: DOCKER_LAYER_GZIP} if docker else {}
    media_type = DOCKER_MANIFEST if docker else MANIFEST
    listed = []
    for layer in layers:
        plain = builtins(layer.descriptor)
        listed.append({**plain, "mediaType": types.get(plain["mediaType"], plain["mediaType"])})
    manifest = {"schemaVersion": 2, "mediaType": media_type, "config": builtins(described), "layers": listed}
    return store.put_bytes(json.dumps(manifest, indent=3).encode(), media_type)


def put_index(store: Store, images: Mapping[str, Descriptor], *, docker: bool = False) -> Descriptor:
    """An index over ``images`` by platform, with an attestation as BuildKit adds one."""
    media_type = DOCKER_INDEX if docker else INDEX
    entries = []
    for name, image in images.items():
        system, architecture = name.split("/")[:2]
        entries.append({**builtins(image), "platform": {"os": system, "architecture": architecture}})
    document = {"schemaVersion": 2, "mediaType": media_type, "manifests": entries}
    return store.put_bytes(json.dumps(document).encode(), media_type)


def push_base(store: Store, manifest: Descriptor, reference: str) -> str:
    """Push it; the reference comes back."""
    push_image(store, manifest, parse_reference(reference))
    return reference


def recompress(store: Store, layer: Layer, media_type: str) -> Layer:
    """The same layer stored in another way."""
    data = igzip.decompress(store.read_blob(layer.descriptor))
    stored = zstandard.ZstdCompressor().compress(data) if media_type == LAYER_ZSTD else data
    descriptor = store.put_bytes(stored, media_type)
    assert hashlib.sha256(data).hexdigest() == layer.diff_id.hex
    return Layer(descriptor, layer.diff_id)


def files_layer(store: Store, files: Mapping[str, str | bytes], links: Mapping[str, str] | None = None) -> Layer:
    """A layer of files and links. A whiteout is a file whose name says so."""

    def fill(tar: TarWriter) -> None:
        for path, content in files.items():
            tar.file(path, content.encode() if isinstance(content, str) else content)
        for path, target in (links or {}).items():
            tar.symlink(path, target)

    return write_layer(store, fill)


def system_layer(store: Store, os_release: str = BOOKWORM, status: str = "", **files: str | bytes) -> Layer:
    """The bottom of a distribution: its name, its users, and the C library of this machine, merged into ``/usr``."""

    def fill(tar: TarWriter) -> None:
        for name in ("bin", "lib", "lib64", "sbin"):
            tar.directory(f"usr/{name}")
            tar.symlink(name, f"usr/{name}")
        tar.file("usr/lib/os-release", os_release.encode())
        tar.symlink("etc/os-release", "../usr/lib/os-release")
        tar.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nmodel:x:1000:1000::/home/model:/bin/sh\n")
        tar.file("etc/group", b"root:x:0:\nmodel:x:1000:\n")
        tar.directory("root", mode=0o700)
        tar.directory("tmp", mode=0o1777)
        tar.file("var/lib/dpkg/status", status.encode())
        for path, source in _list_libraries().items():
            tar.file(path, source.read_bytes(), mode=0o755)
        for name, content in files.items():
            tar.file(name, content.encode() if isinstance(content, str) else content)

    return write_layer(store, fill)


def python_layer(store: Store, prefix: str = "usr/local") -> Layer:
    """The interpreter that runs the tests, as an installation below ``prefix``."""
    home = Path(sys.base_prefix)

    def fill(tar: TarWriter) -> None:
        program = Path(os.path.realpath(home / f"bin/python{MINOR}"))
        tar.file(f"{prefix}/bin/python{MINOR}", program.read_bytes(), mode=0o755)
        tar.symlink(f"{prefix}/bin/python3", f"python{MINOR}")
        library = home / f"lib/python{MINOR}"
        for path in sorted(library.rglob("*")):
            inside = path.relative_to(library)
            dropped = _DROPPED & set(inside.parts) or inside.parts[0].startswith("config-")
            if path.is_file() and not dropped:
                tar.file(f"{prefix}/lib/python{MINOR}/{inside}", path.read_bytes())
        for path in sorted((home / "lib").glob("libpython3*.so*")):
            if path.is_file():
                tar.file(f"{prefix}/lib/{path.name}", path.read_bytes(), mode=0o755)
                tar.symlink(f"usr/lib/{path.name}", f"/{prefix}/lib/{path.name}")  # in place of ldconfig's cache

    return write_layer(store, fill)


def _list_libraries() -> dict[str, Path]:
    """What the interpreter and its modules are linked to, by the place in an image."""
    home = Path(sys.base_prefix)
    programs = [home / f"bin/python{MINOR}", *(home / f"lib/python{MINOR}/lib-dynload").glob("*.so")]
    command = ["ldd", *(os.path.realpath(program) for program in programs)]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    found: dict[str, Path] = {}
    for path in sorted(set(re.findall(r"(/\S+\.so\S*) \(0x", listed))):
        if not path.startswith(str(home)) or str(home) == "/usr":
            placed = path.lstrip("/")
            placed = placed if placed.startswith("usr/") else f"usr/{placed}"
            found[placed] = Path(path)
    folder = next(path for path in found.values() if path.name == "libc.so.6").parent
    for name in ("libpthread.so.0", "libdl.so.2", "librt.so.1", "libutil.so.1", "libgcc_s.so.1"):
        if (folder / name).exists():  # what other people's wheels are linked to
            found[f"usr/{str(folder).lstrip('/').removeprefix('usr/')}/{name}"] = folder / name
    return found
