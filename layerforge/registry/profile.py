"""What registries are known to take, and what has been learned of one. Pure.

Sources: the distribution specification (``OCI-Chunk-Min-Length``); replicate/cog ``pkg/registry/config.go`` for the
variables, their defaults and ``OCI-Chunk-Max-Length``; GitHub's documentation of its container registry (10 GB a
layer); for the rest what clients of these registries report: ghcr.io answers 416 to a PATCH above 4 MiB, Google's
registries take a blob in one piece only, and proxies cut bodies at 100 or 500 MB.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from layerforge.errors import LayerforgeError

MIB = 1 << 20
_GB = 1_000_000_000
_MARGIN = 64 << 10
_STEPS = (480 * MIB, 95 * MIB, 4 * MIB)
"""Sizes in bytes that are tried one after another when a body was too large: below 500 MB, below 100 MB, ghcr.io's."""


class Profile(msgspec.Struct, frozen=True):
    """Limits of one registry, all in bytes; 0 means none.

    ``most_body``: of the body of any request. ``most_chunk``: of a PATCH. ``most_blob``: of a whole blob. Without
    ``chunks`` a blob must come in one PUT.
    """

    most_body: int = 0
    most_chunk: int = 0
    most_blob: int = 0
    chunks: bool = True


_KNOWN = {
    "ghcr.io": Profile(most_chunk=4 * MIB, most_blob=10 * _GB),
    "gcr.io": Profile(chunks=False),
    "pkg.dev": Profile(chunks=False),
}


def find_profile(host: str) -> Profile:
    """What is known of the registry at ``host`` beforehand."""
    name = host.partition(":")[0]
    return next((known for suffix, known in _KNOWN.items() if name == suffix or name.endswith("." + suffix)), Profile())


def learn_limit(profile: Profile, size: int) -> Profile | None:
    """``profile`` after a body of ``size`` bytes was too large; None when there is nothing smaller to try."""
    smaller = next((step for step in _STEPS if step < size), 0)
    if not smaller or not profile.chunks:
        return None
    return msgspec.structs.replace(profile, most_body=smaller)


class Settings(msgspec.Struct, frozen=True):
    """What the user wants. ``chunk``: bytes of a PATCH; blobs of more than ``threshold`` bytes are cut into such ones.

    ``jobs``: blobs on their way at a time.
    """

    chunk: int = 96 * MIB
    threshold: int = 1024 * MIB
    jobs: int = 4


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Cog's variables for pushing, where they are set.

    Raises:
        LayerforgeError: one of them is not a positive whole number.
    """
    default = Settings()
    return Settings(
        _read_number(environment, "COG_PUSH_DEFAULT_CHUNK_SIZE", default.chunk),
        _read_number(environment, "COG_PUSH_MULTIPART_THRESHOLD", default.threshold),
        min(_read_number(environment, "COG_PUSH_CONCURRENCY", default.jobs), 64),
    )


def _read_number(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, "")
    if not text:
        return default
    if not text.isascii() or not text.isdecimal() or int(text) == 0:
        hint = "give a whole number greater than 0, or leave it unset"
        raise LayerforgeError(f"{name} is not a positive number: {text!r}", hint=hint)
    return int(text)


def choose_chunk(size: int, profile: Profile, settings: Settings, headers: Mapping[str, str]) -> int:
    """Bytes of each PATCH for a blob of ``size`` bytes; 0 when it goes in one PUT.

    ``headers`` are those of the answer that began the upload, in lower case.
    """
    if not profile.chunks or size == 0:
        return 0
    announced = _read_header(headers, "oci-chunk-max-length")
    limits = [profile.most_body, profile.most_chunk, announced - _MARGIN if announced > 2 * _MARGIN else announced]
    most = min((limit for limit in limits if limit), default=0)
    whole = min((limit for limit in (profile.most_body, settings.threshold) if limit), default=size)
    if size <= whole:
        return 0
    chunk = min(settings.chunk, most) if most else settings.chunk
    return max(chunk, _read_header(headers, "oci-chunk-min-length"))


def _read_header(headers: Mapping[str, str], name: str) -> int:
    text = headers.get(name, "").strip()
    return int(text) if text.isascii() and text.isdecimal() else 0
