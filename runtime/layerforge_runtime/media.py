"""Names and media types of files, and data URLs. Pure."""

from __future__ import annotations

import binascii
import posixpath
from urllib.parse import unquote, unquote_to_bytes, urlsplit

NAME_LIMIT = 200
"""In bytes. File systems allow 255, and models append suffixes to the names of their inputs."""

# The standard library's table without the machine's /etc/mime.types, which differs between images.
_MORE_TYPES = {
    ".avif": "image/avif",
    ".flac": "audio/flac",
    ".glb": "model/gltf-binary",
    ".gltf": "model/gltf+json",
    ".heic": "image/heic",
    ".jsonl": "application/jsonl",
    ".m4a": "audio/mp4",
    ".md": "text/markdown",
    ".mkv": "video/x-matroska",
    ".mp3": "audio/mpeg",
    ".mp4": "video/mp4",
    ".obj": "model/obj",
    ".ogg": "audio/ogg",
    ".opus": "audio/ogg",
    ".ply": "model/ply",
    ".stl": "model/stl",
    ".wav": "audio/wav",
    ".webm": "video/webm",
    ".webp": "image/webp",
    ".yaml": "application/yaml",
    ".zip": "application/zip",
}
_MORE_SUFFIXES = {
    "image/jpeg": ".jpg",
    "image/jpg": ".jpg",
    "text/plain": ".txt",
    "audio/x-wav": ".wav",
    "audio/wave": ".wav",
    "audio/vnd.wave": ".wav",
    "application/octet-stream": "",
    **{kind: suffix for suffix, kind in _MORE_TYPES.items() if suffix != ".opus"},
}


def guess_type(name: str) -> str:
    """The media type of a file called ``name``; ``application/octet-stream`` when the name does not tell."""
    suffix = posixpath.splitext(name)[1].lower()
    return _MORE_TYPES.get(suffix) or _standard()[0].get(suffix) or "application/octet-stream"


def guess_suffix(media_type: str) -> str:
    """What names of files of ``media_type`` end with, with the dot; empty when it is not known."""
    media_type = media_type.lower()
    if media_type in _MORE_SUFFIXES:
        return _MORE_SUFFIXES[media_type]
    return _standard()[1].get(media_type, [""])[0]


def _standard() -> tuple[dict[str, str], dict[str, list[str]]]:
    import mimetypes

    table = mimetypes.MimeTypes()
    return table.types_map[True], table.types_map_inv[True]  # type: ignore[return-value]  # typeshed has it wrong


def file_name(url: str) -> str:
    """A name for a file from ``url`` that is safe as the last part of a path."""
    if url[:5].lower() == "data:":
        media_type = url[5 : url.find(",")].partition(";")[0]
        return f"file{guess_suffix(media_type or 'text/plain')}"
    name = unquote(posixpath.basename(urlsplit(url).path), errors="replace")
    name = "".join("_" if character in "/\0" else character for character in name)
    encoded = name.encode("utf-8", "replace")
    if len(encoded) > NAME_LIMIT:
        stem, suffix = posixpath.splitext(name)
        suffix = suffix if len(suffix) <= 20 else ""
        name = stem.encode("utf-8", "replace")[: NAME_LIMIT - len(suffix.encode())].decode("utf-8", "ignore") + suffix
    return name if name not in ("", ".", "..") else "file"


def decode_data_url(url: str) -> bytes:
    """The bytes in a data URL (RFC 2397).

    Raises:
        ValueError: it has no comma, or what should be base64 is not.
    """
    comma = url.find(",")
    if comma < 0:
        raise ValueError("a data URL needs a comma before its data")
    base64 = url[:comma].rpartition(";")[2].strip().lower() == "base64"
    payload = url[comma + 1 :]  # hundreds of megabytes, perhaps: no more copies than need be
    data = unquote_to_bytes(payload) if not base64 or "%" in payload else payload.encode()
    if not base64:
        return data
    if b"\n" in data or b" " in data or b"\r" in data:
        data = data.translate(None, b" \t\r\n")
    if len(data) % 4:  # without padding, as browsers accept it
        data += b"=" * (-len(data) % 4)
    return decode_base64(data)


def decode_base64(data: bytes) -> bytes:
    """The bytes in base64 with its padding and without line ends.

    Raises:
        ValueError: it is not that.
    """
    try:
        decoded = binascii.a2b_base64(data)
    except binascii.Error as error:
        raise ValueError(f"the data is not valid base64: {error}") from None
    # It skips what is not base64, and ends at padding.
    if len(data) % 4 or len(decoded) != len(data) // 4 * 3 - (len(data) - len(data.rstrip(b"="))):
        raise ValueError("the data is not valid base64")
    return decoded


def data_url(content: bytes, media_type: str) -> bytes:
    """``content`` as a data URL."""
    return b"".join((b"data:", media_type.encode(), b";base64,", binascii.b2a_base64(content, newline=False)))
