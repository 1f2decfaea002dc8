"""Replaces the weights of an image that is in a registry: no cog.yaml, code, packages or base are needed.

What comes out is byte for byte what a build of the same project with these weights gives.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import msgspec

from layerforge.adopt import Adopted, choose_manifests
from layerforge.budget import total_budget, weights_share
from layerforge.build import build_layers
from layerforge.errors import ImageError, LayerforgeError
from layerforge.image import NamedLayer, annotate_layer
from layerforge.lock import Lock, LockedPython, PlatformLock, Wanted
from layerforge.oci import (
    CONFIG,
    DOCKER_INDEX,
    INDEX,
    Descriptor,
    Digest,
    History,
    ImageConfig,
    Index,
    Manifest,
    decode,
    encode,
)
from layerforge.plan import plan_weights
from layerforge.progress import Reporter, format_size
from layerforge.project import Project
from layerforge.scan import scan_project
from layerforge.states import FileStates
from layerforge.store import Store
from layerforge.weights_record import LABEL, WeightEntry, label_weights, read_weights, record_weights
from layerforge.workbench import LocalWorkbench

_OURS = "layerforge "
_NOTHING = PlatformLock("linux/amd64", "", LockedPython("", "", "base"), (), (), (), (), ())


class Reweighed(msgspec.Struct, frozen=True):
    """The image or index with its new weights, in the store; ``changes`` are a line each."""

    before: Descriptor
    after: Descriptor
    changes: tuple[str, ...]


def replace_weights(adopted: Adopted, folder: Path, store: Store, reporter: Reporter, *, prune: bool) -> Reweighed:
    """Give the image the weights in ``folder``, where they lie as in the project. Nothing is pushed.

    With ``prune`` weights that are not in ``folder`` are left out; otherwise that is an error.

    Raises:
        ImageError: it is no image that Layerforge built.
        SourceError: a file cannot be read, or changed meanwhile.
        LayerforgeError: there are no weights in ``folder``, or some are missing.
    """
    manifests = choose_manifests(adopted.descriptor, store, None)
    images = [_read(descriptor, store, adopted.where) for descriptor in manifests]
    states = FileStates(store.root / "states.sqlite")
    try:
        layers = min(_layers_for_weights(image) for image in images)
        project = scan_project(folder, states, layers=layers, reporter=reporter)
    finally:
        states.close()
    new = record_weights(project)
    if not new:
        hint = "weights are large files, and those with endings such as .safetensors: see docs/registry.md"
        raise LayerforgeError("holds no weights", where=str(folder), hint=hint)
    old = images[0].weights
    missing = [path for path in old if path not in new]
    if missing and not prune:
        hint = "give the folder that has all weights, as they lie in the project, or --prune to leave them out"
        raise LayerforgeError(f"lacks {', '.join(missing[:5])}", where=str(folder), hint=hint)
    named = _build(project, folder, store, reporter)
    replaced = {image.descriptor.digest: _replace(image, named, new, store) for image in images}
    after = _assemble(adopted.descriptor, replaced, store)
    return Reweighed(adopted.descriptor, after, tuple(_describe(old, new)))


class _Weighed(msgspec.Struct, frozen=True):
    """One platform's image, and which of its layers, ``first`` to ``last``, are weights."""

    descriptor: Descriptor
    manifest: Manifest
    config: ImageConfig
    weights: dict[str, WeightEntry]
    first: int
    last: int


def _read(descriptor: Descriptor, store: Store, where: str) -> _Weighed:
    manifest = decode(store.read_blob(descriptor), Manifest, what=f"{where}: the manifest")
    config = decode(store.read_blob(manifest.config), ImageConfig, what=f"{where}: the configuration")
    names = _names(manifest, config)
    hint = "only images that this version of Layerforge built can be given other weights: build it again"
    if not names or names[-1] != "runtime" or "code" not in names:
        raise ImageError("is not an image that Layerforge built", where=where, hint=hint)
    positions = [index for index, name in enumerate(names) if name == "weights" or name.startswith("weights/")]
    first, last = (positions[0], positions[-1] + 1) if positions else (len(names) - 1,) * 2
    weights = read_weights(config.config, where)
    if bool(weights) != bool(positions) or last - first != len(positions):
        raise ImageError("does not say which weights it has", where=where, hint=hint)
    return _Weighed(descriptor, manifest, config, weights, first, last)


