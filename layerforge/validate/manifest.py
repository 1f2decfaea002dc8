"""Manifests, indexes and the descriptors in them.

Source: OCI image specification 1.1, ``manifest.md``, ``image-index.md``, ``descriptor.md``, ``annotations.md``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import Any

from layerforge.oci import (
    CONFIG,
    INDEX,
    LAYER_GZIP,
    LAYER_TAR,
    LAYER_ZSTD,
    MANIFEST,
    Descriptor,
    Index,
    Manifest,
    decode,
)
from layerforge.validate.findings import Findings

_LAYERS = (LAYER_TAR, LAYER_GZIP, LAYER_ZSTD)
_NAME = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"  # RFC 6838, section 4.2
_MEDIA_TYPE = re.compile(f"{_NAME}/{_NAME}")
_RESERVED = "org.opencontainers."
_DEFINED = frozenset(
    {"created", "authors", "url", "documentation", "source", "version", "revision", "vendor", "licenses"}
)
_DEFINED |= {"ref.name", "title", "description", "base.digest", "base.name"}


def validate_manifest(data: bytes, descriptor: Descriptor) -> Manifest:
    """The manifest of one image.

    Raises:
        ImageError: everything that is wrong with it.
    """
    findings = Findings(f"manifest {descriptor.digest.short}")
    inspect_manifest(data, descriptor, findings)
    findings.check()
    return decode(data, Manifest)


def validate_index(data: bytes, descriptor: Descriptor) -> Index:
    """An index; the manifests it lists are not looked at.

    Raises:
        ImageError: everything that is wrong with it.
    """
    findings = Findings(f"index {descriptor.digest.short}")
    inspect_index(data, descriptor, findings)
    findings.check()
    return decode(data, Index)


def inspect_manifest(data: bytes, descriptor: Descriptor, findings: Findings) -> None:
    """Note what is wrong with a manifest."""
    document = _inspect_head(data, descriptor, MANIFEST, findings)
    if "manifests" in document:
        findings.add("manifests", "in a manifest: the document could be taken for an index as well")
    config = findings.get(document, "config", dict, needed=True)
    if config is not None:
        inspect_descriptor(config, "config", findings, (CONFIG,))
    layers = findings.get(document, "layers", list, needed=True)
    if layers == []:
        findings.add("layers", "is empty")
    for number, layer in enumerate(layers or []):
        inspect_descriptor(layer, f"layers[{number}]", findings, _LAYERS)


def inspect_index(data: bytes, descriptor: Descriptor, findings: Findings) -> None:
    """Note what is wrong with an index."""
    document = _inspect_head(data, descriptor, INDEX, findings)
    for key in ("config", "layers"):
        if key in document:
            findings.add(key, "in an index: the document could be taken for a manifest as well")
    seen: set[str] = set()
    for number, entry in enumerate(findings.get(document, "manifests", list, needed=True) or []):
        place = f"manifests[{number}]"
        inspect_descriptor(entry, place, findings, (MANIFEST, INDEX))
        if isinstance(entry, dict) and isinstance(entry.get("platform"), dict):
            platform = "/".join(str(entry["platform"].get(key, "")) for key in ("os", "architecture", "variant"))
            if platform in seen:
                findings.add(
                    f"{place}.platform", f"{platform.rstrip('/')} is listed twice: only the first is ever used"
                )
            seen.add(platform)


def _inspect_head(data: bytes, descriptor: Descriptor, media_type: str, findings: Findings) -> dict[str, Any]:
    findings.measure(data, descriptor)
    document = findings.parse(data)
    if descriptor.media_type != media_type:
        findings.add("", f"its descriptor says {descriptor.media_type}, not {media_type}")
    version = findings.get(document, "schemaVersion", int, needed=True)
    if version not in (None, 2):
        findings.add("schemaVersion", f"is {version}, not 2")
    own = findings.get(document, "mediaType", str, needed=True)
    if own not in (None, media_type):
        findings.add("mediaType", f"is {own}, not {media_type}")
    if "artifactType" in document:
        _inspect_media_type(document, "artifactType", "", findings)
    if document.get("subject") is not None:
        inspect_descriptor(document["subject"], "subject", findings)
    inspect_annotations(findings.get(document, "annotations", dict), "annotations", findings)
    return document


def inspect_descriptor(value: Any, place: str, findings: Findings, media_types: tuple[str, ...] = ()) -> None:
    """Note what is wrong with a descriptor; with ``media_types``, it must have one of these."""
    if not isinstance(value, dict):
        findings.add(place, "is not an object")
        return
    media_type = _inspect_media_type(value, "mediaType", place, findings)
    if media_type is not None and media_types and media_type not in media_types:
        findings.add(f"{place}.mediaType", f"is {media_type}; allowed here: {', '.join(media_types)}")
    digest = findings.get(value, "digest", str, place, needed=True)
    if digest is not None:
        findings.check_digest(digest, f"{place}.digest")
    size = findings.get(value, "size", int, place, needed=True)
    if size is not None and not 0 <= size < 1 << 63:
        findings.add(f"{place}.size", f"is {size}")
    if "artifactType" in value:
        _inspect_media_type(value, "artifactType", place, findings)
    for url in findings.get_strings(value, "urls", place):
        if not re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", url):
            findings.add(f"{place}.urls", f"{url!r} is not a URI")
    inspect_annotations(findings.get(value, "annotations", dict, place), f"{place}.annotations", findings)
    platform = findings.get(value, "platform", dict, place)
    if platform is not None:
        for key in ("os", "architecture"):
            if findings.get(platform, key, str, f"{place}.platform", needed=True) == "":
                findings.add(f"{place}.platform.{key}", "is empty")
        findings.get(platform, "variant", str, f"{place}.platform")
    embedded = findings.get(value, "data", str, place)
    if embedded is not None:
        _inspect_data(embedded, digest, size, f"{place}.data", findings)


def inspect_annotations(annotations: dict[str, Any] | None, place: str, findings: Findings) -> None:
    """Note what is wrong with annotations, or with labels, for which the same rules hold."""
    for key, value in (annotations or {}).items():
        path = f"{place}[{key!r}]"
        if not key:
            findings.add(path, "an empty key")
        if not isinstance(value, str):
            findings.add(path, "is not a string")
            continue
        if key.startswith(_RESERVED) and key.removeprefix(_RESERVED + "image.") not in _DEFINED:
            findings.add(path, "is not defined by the specification, to which this prefix is reserved")
        if key == "org.opencontainers.image.created":
            findings.check_time(value, path)
        if key == "org.opencontainers.image.base.digest":
            findings.check_digest(value, path)


def _inspect_media_type(document: dict[str, Any], key: str, place: str, findings: Findings) -> str | None:
    value = findings.get(document, key, str, place, needed=True)
    if value is not None and not _MEDIA_TYPE.fullmatch(value):
        findings.add(f"{place}.{key}" if place else key, f"{value!r} is not a media type")
    return value


def _inspect_data(text: str, digest: str | None, size: int | None, place: str, findings: Findings) -> None:
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error:
        findings.add(place, "is not base64")
        return
    if len(data) != size or f"sha256:{hashlib.sha256(data).hexdigest()}" != digest:
        findings.add(place, "is not the content that digest and size describe")
