"""The CA certificates of the root, as ca-certificates' ``update-ca-certificates`` arranges them.

One bundle, and for OpenSSL's folder lookup (which is what Python's ``ssl`` uses on Debian) a link per certificate
named after the hash of its subject. The hash is that of ``X509_NAME_hash`` (openssl, ``crypto/x509/x509_cmp.c`` and
``x_name.c``): SHA-1 over the subject with every string as lower-case UTF-8 and white space collapsed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator, Mapping

from layerforge.errors import LayerError
from layerforge.sources.debian.rootstate import Entries, file_entry, link_entry

FOLDER = "usr/share/ca-certificates/"
"""Where packages put certificates."""
LOCAL = "usr/local/share/ca-certificates/"
"""Where the site's certificates lie."""
BUNDLE = "etc/ssl/certs/ca-certificates.crt"
BUNDLES = (
    *(BUNDLE, "etc/pki/tls/certs/ca-bundle.crt", "etc/ssl/ca-bundle.pem", "etc/pki/tls/cacert.pem"),
    "etc/ssl/cert.pem",
)
"""Where distributions keep all certificates in one file (Go, ``crypto/x509/root_linux.go``), Debian's place first."""
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", re.DOTALL)
_STRINGS = {12: "utf-8", 19: "ascii", 20: "latin-1", 22: "ascii", 26: "ascii", 28: "utf-32-be", 30: "utf-16-be"}
"""ASN.1 string types that the canonical form converts, and how each is encoded."""


def certificate_state(
    files: Mapping[str, bytes], *, bundle: bytes = b"", links: Mapping[str, str] | None = None
) -> Entries:
    """Bundle and links for the certificates among ``files`` (by path); nothing where there are none.

    ``bundle`` and ``links`` (targets by path) are those that the root has already; they are added to.

    Raises:
        LayerError: a certificate is damaged.
    """
    packaged = sorted(path for path in files if path.startswith(FOLDER) and path.endswith(".crt"))
    local = sorted(path for path in files if path.startswith(LOCAL) and path.endswith(".crt"))
    if not packaged and not local:
        return {}
    entries: Entries = {}
    taken = dict(links or {})
    parts = [bundle] if bundle else []
    named: list[tuple[str, bytes]] = []
    for path in (*packaged, *local):
        content = files[path] if files[path].endswith(b"\n") else files[path] + b"\n"
        if content not in bundle:
            parts.append(content)
        pem = _pem_name(path)
        entries[f"etc/ssl/certs/{pem}"] = link_entry(f"/{path}")
        named.append((pem, content))
    for pem, content in sorted(named):
        try:
            digest = subject_hash(content)
        except (ValueError, IndexError) as error:
            raise LayerError(f"{pem}: a damaged certificate ({error})") from error
        number = 0
        while taken.get(path := f"etc/ssl/certs/{digest}.{number}", pem) != pem:
            number += 1
        taken[path] = pem
        entries[path] = link_entry(pem)
    entries[BUNDLE] = file_entry(b"".join(parts))
    return entries


def count_certificates(text: bytes) -> int:
    """How many certificates a bundle has."""
    return len(_PEM.findall(text))


def _pem_name(name: str) -> str:
    stem = name.rpartition("/")[2].removesuffix(".crt")
    return re.sub(r"[()]", "=", re.sub(r"[ ,]", "_", stem)) + ".pem"


def subject_hash(pem: bytes) -> str:
    """The eight hexadecimal digits by which OpenSSL looks for the (first) certificate in ``pem``.

    Raises:
        ValueError: it is not a certificate.
    """
    match = _PEM.search(pem)
    if match is None:
        raise ValueError("no PEM certificate")
    try:
        der = base64.b64decode(b"".join(match[1].split()), validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from error
    (_, certificate), *_ = _parse(der)
    (_, to_be_signed), *_ = _parse(certificate)
    fields = [item for item in _parse(to_be_signed) if item[0] != 0xA0]  # [0] is the version
    _, subject = fields[4]  # serial number, algorithm, issuer, validity, subject
    canonical = b"".join(_encode(0x31, b"".join(map(_canonical, _parse(rdn)))) for _, rdn in _parse(subject))
    return hashlib.sha1(canonical, usedforsecurity=False).digest()[3::-1].hex()


def _parse(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each DER element in ``data``."""
    position = 0
    while position < len(data):
        tag, length = data[position], data[position + 1]
        position += 2
        if length & 0x80:
            count = length & 0x7F
            length = int.from_bytes(data[position : position + count], "big")
            position += count
        if position + length > len(data):
            raise ValueError("cut off")
        yield tag, data[position : position + length]
        position += length


def _encode(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def _canonical(attribute: tuple[int, bytes]) -> bytes:
    (tag, kind), (value_tag, value) = _parse(attribute[1])
    if value_tag in _STRINGS:
        text = value.decode(_STRINGS[value_tag])
        collapsed = re.sub(r"[ \t\n\v\f\r]+", " ", text.strip(" \t\n\v\f\r"))
        lowered = "".join(char.lower() if char.isascii() else char for char in collapsed)
        value_tag, value = 12, lowered.encode()
    return _encode(0x30, _encode(tag, kind) + _encode(value_tag, value))
