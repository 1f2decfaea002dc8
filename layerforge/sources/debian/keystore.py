"""Java's store of trusted certificates, ``/etc/ssl/certs/java/cacerts``, which ca-certificates-java's hook writes.

Format: a Java key store, version 2 (OpenJDK, ``sun/security/provider/JavaKeyStore.java``): trusted certificates by
alias, and at the end a SHA-1 over the password, a constant and everything before. Debian's password is ``changeit``,
its aliases are ``debian:`` and the name in ``/etc/ssl/certs``. Every Java reads this format.
"""

from __future__ import annotations

import base64
import hashlib
import re
import struct
from collections.abc import Iterable

from layerforge.layers.headers import EPOCH
from layerforge.sources.debian.rootstate import Entries, file_entry

PATH = "etc/ssl/certs/java/cacerts"

_PASSWORD = "changeit"  # public: it guards against damage, and is the same on every Debian
_SALT = b"Mighty Aphrodite"
_MAGIC, _VERSION, _TRUSTED = 0xFEEDFEED, 2, 2
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", re.DOTALL)


def keystore_state(certificates: Iterable[tuple[str, bytes]]) -> Entries:
    """The store for ``certificates``: the name of each in ``/etc/ssl/certs`` (``ISRG_Root_X1.pem``), and its PEM.

    The time of every certificate is that of every file. Names that differ in case only are one, the last wins.
    """
    by_alias: dict[str, bytes] = {}
    for name, pem in certificates:
        match = _PEM.search(pem)
        if match:
            by_alias[f"debian:{name}".lower()] = base64.b64decode(b"".join(match[1].split()))
    return {PATH: file_entry(encode_keystore(by_alias))}


def encode_keystore(certificates: dict[str, bytes]) -> bytes:
    """The key store of trusted certificates, in DER, by alias."""
    data = struct.pack(">III", _MAGIC, _VERSION, len(certificates))
    for alias, der in sorted(certificates.items()):
        data += struct.pack(">I", _TRUSTED) + _encode_text(alias) + struct.pack(">Q", EPOCH * 1000)
        data += _encode_text("X.509") + struct.pack(">I", len(der)) + der
    password = _PASSWORD.encode("utf-16-be")
    return data + hashlib.sha1(password + _SALT + data, usedforsecurity=False).digest()


def _encode_text(text: str) -> bytes:
    """``DataOutput.writeUTF``, for texts without NUL and characters beyond the Basic Multilingual Plane."""
    encoded = text.encode()
    return struct.pack(">H", len(encoded)) + encoded
