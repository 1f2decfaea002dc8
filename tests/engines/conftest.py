"""A tiny image for the engines: busybox in one layer, a web server in another, something to remove in between."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pytest

from layerforge.engines.image import host_architecture
from layerforge.layers.compression import GZIP, NONE, Compression
from layerforge.layers.tar import Layer, TarWriter
from layerforge.oci import (
    CONFIG,
    MANIFEST,
    ContainerConfig,
    Descriptor,
    Digest,
    ImageConfig,
    Manifest,
    RootFS,
    encode,
)
from layerforge.progress import SILENCE
from layerforge.store import Store

MakeImage = Callable[..., Descriptor]

SERVER = b"""#!/bin/sh
echo "A=$A port=$PORT uid=$(id -u) cwd=$(pwd) home=$HOME"
echo "$@" > /www/arguments
cat /proc/1/cmdline > /www/first 2>/dev/null
head -c 4 /dev/zero | wc -c > /dev/null && echo written > /www/new
trap 'echo bye; exit 3' TERM
httpd -f -p "$PORT" -h /www &
wait
"""
APPLETS = [
    "sh",
    "httpd",
    "ls",
    "cat",
    "sleep",
    "mount",
    "id",
    "echo",
    "head",
    "wc",
    "mkdir",
    "ps",
    "sed",
    "touch",
    "chmod",
    "ln",
]


def write_layer(store: Store, fill: Callable[[TarWriter], object], *, compression: Compression = GZIP) -> Layer:
    """A layer of ``store`` with what ``fill`` writes."""
    with store.write_blob() as blob:
        tar = TarWriter(blob, compression=compression)
        fill(tar)
        layer = tar.finish()
        blob.commit(layer.descriptor.digest)
    return layer


def write_image(store: Store, layers: Sequence[Layer], config: ContainerConfig, architecture: str = "") -> Descriptor:
    """An image of ``layers``."""
    document = ImageConfig(
        "1980-01-02T00:00:00Z",
        architecture or host_architecture(),
        "linux",
        config,
        RootFS("layers", tuple(layer.diff_id for layer in layers)),
    )
    described = store.put_bytes(encode(document), CONFIG)
    manifest = Manifest(2, MANIFEST, described, tuple(layer.descriptor for layer in layers))
    return store.put_bytes(encode(manifest), MANIFEST)


def find_busybox() -> Path | None:
    """A statically linked busybox."""
    found = shutil.which("busybox")
    if not found:
        return None
    return Path(found) if b"/ld-linux" not in Path(found).read_bytes()[:4096] else None


@pytest.fixture
def make_image(store: Store, require: Callable[[object, str], None]) -> MakeImage:
    """Makes the image in ``store``; keywords go into its ContainerConfig."""
    busybox = find_busybox()
    require(busybox, "busybox is not installed as a static program (Debian: busybox-static)")
    assert busybox is not None
    program = busybox.read_bytes()

    def base(tar: TarWriter) -> None:
        tar.file("bin/busybox", program, mode=0o755)
        for applet in APPLETS:
            tar.symlink(f"bin/{applet}", "busybox")
        tar.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n")
        tar.file("etc/group", b"root:x:0:\nusers:x:100:\n")
        tar.file("www/index.html", b"lower")
        tar.file("www/gone", b"lower")
        tar.file("www/old/gone", b"lower")
        tar.directory("tmp", mode=0o1777)

    def top(tar: TarWriter) -> None:
        tar.file("serve", SERVER, mode=0o755)
        tar.file("www/index.html", b"upper")

    def remove(tar: TarWriter) -> None:
        tar.file("www/.wh.gone", b"")
        tar.file("www/old/.wh..wh..opq", b"")
        tar.file("www/old/kept", b"upper")

    def make(architecture: str = "", whiteouts: bool = True, **options: object) -> Descriptor:
        layers = [write_layer(store, base), write_layer(store, top, compression=NONE)]
        if whiteouts:
            layers.append(write_layer(store, remove))
        config = ContainerConfig(env=("PATH=/bin", "A=1"), cmd=("/serve", "one"), working_dir="/work")
        return write_image(store, layers, msgspec.structs.replace(config, **options), architecture)

    return make


class News:
    """A Reporter that remembers."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def start(self, task: str, total: int | None = None) -> None:
        self.lines.append(f"start {task}")

    def advance(self, task: str, amount: int) -> None:
        SILENCE.advance(task, amount)

    def finish(self, task: str, outcome: str) -> None:
        self.lines.append(f"finish {task}: {outcome}")

    def note(self, text: str) -> None:
        self.lines.append(f"note {text}")

    def warn(self, text: str, hint: str = "") -> None:
        self.lines.append(f"warn {text} ({hint})")


@pytest.fixture
def news() -> News:
    return News()


def digest_of(text: str) -> Digest:
    """A digest that nothing has."""
    return Digest.of(text.encode())
