"""An image of a registry as the bottom of ours: what its manifest and configuration say, and what we take over. Pure.

Docker's media types mean the same as OCI's and are replaced by them, since a manifest should not mix the two families
(OCI image specification 1.1, ``media-types.md#compatibility-matrix``). What ``docs/base-images.md`` promises about
merging is :func:`merge_container` and :func:`merge_environment`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from layerforge.errors import ImageError
from layerforge.layers.tar import Layer
from layerforge.oci import (
    CONFIG,
    DOCKER_CONFIG,
    DOCKER_LAYER_GZIP,
    DOCKER_LAYER_TAR,
    DOCKER_LAYER_ZSTD,
    DOCKER_MANIFEST,
    LAYER_GZIP,
    LAYER_TAR,
    LAYER_ZSTD,
    MANIFEST,
    ContainerConfig,
    Descriptor,
    Digest,
    History,
    ImageConfig,
    Manifest,
    Platform,
    convert,
    decode,
)

BASE_NAME = "org.opencontainers.image.base.name"
BASE_DIGEST = "org.opencontainers.image.base.digest"
"""Annotations of our manifest (``annotations.md#pre-defined-annotation-keys``)."""

MANIFEST_TYPES = (MANIFEST, DOCKER_MANIFEST)
_CONFIG_TYPES = (CONFIG, DOCKER_CONFIG)
_LAYER_TYPES = {name: name for name in (LAYER_TAR, LAYER_GZIP, LAYER_ZSTD)}
_LAYER_TYPES |= {DOCKER_LAYER_TAR: LAYER_TAR, DOCKER_LAYER_GZIP: LAYER_GZIP, DOCKER_LAYER_ZSTD: LAYER_ZSTD}

PATH = ("/usr/local/bin", "/usr/local/sbin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
"""Where programs are looked for."""

_DEFAULTS = {"LANG": "C.UTF-8"}
"""Variables that a base may set otherwise."""


class BaseImage(msgspec.Struct, frozen=True):
    """A base: ``reference`` as it was asked for, ``manifest`` of the platform, ``layers`` bottom first.

    ``history`` has an entry for each of the layers, and others. ``on_build`` are instructions that ``docker build``
    would carry out in an image upon it.
    """

    reference: str
    manifest: Descriptor
    config: Descriptor
    layers: tuple[Layer, ...]
    history: tuple[History, ...]
    container: ContainerConfig
    on_build: tuple[str, ...] = ()
    variant: str | msgspec.UnsetType = msgspec.UNSET
    os_version: str | msgspec.UnsetType = msgspec.UNSET
    os_features: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET

    @property
    def env(self) -> dict[str, str]:
        """The variables that it sets."""
        return dict(variable.partition("=")[::2] for variable in self.container.env)


def read_manifest(manifest: Descriptor, data: bytes, reference: str) -> Manifest:
    """The manifest ``data`` of a base, its layers by OCI's media types.

    Raises:
        ImageError: it is no image's, or has a layer that cannot be taken over.
    """
    if manifest.media_type not in MANIFEST_TYPES:
        hint = "push the base again with a current tool: `skopeo copy --format oci` converts it"
        if "manifest.v1+" in manifest.media_type and "docker" in manifest.media_type:
            raise ImageError("has a manifest of the old schema 1, which names no DiffIDs", where=reference, hint=hint)
        raise ImageError(f"is a {manifest.media_type!r}, no image's manifest", where=reference)
    document = decode(data, Manifest, what=f"{reference}: the manifest")
    if document.config.media_type not in _CONFIG_TYPES:
        raise ImageError(f"has the configuration {document.config.media_type!r}: no image", where=reference)
    layers: list[Descriptor] = []
    for number, layer in enumerate(document.layers, 1):
        media_type = _LAYER_TYPES.get(layer.media_type)
        if media_type is None:
            kind = f"layer {number} is a {layer.media_type!r}"
            foreign = "foreign" in layer.media_type or "nondistributable" in layer.media_type
            hint = "such a layer may not be pushed to another registry: choose another base" if foreign else ""
            raise ImageError(f"{kind}, which cannot be taken over", where=reference, hint=hint)
        layers.append(msgspec.structs.replace(layer, media_type=media_type))
    return msgspec.structs.replace(document, layers=tuple(layers))


def read_base(reference: str, manifest: Descriptor, data: bytes, config_data: bytes, platform: Platform) -> BaseImage:
    """The base with the manifest ``data`` and configuration ``config_data``, for ``platform``.

    Raises:
        ImageError: the two do not fit together, or it is for another platform.
    """
    document = read_manifest(manifest, data, reference)
    config = _read_config(config_data, reference)
    found = Platform(config.os, config.architecture)
    if (found.os, found.architecture) != (platform.os, platform.architecture):
        hint = f"choose a base for {platform}, or build with --platform {found}"
        raise ImageError(f"is for {found}, not for {platform}", where=reference, hint=hint)
    diff_ids = config.rootfs.diff_ids
    if len(diff_ids) != len(document.layers):
        message = f"has {len(document.layers)} layers, but its configuration {len(diff_ids)} DiffIDs"
        raise ImageError(message, where=reference)
    layers = tuple(Layer(layer, diff_id) for layer, diff_id in zip(document.layers, diff_ids, strict=True))
    return BaseImage(
        reference=reference,
        manifest=manifest,
        config=document.config,
        layers=layers,
        history=_match_history(config.history, layers, reference),
        container=config.config,
        on_build=_read_on_build(config_data),
        variant=config.variant,
        os_version=config.os_version,
        os_features=config.os_features,
    )


def _read_config(data: bytes, reference: str) -> ImageConfig:
    """Docker writes ``null`` for what is empty, and may leave out what the specification asks for."""
    try:
        document = _without_nulls(msgspec.json.decode(data))
        document.setdefault("created", "")
        document.setdefault("config", {})
        return convert(document, ImageConfig)
    except (msgspec.DecodeError, msgspec.ValidationError, AttributeError, UnicodeDecodeError, RecursionError) as error:
        raise ImageError(f"has a configuration that is not valid: {error}", where=reference) from error


def _read_on_build(data: bytes) -> tuple[str, ...]:
    container = msgspec.json.decode(data).get("config") or {}
    return tuple(str(line) for line in container.get("OnBuild") or ())


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _match_history(history: tuple[History, ...], layers: tuple[Layer, ...], reference: str) -> tuple[History, ...]:
    """``history``, or one line for each layer where it does not fit them."""
    if sum(not entry.empty_layer for entry in history) == len(layers):
        return history
    return tuple(History(created_by=f"layer {number} of {reference}") for number in range(1, len(layers) + 1))


def merge_environment(base: Mapping[str, str], ours: Mapping[str, str]) -> dict[str, str]:
    """The variables of an image upon one that has ``base``; ``ours`` win, except for what are only defaults.

    PATH is not replaced: ``/usr/local/bin`` goes to its front, and what is always looked at to its end.
    """
    known = [folder for folder in base.get("PATH", "").split(":") if folder]
    path = {"PATH": ":".join(dict.fromkeys((PATH[0], *known, *PATH)))}
    return {**path, **_DEFAULTS, **base, **path, **ours}


def merge_container(base: ContainerConfig, ours: ContainerConfig) -> ContainerConfig:
    """How the container of an image upon ``base`` runs; ``ours`` has the merged environment already.

    The user, volumes, health check, shell and stop timeout are the base's; the command, working folder and stop signal
    are ours; ports and labels are added up. The base's entrypoint is dropped: our command is a whole one, which a
    program put before it would take for arguments or keep from being process 1.
    """
    return msgspec.structs.replace(
        ours,
        user=base.user,
        exposed_ports={**base.exposed_ports, **ours.exposed_ports},
        volumes=base.volumes,
        labels={**base.labels, **ours.labels},
        stop_timeout=base.stop_timeout,
        healthcheck=base.healthcheck,
        shell=base.shell,
    )


def list_notices(base: BaseImage) -> Iterator[tuple[str, str]]:
    """What people should know of the base they chose, each with a hint: nothing of it is lost or kept in silence."""
    container = base.container
    if container.entrypoint:
        words = " ".join(container.entrypoint)[:80]
        yield f"the base's entrypoint ({words}) is not run: the server is process 1 of the container", ""
    if container.user and container.user.partition(":")[0] not in ("root", "0"):
        hint = "choose a base without USER if the model writes to its own folder"
        yield f"the container runs as the base's user {container.user}, who cannot write below /src", hint
    if container.healthcheck and container.healthcheck.get("Test") not in (None, [], ["NONE"]):
        yield "the base's health check is kept, and asks for what the base serves", "docker run --no-healthcheck"
    for path in sorted(container.volumes):
        yield f"{path} is a volume of the base: what a container writes there is not in its own file system", ""
    if base.on_build:
        yield f"ONBUILD instructions of the base are not carried out ({base.on_build[0][:60]})", ""


def annotate(base: BaseImage) -> dict[str, str]:
    """The annotations that name the base."""
    return {BASE_NAME: base.reference, BASE_DIGEST: str(Digest(base.manifest.digest))}