def _names(manifest: Manifest, config: ImageConfig) -> list[str]:
    """The steps that made the layers, bottom first; nothing when layers and history do not fit."""
    made = [entry.created_by for entry in config.history if not entry.empty_layer]
    fits = len(made) == len(manifest.layers) == len(config.rootfs.diff_ids)
    return [name.removeprefix(_OURS) if name.startswith(_OURS) else "" for name in made] if fits else []


def _layers_for_weights(image: _Weighed) -> int:
    """As many as a build would leave for weights, by the settings that the image was built with."""
    wanted = 0
    try:
        settings = json.loads(image.config.config.labels.get("run.cog.config", "{}")).get("layerforge") or {}
        wanted = int(settings.get("max_layers") or 0)
    except (ValueError, TypeError, AttributeError, RecursionError):
        pass  # another tool's label: then the usual number
    names = _names(image.manifest, image.config)
    packages = sum(1 for name in names if name.startswith("packages/"))
    below = sum(1 for name in names if not name)
    return weights_share(total_budget(wanted, below), packages)


def _build(project: Project, folder: Path, store: Store, reporter: Reporter) -> tuple[NamedLayer, ...]:
    def open_bench() -> LocalWorkbench:
        lock = Lock(Wanted(""), (_NOTHING,))  # no step here downloads or compiles anything
        return LocalWorkbench(store, lock, _NOTHING, folder, reporter)

    named, _ = build_layers(plan_weights(project), store, open_bench, reporter)
    return named


def _replace(
    image: _Weighed, named: tuple[NamedLayer, ...], weights: dict[str, WeightEntry], store: Store
) -> Descriptor:
    """The manifest of ``image`` with these layers in place of its weights; it is in the store."""
    config, manifest = image.config, image.manifest
    labels = {name: value for name, value in config.config.labels.items() if name != LABEL}
    entries = [index for index, entry in enumerate(config.history) if not entry.empty_layer]
    start, end = entries[image.first], entries[image.last]  # the runtime is always behind them
    history = tuple(History(created=config.created, created_by=f"{_OURS}{layer.name}") for layer in named)
    diff_ids = config.rootfs.diff_ids
    new_config = encode(
        msgspec.structs.replace(
            config,
            config=msgspec.structs.replace(config.config, labels={**labels, **label_weights(weights)}),
            rootfs=msgspec.structs.replace(
                config.rootfs,
                diff_ids=_splice(diff_ids, image.first, image.last, (layer.layer.diff_id for layer in named)),
            ),
            history=_splice(config.history, start, end, history),
        )
    )
    layers = _splice(manifest.layers, image.first, image.last, map(annotate_layer, named))
    config_descriptor = Descriptor(manifest.config.media_type or CONFIG, Digest.of(new_config), len(new_config))
    data = encode(msgspec.structs.replace(manifest, config=config_descriptor, layers=layers))
    store.put_bytes(new_config, config_descriptor.media_type)
    return msgspec.structs.replace(image.descriptor, digest=store.put_bytes(data, "").digest, size=len(data))


def _splice(items: tuple, start: int, end: int, new: Iterable) -> tuple:  # type: ignore[type-arg] # of any one type
    return (*items[:start], *new, *items[end:])


def _assemble(descriptor: Descriptor, replaced: dict[Digest, Descriptor], store: Store) -> Descriptor:
    """The one manifest, or the index with its manifests replaced."""
    if descriptor.media_type not in (INDEX, DOCKER_INDEX):
        return replaced[descriptor.digest]
    index = decode(store.read_blob(descriptor), Index, what=f"index {descriptor.digest}")
    manifests = tuple(
        msgspec.structs.replace(child, digest=new.digest, size=new.size)
        if (new := replaced.get(child.digest)) is not None
        else child
        for child in index.manifests
    )
    data = encode(msgspec.structs.replace(index, manifests=manifests))
    return store.put_bytes(data, descriptor.media_type)


def _describe(old: dict[str, WeightEntry], new: dict[str, WeightEntry]) -> Iterable[str]:
    for path in sorted(old.keys() | new.keys()):
        before, after = old.get(path), new.get(path)
        if before is None and after is not None:
            yield f"new: {path} ({format_size(after.size)})"
        elif after is None:
            yield f"left out: {path}"
        elif before != after:
            yield f"changed: {path} ({format_size(after.size)})"
