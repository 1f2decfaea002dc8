"""Release files: whose signature they carry, how long they are valid, which index files they vouch for.

Format: https://wiki.debian.org/DebianRepository/Format#A.22Release.22_files. A Release is either clearsigned
(``InRelease``) or comes with a detached ``Release.gpg``; only the text that the signature covers is ever looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

import msgspec
import pysequoia

from layerforge.errors import ImageError, VerificationError
from layerforge.oci import Digest

_CLEARSIGNED = b"-----BEGIN PGP SIGNED MESSAGE-----"
_KEYRING_HINT = (
    "the keyring may be older than the release: upgrade debian-archive-keyring, "
    "or set LAYERFORGE_DEBIAN_KEYRING to a file with the archive's keys"
)


class IndexFile(msgspec.Struct, frozen=True):
    """An index that a Release names: ``path`` relative to the suite's folder, size in bytes."""

    path: str
    digest: Digest
    size: int

    @property
    def by_hash(self) -> str:
        """Its address by content, which stays valid while the mirror is being updated."""
        return f"{self.path.rpartition('/')[0]}/by-hash/SHA256/{self.digest.hex}"


class Release(msgspec.Struct, frozen=True):
    """The verified content of a Release file."""

    suite: str
    codename: str
    version: str
    architectures: tuple[str, ...]
    acquire_by_hash: bool
    files: dict[str, IndexFile]


def verify_clearsigned(data: bytes, keys: Sequence[bytes], where: str) -> bytes:
    """The signed text of an ``InRelease`` file; whatever stands before or behind it is dropped.

    Raises:
        VerificationError: no valid signature by one of ``keys``.
    """
    if _CLEARSIGNED not in data:
        raise VerificationError("is not a signed Release file", where=where, hint=_portal_hint(data))
    return _verify(keys, where, data, None)


def verify_detached(data: bytes, signature: bytes, keys: Sequence[bytes], where: str) -> bytes:
    """``data`` itself, once ``signature`` (``Release.gpg``) is found valid.

    Raises:
        VerificationError: no valid signature by one of ``keys``.
    """
    try:
        parsed = pysequoia.Sig.from_bytes(signature)
    except Exception as error:
        raise VerificationError(f"damaged signature: {_first_line(error)}", where=where) from error
    _verify(keys, where, data, parsed)
    return data


def _verify(keys: Sequence[bytes], where: str, data: bytes, signature: pysequoia.Sig | None) -> bytes:
    try:
        certificates = [certificate for key in keys for certificate in pysequoia.Cert.split_bytes(key)]
    except Exception as error:
        raise VerificationError(f"damaged keyring: {_first_line(error)}", where=where, hint=_KEYRING_HINT) from error
    asked: list[str] = []

    def find(identifiers: list[str]) -> list[pysequoia.Cert]:
        asked.extend(identifiers)
        return certificates

    try:
        result = pysequoia.verify(bytes=data, store=find, signature=signature)
    except Exception as error:  # pysequoia raises RuntimeError for everything, with a backtrace in its text
        made_by = f" (made by {', '.join(identifier[-16:].upper() for identifier in asked)})" if asked else ""
        message = f"no valid signature of a known archive key{made_by}: {_first_line(error)}"
        raise VerificationError(message, where=where, hint=_KEYRING_HINT) from error
    if not result.valid_sigs:
        raise VerificationError("no valid signature of a known archive key", where=where, hint=_KEYRING_HINT)
    return data if signature is not None else bytes(result.bytes or b"")


def parse_release(text: bytes, *, where: str, suite: str, now: datetime | None = None) -> Release:
    """The Release in ``text``, which must already be verified, for the suite that was asked for.

    ``now`` decides about ``Valid-Until``; None asks the clock.

    Raises:
        VerificationError: malformed, of another suite (a replayed file), or no longer valid.
    """
    fields, files = _parse_fields(text, where)
    names = {fields.get("Suite", ""), fields.get("Codename", "")}
    # Ubuntu's pockets have the release's code name, and their own name as Suite only.
    is_pocket = fields.get("Suite", "").startswith(f"{suite}-")
    if suite not in names or is_pocket:
        found = ", ".join(sorted(filter(None, names))) or "nothing"
        raise VerificationError(f"is the Release file of {found}, not of {suite}", where=where)
    expiry = fields.get("Valid-Until")
    if expiry is not None:
        end = _parse_date(expiry, where)
        if end <= (now or datetime.now(timezone.utc)):
            hint = "the mirror is out of date (choose another), or this machine's clock is wrong"
            raise VerificationError(f"expired on {expiry}", where=where, hint=hint)
    return Release(
        suite=suite,
        codename=fields.get("Codename", ""),
        version=fields.get("Version", ""),
        architectures=tuple(fields.get("Architectures", "").split()),
        acquire_by_hash=fields.get("Acquire-By-Hash", "") == "yes",
        files=files,
    )


def _parse_fields(text: bytes, where: str) -> tuple[dict[str, str], dict[str, IndexFile]]:
    fields: dict[str, str] = {}
    files: dict[str, IndexFile] = {}
    section = ""
    for line in text.decode("utf-8", "replace").splitlines():
        if line.startswith(" "):
            if section == "SHA256":
                words = line.split()
                try:
                    digest, size, path = Digest.from_hex(words[0]), int(words[1]), words[2]
                except (ImageError, ValueError, IndexError) as error:
                    raise VerificationError(f"malformed line {line.strip()!r}", where=where) from error
                files[path] = IndexFile(path, digest, size)
            continue
        section, separator, value = line.partition(":")
        if separator:
            fields[section] = value.strip()
    if not files:
        raise VerificationError("names no file with a SHA256 digest", where=where)
    return fields, files


def _parse_date(text: str, where: str) -> datetime:
    try:
        date = parsedate_to_datetime(text.replace("UTC", "+0000"))
    except ValueError as error:
        raise VerificationError(f"has an unreadable date {text!r}", where=where) from error
    return date if date.tzinfo else date.replace(tzinfo=timezone.utc)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _portal_hint(data: bytes) -> str:
    if data.lstrip()[:1] == b"<":
        return "the answer is a web page: a proxy or login page stands between this machine and the mirror"
    return "check the mirror's address"
