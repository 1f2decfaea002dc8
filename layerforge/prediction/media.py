"""Files as data URLs, and media types as file names have them. Pure: the machine's own ``mime.types`` is not asked."""

from __future__ import annotations

import base64
import binascii
import mimetypes
from pathlib import PurePath
from urllib.parse import unquote_to_bytes

OCTETS = "application/octet-stream"

# What Python's table lacks, has only in newer versions, or calls by a rarer name.
_EXTENSIONS = {
    "application/gzip": ".gz",
    "application/jsonl": ".jsonl",
    "application/x-ndjson": ".ndjson",
    "application/x-npy": ".npy",
    "application/yaml": ".yaml",
    "audio/flac": ".flac",
    "audio/mp4": ".m4a",
    "audio/mpeg": ".mp3",
    "audio/ogg": ".oga",
    "audio/wav": ".wav",
    "audio/x-wav": ".wav",
    "audio/webm": ".weba",
    "image/avif": ".avif",
    "image/bmp": ".bmp",
    "image/heic": ".heic",
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/tiff": ".tiff",
    "image/webp": ".webp",
    "model/gltf-binary": ".glb",
    "model/gltf+json": ".gltf",
    "model/obj": ".obj",
    "text/csv": ".csv",
    "text/html": ".html",
    "text/markdown": ".md",
    "text/plain": ".txt",
    "text/xml": ".xml",
    "video/mp4": ".mp4",
    "video/mpeg": ".mpeg",
    "video/ogg": ".ogv",
    "video/quicktime": ".mov",
    "video/webm": ".webm",
    "video/x-matroska": ".mkv",
    OCTETS: ".bin",
}
_TYPES = {extension: kind for kind, extension in reversed(_EXTENSIONS.items())} | {".jpeg": "image/jpeg"}
_python = mimetypes.MimeTypes()  # without arguments it reads no file


def guess_type(name: str) -> str:
    """The media type that a file called ``name`` probably has."""
    extension = PurePath(name).suffix.lower()
    return _TYPES.get(extension) or _python.types_map[True].get(extension) or OCTETS


def find_extension(media_type: str) -> str:
    """What the name of a file of this type ends in, with its dot; empty when nobody knows."""
    media_type = media_type.partition(";")[0].strip().lower()
    return _EXTENSIONS.get(media_type) or _python.guess_extension(media_type) or ""


def encode_data_url(data: bytes, media_type: str) -> str:
    """``data`` as a ``data:`` URL (RFC 2397)."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"


def decode_data_url(url: str) -> tuple[bytes, str]:
    """The content and the media type of a ``data:`` URL.

    Raises:
        ValueError: it is not one, or is damaged.
    """
    scheme, colon, rest = url.partition(":")
    head, comma, body = rest.partition(",")
    if scheme.lower() != "data" or not colon or not comma:
        raise ValueError("not a data URL")
    media_type, *parameters = head.split(";")
    if media_type == "None":  # what old versions of Cog write for an unknown type
        media_type = ""
    if "base64" not in parameters:
        return unquote_to_bytes(body), media_type or "text/plain"
    try:
        return base64.b64decode(unquote_to_bytes(body) if "%" in body else body, validate=True), media_type
    except binascii.Error as error:
        raise ValueError(f"damaged base64: {error}") from error
