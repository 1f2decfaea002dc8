"""Manifest and configuration of a base image: fetched once, kept in the store, pinned by digest in the lock.

The layers are left where they are; the store remembers the repository.
"""

from __future__ import annotations

from layerforge.base_image import MANIFEST_TYPES, BaseImage, read_base, read_manifest
from layerforge.errors import ImageError, RegistryError, StoreError, VerificationError
from layerforge.lock import LockedBase
from layerforge.oci import DOCKER_INDEX, INDEX, MANIFEST, Descriptor, Index, Platform, decode
from layerforge.origin import Repository
from layerforge.progress import SILENCE, Reporter
from layerforge.reference import DOCKER_HUB, Reference, parse_reference
from layerforge.store import Store

_LARGEST_CONFIG = 16 << 20


def lock_base(
    reference: str, platform: Platform, store: Store, reporter: Reporter = SILENCE
) -> tuple[LockedBase, BaseImage]:
    """What the image ``reference`` is for ``platform`` now; its manifest and configuration are then in ``store``.

    Raises:
        RegistryError: it cannot be had.
        ImageError: there is none for ``platform``, or it cannot be a base.
        VerificationError: the registry gave something else than it named.
    """
    from layerforge.registry import Registry

    where = parse_reference(reference)
    reporter.start(f"look up {reference}")
    with Registry(where, push=False, reporter=reporter) as registry:
        try:
            found, data = registry.get_manifest(where.digest or where.tag)
            if found.media_type in (INDEX, DOCKER_INDEX):
                found, data = registry.get_manifest(_choose(found, data, platform, reference).digest)
            found = _settle_type(found, data)
            config = read_manifest(found, data, reference).config
            if config.size > _LARGEST_CONFIG:
                raise ImageError(f"has a configuration of {config.size:,} bytes", where=reference)
            with registry.read_blob(config) as reader:
                config_data = reader.readall()
        except RegistryError as error:
            if error.status == 404 and not error.hint:
                error.hint = f"is the name of the base right? {reference} means {format_reference(where)}"
            raise
    base = read_base(format_reference(where), found, data, config_data, platform)
    store.put_bytes(data, found.media_type)
    store.put_bytes(config_data, config.media_type)
    _remember(base, where, store)
    reporter.finish(f"look up {reference}", found.digest.short)
    return LockedBase(reference, found.digest, found.size, found.media_type), base


def load_base(locked: LockedBase, platform: Platform, store: Store, reporter: Reporter = SILENCE) -> BaseImage:
    """The base that a lock names: the store's copy, else fetched by its digest.

    Raises:
        RegistryError: the store lacks it and the registry does not give it.
        ImageError: it is not what a lock can name.
    """
    where = parse_reference(locked.reference)
    manifest = Descriptor(locked.media_type, locked.manifest, locked.size)
    try:
        data = store.read_blob(manifest)
        config = read_manifest(manifest, data, locked.reference).config
        config_data = store.read_blob(config)
    except (StoreError, VerificationError):
        pinned = f"{where.registry}/{where.repository}@{locked.manifest}"
        found, _ = lock_base(pinned, platform, store, reporter)
        if found.manifest != locked.manifest:
            raise ImageError("is an index, where the lock names one platform's image", where=pinned) from None
        data = store.read_blob(manifest)
        config_data = store.read_blob(read_manifest(manifest, data, locked.reference).config)
    base = read_base(format_reference(where), manifest, data, config_data, platform)
    _remember(base, where, store)
    return base


def format_reference(reference: Reference) -> str:
    """``reference`` in full, with ``docker.io`` for Docker Hub, as the annotation for a base's name wants it."""
    text = str(reference)
    return "docker.io" + text[len(DOCKER_HUB) :] if reference.registry == DOCKER_HUB else text


def _choose(found: Descriptor, data: bytes, platform: Platform, reference: str) -> Descriptor:
    """The entry of an index for ``platform``; of several variants of it the first."""
    index = decode(data, Index, what=f"{reference}: index {found.digest}")
    images = [entry for entry in index.manifests if entry.media_type in MANIFEST_TYPES and entry.platform]
    for entry in images:
        assert entry.platform is not None
        if (entry.platform.os, entry.platform.architecture) == (platform.os, platform.architecture):
            return entry
    known = [str(entry.platform) for entry in images if entry.platform and entry.platform.os != "unknown"]
    hint = f"it is for {', '.join(dict.fromkeys(known))}" if known else ""
    raise ImageError(f"has no image for {platform}", where=reference, hint=hint)


def _settle_type(found: Descriptor, data: bytes) -> Descriptor:
    """The media type that the document gives itself, where a registry only calls it JSON."""
    if found.media_type in MANIFEST_TYPES or b"schemaVersion" not in data:
        return found
    if found.media_type in ("application/json", "text/plain", "application/octet-stream"):
        return Descriptor(MANIFEST, found.digest, found.size)
    return found


def _remember(base: BaseImage, where: Reference, store: Store) -> None:
    repository = Repository(where.registry, where.repository)
    for layer in base.layers:
        store.add_origin(layer.descriptor, repository)
