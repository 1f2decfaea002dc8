"""What an engine must know of an image before it starts it."""

from __future__ import annotations

import platform
import socket

import msgspec

from layerforge.errors import EngineError
from layerforge.oci import (
    DOCKER_INDEX,
    INDEX,
    Descriptor,
    ImageConfig,
    Index,
    Manifest,
    decode,
)
from layerforge.store import Store

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "ppc64le": "ppc64le", "s390x": "s390x"}
_SMALL = 16 << 20


class Image(msgspec.Struct, frozen=True):
    """A manifest, where it is, and its configuration."""

    descriptor: Descriptor
    manifest: Manifest
    config: ImageConfig


def host_architecture() -> str:
    """This machine's processor, in Go's words."""
    machine = platform.machine()
    return _ARCHITECTURES.get(machine, machine)


def read_image(store: Store, descriptor: Descriptor) -> Image:
    """The image that ``descriptor`` means on this machine: itself, or the one for this processor in an index.

    Raises:
        EngineError: the index has no image for this processor.
        StoreError: a document is not in the store.
        ImageError: a document is malformed.
    """
    if descriptor.media_type in (INDEX, DOCKER_INDEX):
        index = decode(_read(store, descriptor), Index, what="image index")
        descriptor = _choose_platform(index)
    manifest = decode(_read(store, descriptor), Manifest, what="image manifest")
    config = decode(_read(store, manifest.config), ImageConfig, what="image configuration")
    return Image(descriptor, manifest, config)


def _read(store: Store, descriptor: Descriptor) -> bytes:
    if descriptor.size > _SMALL:
        raise EngineError(f"a document of {descriptor.size:,} bytes is no manifest", where=str(descriptor.digest))
    return store.read_blob(descriptor)


def _choose_platform(index: Index) -> Descriptor:
    wanted = host_architecture()
    for manifest in index.manifests:
        if manifest.platform and manifest.platform.os == "linux" and manifest.platform.architecture == wanted:
            return manifest
    found = ", ".join(str(manifest.platform) for manifest in index.manifests if manifest.platform) or "nothing"
    raise EngineError(
        f"the image is not for this machine (linux/{wanted}) but for {found}",
        hint=f"build with --platform linux/{wanted}",
    )


def find_free_port(host: str) -> int:
    """A TCP port of the address ``host`` that nothing listens on now.

    Raises:
        EngineError: ``host`` is not an address of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.bind((host, 0))
            return int(probe.getsockname()[1])
    except OSError as error:
        raise EngineError(f"cannot listen on {host!r}: {error.strerror or error}") from error


def check_port(host: str, port: int) -> None:
    """See that ``port`` of ``host`` can be listened on.

    Raises:
        EngineError: something else does, or it needs privileges.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        hint = "choose another with --port, or leave it out for a free one"
        raise EngineError(f"cannot listen on port {port}: {error.strerror or error}", hint=hint) from error


def format_url(host: str, port: int) -> str:
    """Where a server listening on ``host`` is reached from this machine."""
    reachable = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"
