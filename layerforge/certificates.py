"""The CA certificates of the site, which an image shall trust too: ``COG_CA_CERT``.

Its forms are those of Cog (``pkg/dockerfile/cacert.go``): a file, a folder of ``.crt`` and ``.pem`` files, PEM itself,
or PEM in base64.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from layerforge.errors import SourceError

VARIABLE = "COG_CA_CERT"
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----\s.*?-----END CERTIFICATE-----", re.DOTALL)
_HINT = f"{VARIABLE} may be a file, a folder with .crt or .pem files, the PEM text itself, or that in base64"


def read_site_certificates(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The certificates that ``COG_CA_CERT`` gives, each as PEM text with a line feed at its end, each once, sorted.

    Raises:
        SourceError: the variable's value is none of its forms, a file cannot be read, or holds no valid certificate.
    """
    value = environment.get(VARIABLE, "").strip()
    if not value:
        return ()
    found: dict[str, None] = {}
    for where, text in _read_texts(value):
        matches = _PEM.findall(text)
        if not matches or "PRIVATE KEY-----" in text:
            problem = "holds a private key" if matches else "holds no PEM certificate"
            raise SourceError(problem, where=where, hint=_HINT)
        for pem in matches:
            found[_normalize(pem, where)] = None
    return tuple(sorted(found))


def _read_texts(value: str) -> Iterator[tuple[str, str]]:
    if "-----BEGIN" in value:
        yield VARIABLE, value
        return
    path = Path(value)
    try:
        is_folder, exists = path.is_dir(), path.exists()
    except OSError:  # base64 is longer than a file name may be
        is_folder = exists = False
    if is_folder:
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in (".crt", ".pem") and file.is_file())
        if not files:
            raise SourceError("has no .crt or .pem file", where=value, hint=_HINT)
        yield from ((str(file), _read(file)) for file in files)
    elif exists:
        yield value, _read(path)
    else:
        yield VARIABLE, _decode(value)


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError as error:
        raise SourceError(f"cannot be read: {error.strerror}", where=str(path), hint=_HINT) from error


def _decode(value: str) -> str:
    try:
        text = base64.b64decode("".join(value.split()), validate=True).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        text = ""
    if "-----BEGIN" not in text:
        looks_like_path = "/" in value and len(value) < 200
        message = f"there is no file {value!r}" if looks_like_path else "its value is no certificate"
        raise SourceError(message, where=VARIABLE, hint=_HINT)
    return text


def _normalize(pem: str, where: str) -> str:
    """The certificate encoded anew, so that line ends and line lengths do not matter; checked by OpenSSL."""
    import ssl  # a build without such certificates need not wait for it

    try:
        der = ssl.PEM_cert_to_DER_cert(pem)
        ssl.create_default_context().load_verify_locations(cadata=der)
    except (ssl.SSLError, ValueError) as error:
        raise SourceError("holds a damaged certificate", where=where, hint=_HINT) from error
    return ssl.DER_cert_to_PEM_cert(der)
