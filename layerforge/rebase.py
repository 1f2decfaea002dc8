"""Puts an image that is in a registry on newer lower layers (security updates), without touching those above.

Only manifest and configuration of the image are read, and the lower layers that its packages need now are made. Whether
the upper layers work on them is judged by what was recorded of each when it was written; what cannot be judged is
refused.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from layerforge.abi.demands import ANNOTATION, decode_demands
from layerforge.abi.verdict import Refusal, UpperLayer, judge
from layerforge.base_image import BaseImage
from layerforge.build import build_layers
from layerforge.config import Entry
from layerforge.errors import ImageError, RebaseError, RegistryError
from layerforge.exchange import Original, exchange, read_original
from layerforge.foundation import FoundationRecord, list_changes
from layerforge.image import Image, NamedLayer
from layerforge.layers.tar import Layer
from layerforge.lock import Lock, LockedWheel, PlatformLock
from layerforge.oci import CONFIG, DOCKER_INDEX, INDEX, MANIFEST, Descriptor, Digest, Index, decode, encode
from layerforge.origin import Repository
from layerforge.plan import compress_steps, plan_foundation
from layerforge.progress import Reporter
from layerforge.provided import open_foundation
from layerforge.reference import Reference
from layerforge.registry import Registry, push_image
from layerforge.request import Request
from layerforge.requirements import Requirements
from layerforge.resolve import resolve
from layerforge.sources.base.fetch import load_base
from layerforge.store import Store
from layerforge.workbench import LocalWorkbench

DEBIAN = "debian"
"""The base that is Debian, from its packages."""

_MOST_REASONS = 20


class Rebased(msgspec.Struct, frozen=True):
    """What came of it: the image or index before and after, and what is different, a line each."""

    before: Descriptor
    after: Descriptor
    changes: tuple[str, ...]

    @property
    def changed(self) -> bool:
        """Whether it is another image now."""
        return self.before.digest != self.after.digest


def rebase_image(reference: Reference, store: Store, reporter: Reporter, *, base: str = "") -> Rebased:
    """Make ``reference`` anew upon the newest lower layers; the result is in ``store``, nothing is pushed.

    ``base`` is the image to put it upon, or DEBIAN; empty for what it is upon already, as that is now.

    Raises:
        ImageError: it is no image that Layerforge built.
        RebaseError: the upper layers would not work on the new ones, or it cannot be known.
        LayerforgeError: the new layers cannot be made, or the registry does not answer.
    """
    with Registry(reference, push=False, reporter=reporter) as registry:
        found, data = registry.get_manifest(reference.digest or reference.tag)
        if found.media_type not in (INDEX, DOCKER_INDEX):
            original = _read(registry, found, data, reference)
            image, changes = _rebase(original, reference, store, reporter, base)
            return Rebased(found, image.manifest, changes)
        index = decode(data, Index, what=f"{reference}: the index")
        entries: list[Descriptor] = []
        told: dict[str, None] = {}
        for entry in index.manifests:
            if entry.media_type != MANIFEST or entry.platform is None or entry.platform.os == "unknown":
                hint = "rebase the manifest of one platform, by its digest"
                raise ImageError("the index lists something else than images", where=str(reference), hint=hint)
            original = _read(registry, *registry.get_manifest(entry.digest), reference)
            reporter.note(f"{entry.platform}:")
            image, changes = _rebase(original, reference, store, reporter, base)
            told |= dict.fromkeys(changes)
            entries.append(msgspec.structs.replace(entry, digest=image.manifest.digest, size=image.manifest.size))
    new = encode(msgspec.structs.replace(index, manifests=tuple(entries)))
    store.put_bytes(new, found.media_type)
    return Rebased(found, Descriptor(found.media_type, Digest.of(new), len(new)), tuple(told))


def push_rebased(rebased: Rebased, source: Reference, target: Reference, store: Store, reporter: Reporter) -> None:
    """Push to ``target``, where it differs from what is there; layers that stay are not sent.

    Raises:
        RegistryError: the registry refused, or could not be reached.
    """
    if rebased.changed or target != source:
        push_image(store, rebased.after, target, reporter=reporter)


def _read(registry: Registry, found: Descriptor, data: bytes, reference: Reference) -> Original:
    config = decode(data, _ConfigOnly, what=f"{reference}: the manifest").config
    with registry.read_blob(config) as reader:
        return read_original(found, data, reader.readall(), str(reference))


class _ConfigOnly(msgspec.Struct, frozen=True):
    config: Descriptor


def _rebase(
    original: Original, reference: Reference, store: Store, reporter: Reporter, base: str
) -> tuple[Image, tuple[str, ...]]:
    where = f"{reference} ({original.platform})"
    repository = Repository(reference.registry, reference.repository)
    for descriptor in original.manifest.layers:
        store.add_origin(descriptor, repository)
    lock = _resolve(original, base, store, reporter, where)
    (section,) = lock.platforms
    record = _describe(original.record, section)
    _check_python(original.record, record, where)
    image = load_base(section.image, original.platform, store, reporter) if section.image else None
    layers = _build(original, lock, section, image, store, reporter)
    new = exchange(original, record, layers, image)
    if new.manifest.digest != original.descriptor.digest:
        below = image.layers if image is not None else ()
        bottom = (*below, *(named.layer for named in layers))
        _check_layers(original, bottom, new, section, store, reporter, where)
    store.put_bytes(new.config_bytes, CONFIG)
    store.put_bytes(new.manifest_bytes, MANIFEST)
    return new, tuple(list_changes(original.record, record))


def _resolve(original: Original, base: str, store: Store, reporter: Reporter, where: str) -> Lock:
    """What the lower layers are to be made of now: a lock without any wheel."""
    record = original.record
    below = record.image.reference if record.image else DEBIAN
    wanted = base or below
    if (wanted == DEBIAN) != (below == DEBIAN):
        hint = "build it again, with layerforge.base in cog.yaml"
        raise RebaseError(f"is built upon {below}; {wanted} has its Python elsewhere", where=where, hint=hint)
    request = Request(
        python=record.wanted,
        provider=record.provider,
        base="" if wanted == DEBIAN else wanted,
        system=tuple(Entry(name, 0) for name in record.system),
        platforms=(str(original.platform),),
        packages=Requirements(),
        runtime=Requirements(),
        path=where,
    )
    lock = resolve(request, (), None, store, reporter)
    freeze = original.config.config.labels.get("run.cog.pip_freeze", "").split()
    names = [line.partition("==")[0] for line in freeze]
    wheels = tuple(LockedWheel(name, "", "", "", 0, Digest.of(b""), "") for name in names)
    section = msgspec.structs.replace(lock.platforms[0], packages=wheels)
    return msgspec.structs.replace(lock, platforms=(section,))


def _describe(old: FoundationRecord, section: PlatformLock) -> FoundationRecord:
    return msgspec.structs.replace(
        old,
        release=section.release,
        python=msgspec.structs.replace(section.python, archive=None),
        packages={deb.name: deb.version for deb in section.debs},
        image=section.image,
    )


def _check_python(old: FoundationRecord, new: FoundationRecord, where: str) -> None:
    before, after = old.python, new.python
    hint = "build the image again: its packages are installed and compiled for one Python in one place"
    if before.minor != after.minor:
        raise RebaseError(f"has Python {before.minor}; the new base has {after.minor}", where=where, hint=hint)
    if (before.provider, before.home) != (after.provider, after.home):
        message = (
            f"has its Python in {before.home} ({before.provider}), the new base in {after.home} ({after.provider})"
        )
        raise RebaseError(message, where=where, hint=hint)


def _build(
    original: Original,
    lock: Lock,
    section: PlatformLock,
    image: BaseImage | None,
    store: Store,
    reporter: Reporter,
) -> tuple[NamedLayer, ...]:
    steps = plan_foundation(section, original.platform, original.record.certificates)
    steps = compress_steps(steps, original.record.compression)

    def open_bench() -> LocalWorkbench:
        return LocalWorkbench(store, lock, section, Path(), reporter, image)  # no project: no step here reads one

    layers, _ = build_layers(steps, store, open_bench, reporter, original.find)
    return layers


def _check_layers(
    original: Original,
    bottom: tuple[Layer, ...],
    new: Image,
    section: PlatformLock,
    store: Store,
    reporter: Reporter,
    where: str,
) -> None:
    """Refuse when anything of the upper layers would break.

    Raises:
        RebaseError: with every reason.
    """
    upper = [
        UpperLayer(name, decode_demands(text) if (text := layer.annotations.get(ANNOTATION)) is not None else None)
        for name, layer in zip(original.upper_names, original.upper, strict=True)
    ]
    environment = original.config.config.env
    foundation = open_foundation(bottom, environment, store, reporter)

    def open_old() -> object:
        try:
            return open_foundation(original.bottom, environment, store, reporter)
        except RegistryError as error:
            reporter.warn(f"the old base cannot be read, so every doubt counts: {error}")
            return None

    python = f"{section.python.home}/python{section.python.minor}"
    refusals = judge(upper, foundation, open_old, python=python)  # type: ignore[arg-type]
    if refusals:
        hint = "build the image again: then packages that fit are chosen"
        raise RebaseError("would not work on the new base:", _list_reasons(refusals), where=where, hint=hint)
    reporter.note(f"{len(upper)} layers stay; what they demand is there (new manifest {new.manifest.digest.short})")


def _list_reasons(refusals: tuple[Refusal, ...]) -> tuple[str, ...]:
    reasons = tuple(dict.fromkeys(map(str, refusals)))
    more = len(reasons) - _MOST_REASONS
    return (*reasons[:_MOST_REASONS], f"and {more} more") if more > 0 else reasons
