"""What can be said of an image from its manifest and configuration alone, and how two images differ. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from layerforge.errors import ImageError
from layerforge.foundation import LABEL, read_foundation
from layerforge.image import identify_layer
from layerforge.oci import Descriptor, ImageConfig, Manifest

_FREEZE = "run.cog.pip_freeze"
_OURS = "layerforge "


class LayerSummary(msgspec.Struct, frozen=True):
    """One layer: the step that made it (else the command in the history), its key, what it is. ``size`` in bytes."""

    name: str
    digest: str
    diff_id: str
    size: int
    media_type: str
    key: str = ""


class ImageSummary(msgspec.Struct, frozen=True):
    """One platform's image. ``python`` and ``debian`` map packages to versions; ``size`` is all layers', in bytes."""

    reference: str
    digest: str
    platform: str
    created: str
    size: int
    layers: tuple[LayerSummary, ...]
    command: tuple[str, ...]
    environment: dict[str, str]
    labels: dict[str, str]
    annotations: dict[str, str]
    python: dict[str, str]
    debian: dict[str, str]

    @property
    def named(self) -> dict[str, LayerSummary]:
        """Layers by name; of several of one name each has a number."""
        found: dict[str, LayerSummary] = {}
        for layer in self.layers:
            name, number = layer.name, 2
            while name in found:
                name, number = f"{layer.name} ({number})", number + 1
            found[name] = layer
        return found


def summarize(reference: str, descriptor: Descriptor, manifest: Manifest, config: ImageConfig) -> ImageSummary:
    """The image that ``reference`` names.

    Raises:
        ImageError: manifest and configuration do not have the same layers.
    """
    diff_ids = config.rootfs.diff_ids
    if len(diff_ids) != len(manifest.layers):
        raise ImageError(f"{len(manifest.layers)} layers, but {len(diff_ids)} DiffIDs", where=reference)
    made = [entry.created_by for entry in config.history if not entry.empty_layer]
    names = made if len(made) == len(diff_ids) else [""] * len(diff_ids)
    layers = []
    for name, layer, diff_id in zip(names, manifest.layers, diff_ids, strict=True):
        identity = identify_layer(layer)
        title = name.removeprefix(_OURS).strip()[:80] or layer.digest.short
        key = str(identity[0]) if identity else ""
        layers.append(LayerSummary(title, layer.digest, diff_id, layer.size, layer.media_type, key))
    container = config.config
    return ImageSummary(
        reference=reference,
        digest=descriptor.digest,
        platform="/".join(filter(None, (config.os, config.architecture, config.variant or ""))),
        created=config.created,
        size=sum(layer.size for layer in manifest.layers),
        layers=tuple(layers),
        command=(*container.entrypoint, *container.cmd),
        environment=dict(item.partition("=")[::2] for item in container.env),
        labels=container.labels,
        annotations=manifest.annotations,
        python=dict(line.partition("==")[::2] for line in container.labels.get(_FREEZE, "").split()),
        debian=_debian_packages(config, reference),
    )


def _debian_packages(config: ImageConfig, reference: str) -> dict[str, str]:
    if LABEL not in config.config.labels:
        return {}
    try:
        return read_foundation(config.config, reference).packages
    except ImageError:
        return {}  # of another revision: then nothing is said


class Change(msgspec.Struct, frozen=True):
    """Something that is not the same: ``before`` or ``after`` is empty where it is not there."""

    kind: str
    name: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.name} {self.before or '(none)'} → {self.after or '(none)'}"


_QUIET = frozenset({_FREEZE, LABEL})
"""Labels that are told of as packages."""


def compare(old: ImageSummary, new: ImageSummary) -> tuple[Change, ...]:
    """What differs between two images, layers last; the files of layers are not looked at."""
    settings = (
        _compare("platform", {"platform": old.platform}, {"platform": new.platform}),
        _compare("python", old.python, new.python),
        _compare("debian", old.debian, new.debian),
        _compare("command", {"command": " ".join(old.command)}, {"command": " ".join(new.command)}),
        _compare("environment", old.environment, new.environment),
        _compare("label", _loud(old.labels), _loud(new.labels)),
        _compare("annotation", old.annotations, new.annotations),
    )
    before = {name: layer.digest for name, layer in old.named.items()}
    after = {name: layer.digest for name, layer in new.named.items()}
    return tuple(change for changes in (*settings, _compare("layer", before, after)) for change in changes)


def _loud(labels: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in labels.items() if name not in _QUIET}


def _compare(kind: str, old: Mapping[str, str], new: Mapping[str, str]) -> list[Change]:
    names = [*old, *(name for name in new if name not in old)]
    ordered = names if kind in ("layer", "command") else sorted(names)
    return [
        Change(kind, name, old.get(name, ""), new.get(name, "")) for name in ordered if old.get(name) != new.get(name)
    ]
