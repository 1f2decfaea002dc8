"""The wire types of the OCI image specification, version 1.1.

A value is encoded once, by :func:`encode`; the bytes that were hashed are the bytes that are stored and sent.
Source: https://github.com/opencontainers/image-spec (``descriptor.md``, ``manifest.md``, ``config.md``,
``image-index.md``, ``annotations.md``).
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, TypeVar

import msgspec

from layerforge.errors import ImageError

T = TypeVar("T")

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER_TAR = "application/vnd.oci.image.layer.v1.tar"
LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_LAYER_TAR = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_ZSTD = "application/vnd.docker.image.rootfs.diff.tar.zstd"

REF_NAME = "org.opencontainers.image.ref.name"
"""The annotation that names a manifest in a layout's ``index.json``."""

KEY_ANNOTATION = "run.layerforge.step.key"
"""On a layer's Descriptor: the key of the Step that made it."""
DIFF_ID_ANNOTATION = "run.layerforge.diffid"
"""On a layer's Descriptor: the layer's DiffID, so that the config need not be read to reuse it."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Digest(str):
    """``sha256:`` and 64 lower-case hexadecimal digits; nothing else can be constructed.

    Other algorithms of ``descriptor.md#digests`` are refused: no registry in use accepts them from a client.

    Raises:
        ImageError: the text is not a sha256 digest.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Digest:
        if not _DIGEST.fullmatch(text):
            raise ImageError(f"not a sha256 digest: {text[:90]!r}")
        return super().__new__(cls, text)

    @classmethod
    def of(cls, data: bytes) -> Digest:
        """The digest of ``data``."""
        return cls.from_hex(hashlib.sha256(data).hexdigest())

    @classmethod
    def from_hex(cls, hexadecimal: str) -> Digest:
        """The digest with these 64 hexadecimal digits."""
        return cls("sha256:" + hexadecimal)

    @property
    def hex(self) -> str:
        """The 64 hexadecimal digits, without the algorithm."""
        return self[7:]

    @property
    def short(self) -> str:
        """The first 12 digits, for people."""
        return self[7:19]


class Platform(msgspec.Struct, frozen=True, omit_defaults=True):
    """An operating system and processor, in Go's words (``amd64``, ``arm64``)."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))


LINUX_AMD64 = Platform("linux", "amd64")
LINUX_ARM64 = Platform("linux", "arm64")


class Descriptor(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What a blob is and how to check it: media type, digest and size in bytes."""

    media_type: str
    digest: Digest
    size: int
    annotations: dict[str, str] = {}
    platform: Platform | None = None
    artifact_type: str = ""


class Manifest(msgspec.Struct, frozen=True, rename="camel"):
    """One image for one platform."""

    schema_version: int
    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: dict[str, str] = {}


class Index(msgspec.Struct, frozen=True, rename="camel"):
    """A list of manifests: one image for several platforms, or the content of a layout."""

    schema_version: int
    media_type: str
    manifests: tuple[Descriptor, ...]
    annotations: dict[str, str] = {}


class RootFS(msgspec.Struct, frozen=True):
    """The DiffIDs of the layers, bottom first."""

    type: str
    diff_ids: tuple[Digest, ...]


class History(msgspec.Struct, frozen=True, omit_defaults=True):
    """How one layer came to be; ``empty_layer`` entries have no DiffID."""

    created: str = ""
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


class ContainerConfig(msgspec.Struct, frozen=True, rename="pascal", omit_defaults=True):
    """The execution parameters of ``config.md#properties``, and of Docker's image specification 1.2 what it has more.

    The latter are ``healthcheck`` (times in nanoseconds), ``shell`` and ``stop_timeout`` (seconds); engines but Docker
    pass over them.
    """

    user: str = ""
    exposed_ports: dict[str, dict[str, str]] = {}
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    volumes: dict[str, dict[str, str]] = {}
    working_dir: str = ""
    labels: dict[str, str] = {}
    stop_signal: str = ""
    stop_timeout: int = 0
    healthcheck: dict[str, Any] = {}
    shell: tuple[str, ...] = ()


class ImageConfig(msgspec.Struct, frozen=True, rename={"os_version": "os.version", "os_features": "os.features"}):
    """The configuration blob. ``created`` is RFC 3339. What is UNSET is left out."""

    created: str
    architecture: str
    os: str
    config: ContainerConfig
    rootfs: RootFS
    history: tuple[History, ...] = ()
    variant: str | msgspec.UnsetType = msgspec.UNSET
    os_version: str | msgspec.UnsetType = msgspec.UNSET
    os_features: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET


def _encode_hook(value: Any) -> Any:
    if isinstance(value, Digest):
        return str(value)
    raise NotImplementedError(f"no JSON form for {type(value).__name__}")


def _decode_hook(kind: type, value: Any) -> Any:
    if kind is Digest:
        if not isinstance(value, str):
            raise ValueError(f"Expected a sha256 digest, got {type(value).__name__}")
        try:
            return Digest(value)
        except ImageError as error:
            raise ValueError(error.message) from None
    raise NotImplementedError(f"no {kind.__name__} from {type(value).__name__}")


_encoder = msgspec.json.Encoder(enc_hook=_encode_hook, order="sorted")


def encode(value: Any) -> bytes:
    """``value`` as canonical JSON: sorted keys, no white space, UTF-8."""
    return _encoder.encode(value)


def decode(data: bytes, kind: type[T], *, what: str = "document") -> T:
    """Decode JSON ``data`` into ``kind``, checking every field; unknown fields are passed over.

    Raises:
        ImageError: not JSON, or a field is missing or of the wrong type. ``what`` names the document in the message.
    """
    try:
        return msgspec.json.decode(data, type=kind, dec_hook=_decode_hook)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ImageError(f"{what} is not valid: {error}") from error


def builtins(value: Any) -> Any:
    """``value`` as plain dictionaries, lists and strings."""
    return msgspec.to_builtins(value, enc_hook=_encode_hook)


def convert(value: Any, kind: type[T]) -> T:
    """Plain data as ``kind``, checked.

    Raises:
        msgspec.ValidationError: a field is missing or of the wrong type.
    """
    return msgspec.convert(value, type=kind, dec_hook=_decode_hook)
