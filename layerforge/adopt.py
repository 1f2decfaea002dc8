"""An image wherever it is, made known to the store: documents are copied, layers stay where they are.

After that it is like any image of the store: it can be looked at, compared, delivered.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from layerforge.errors import ImageError, LayerforgeError
from layerforge.oci import (
    DOCKER_INDEX,
    INDEX,
    REF_NAME,
    Descriptor,
    Index,
    Manifest,
    Platform,
    decode,
)
from layerforge.origin import Repository
from layerforge.progress import Reporter
from layerforge.reference import DOCKER_HUB, parse_reference
from layerforge.registry import Registry
from layerforge.segments import FileState, Segment, Segments
from layerforge.store import Store

_MOST_MANIFESTS = 64
_LARGEST_DOCUMENT = 16 << 20


class Adopted(msgspec.Struct, frozen=True):
    """An image or index in the store. ``where`` names it for people."""

    descriptor: Descriptor
    where: str


def adopt_image(text: str, store: Store, reporter: Reporter) -> Adopted:
    """The image that ``text`` names.

    ``dir:PATH[:TAG]``, or a folder with an ``oci-layout``, is a layout; ``store:NAME`` is a tag of the store, and so is
    a name without a registry that the store knows; everything else is looked for in its registry.

    Raises:
        InvalidReference: it is no name.
        LayerforgeError: it is not there, or cannot be read.
    """
    kind, _, rest = text.partition(":")
    if kind == "store":
        return _find_tag(rest, store)
    if kind == "dir" and rest:
        path, _, tag = (rest, "", "") if Path(rest).is_dir() else rest.rpartition(":")
        return _adopt_layout(Path(path or rest), tag, store)
    if (Path(text) / "oci-layout").is_file():
        return _adopt_layout(Path(text), "", store)
    reference = parse_reference(text)
    if reference.registry == DOCKER_HUB and store.resolve_tag(str(reference)) is not None:
        return _find_tag(text, store)
    repository = Repository(reference.registry, reference.repository)
    with Registry(reference, push=False, reporter=reporter) as registry:
        found, data = registry.get_manifest(reference.digest or reference.tag)

        def adopt(descriptor: Descriptor, data: bytes) -> None:
            store.put_bytes(data, descriptor.media_type)
            children, manifest = _understand(descriptor, data, text)
            for child in children:
                adopt(child, registry.get_manifest(child.digest)[1])
            if manifest is not None:
                for blob in (manifest.config, *manifest.layers):
                    store.add_origin(blob, repository)
                if not store.has_blob(manifest.config) and manifest.config.size <= _LARGEST_DOCUMENT:
                    with registry.read_blob(manifest.config) as reader:
                        store.put_bytes(reader.readall(), manifest.config.media_type)

        adopt(found, data)
    return Adopted(found, str(reference))


def choose_manifests(descriptor: Descriptor, store: Store, platform: Platform | None) -> list[Descriptor]:
    """The manifests of images below ``descriptor``; of an index those of ``platform``, or all.

    Raises:
        ImageError: there is none.
    """
    if descriptor.media_type not in (INDEX, DOCKER_INDEX):
        return [descriptor]
    index = decode(store.read_blob(descriptor), Index, what=f"index {descriptor.digest}")
    images = [child for child in index.manifests if child.platform is None or child.platform.os != "unknown"]
    chosen = [child for child in images if platform in (None, child.platform)]
    if not chosen:
        found = ", ".join(str(child.platform) for child in images) or "nothing"
        raise ImageError(f"has no image for {platform}, but for {found}", where=str(descriptor.digest))
    return chosen


def _find_tag(name: str, store: Store) -> Adopted:
    reference = parse_reference(name)
    descriptor = store.resolve_tag(str(reference))
    if descriptor is None:
        hint = "`layerforge build` makes it; an image in a registry is named with the registry"
        raise LayerforgeError("the store has no image of this name", where=name, hint=hint)
    plain = msgspec.structs.replace(descriptor, annotations={})
    return Adopted(plain, str(reference))


def _understand(descriptor: Descriptor, data: bytes, where: str) -> tuple[tuple[Descriptor, ...], Manifest | None]:
    """The children of an index, or the manifest of an image."""
    if descriptor.media_type not in (INDEX, DOCKER_INDEX):
        return (), decode(data, Manifest, what=f"{where}: the manifest")
    children = decode(data, Index, what=f"{where}: the index").manifests
    if len(children) > _MOST_MANIFESTS:
        raise ImageError(f"the index lists {len(children)} manifests", where=where)
    return children, None


def _adopt_layout(folder: Path, tag: str, store: Store) -> Adopted:
    where = f"dir:{folder}" + (f":{tag}" if tag else "")
    try:
        index = decode((folder / "index.json").read_bytes(), Index, what=f"{where}: index.json")
    except OSError as error:
        raise LayerforgeError(f"is not an image layout: {error.strerror}", where=str(folder)) from error
    entries = [entry for entry in index.manifests if not tag or entry.annotations.get(REF_NAME) == tag]
    if len(entries) != 1:
        names = ", ".join(entry.annotations.get(REF_NAME, str(entry.digest)) for entry in index.manifests) or "nothing"
        hint = f"name one of its tags: dir:{folder}:TAG" if index.manifests else ""
        raise LayerforgeError(f"holds {names}", where=where, hint=hint)

    def adopt(descriptor: Descriptor) -> None:
        path = _blob(folder, descriptor)
        if descriptor.size > _LARGEST_DOCUMENT:
            raise ImageError(f"a document of {descriptor.size:,} bytes is no manifest", where=str(path))
        data = path.read_bytes()
        if store.put_bytes(data, descriptor.media_type).digest != descriptor.digest:
            raise ImageError("its content is not that of its name", where=str(path))
        children, manifest = _understand(descriptor, data, where)
        for child in children:
            adopt(child)
        for blob in (manifest.config, *manifest.layers) if manifest is not None else ():
            if not store.has_blob(blob):
                path = _blob(folder, blob)
                store.put_segments(blob.digest, Segments((Segment(path=str(path), state=FileState.of(path.stat())),)))

    try:
        adopt(msgspec.structs.replace(entries[0], annotations={}))
    except OSError as error:
        raise LayerforgeError(f"cannot be read: {error.strerror}", where=str(error.filename or folder)) from error
    return Adopted(msgspec.structs.replace(entries[0], annotations={}), where)


def _blob(folder: Path, descriptor: Descriptor) -> Path:
    return (folder / "blobs" / "sha256" / descriptor.digest.hex).absolute()
