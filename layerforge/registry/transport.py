"""Single HTTP exchanges with a registry: connections, trust, proxies. Nothing is repeated or followed here.

Trusts what the system trusts, or the bundle that ``SSL_CERT_FILE``, ``REQUESTS_CA_BUNDLE`` or ``CURL_CA_BUNDLE`` names.
Proxies come from the environment; loopback addresses never go through one, as in Go's ``net/http``.
"""

from __future__ import annotations

import os
import ssl
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from layerforge import __version__
from layerforge.errors import RegistryError, SourceError
from layerforge.network import require_network
from layerforge.reference import Reference
from layerforge.registry.failures import Unreachable, redact

_CONNECT = 15.0
_SEND = 300.0  # seconds for one write of at most a CHUNK: slow lines are slow, not dead
_ANSWER = 60.0
_COMMIT = 900.0  # a registry may copy the whole blob before it answers
_LITTLE = 64 << 10
LARGEST_DOCUMENT = 4 << 20
"""Bytes of a manifest or error that are read; the distribution specification asks registries for as much."""


class Body(msgspec.Struct, frozen=True):
    """What a request carries: ``size`` bytes, given anew by each call of ``pieces``."""

    size: int
    pieces: Callable[[], Iterator[bytes | memoryview]]


class Answer(msgspec.Struct, frozen=True):
    """A response that has been read to its end. Header names are in lower case."""

    status: int
    reason: str
    headers: dict[str, str]
    body: bytes
    method: str
    url: str


class _Plain(HTTPConnection):
    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(_SEND)  # urllib3 would give every write the time for connecting


class _Secure(HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(_SEND)


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Plain


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _Secure


class Transport:
    """Connections to one registry and to wherever it points. Safe to use from several threads."""

    def __init__(self, connections: int = 8) -> None:
        self._connections = connections
        self._managers: dict[tuple[str, bool], urllib3.PoolManager] = {}

    def open(
        self, method: str, url: str, headers: Mapping[str, str], body: Body | None = None
    ) -> urllib3.BaseHTTPResponse:
        """Send one request and give the response, its body unread.

        Raises:
            Unreachable: no connection, or it broke before the response began.
            LayerforgeError: whatever ``body`` raised; the request was then cut off before its end.
        """
        require_network(redact(url))
        timeout = urllib3.Timeout(connect=_CONNECT, read=_COMMIT if body and body.size else _ANSWER)
        content: Any = None
        sent = {"User-Agent": f"layerforge/{__version__}", "Accept-Encoding": "identity", **headers}
        if body is not None:
            sent["Content-Length"] = str(body.size)
            content = body.pieces() if body.size else b""
        manager = self._manager(_find_proxy(url), url.startswith("https:"))
        try:
            return manager.urlopen(
                method,
                url,
                body=content,
                headers=sent,
                timeout=timeout,
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Unreachable.of(error, method, url) from error

    def exchange(self, method: str, url: str, headers: Mapping[str, str], body: Body | None = None) -> Answer:
        """Send one request and read the whole response, which must be small.

        Raises:
            Unreachable: no connection, or it broke.
            RegistryError: more than LARGEST_DOCUMENT came.
        """
        response = self.open(method, url, headers, body)
        return read_answer(response, method, url)

    def close(self) -> None:
        """Close idle connections."""
        for manager in self._managers.values():
            manager.clear()

    def _manager(self, proxy: str, secure: bool) -> urllib3.PoolManager:
        """The connections through ``proxy``, or direct ones. Reading the list of authorities takes time: TLS only."""
        manager = self._managers.get((proxy, secure))
        if manager is None:
            options: dict[str, Any] = {"maxsize": self._connections}
            if secure or proxy.startswith("https:"):
                options["ssl_context"] = make_context()
            manager = _make_proxy_manager(proxy, options) if proxy else urllib3.PoolManager(**options)
            manager.pool_classes_by_scheme = {"http": _PlainPool, "https": _SecurePool}
            manager = self._managers.setdefault((proxy, secure), manager)
        return manager


def _make_proxy_manager(proxy: str, options: dict[str, Any]) -> urllib3.PoolManager:
    credentials = urllib3.util.parse_url(proxy).auth
    headers = urllib3.make_headers(proxy_basic_auth=credentials) if credentials else None
    return urllib3.ProxyManager(proxy, proxy_headers=headers, **options)


def read_answer(response: urllib3.BaseHTTPResponse, method: str, url: str) -> Answer:
    """Read ``response`` to its end and free its connection.

    Raises:
        Unreachable: the connection broke before the end.
        RegistryError: it is longer than LARGEST_DOCUMENT.
    """
    try:
        body = response.read(LARGEST_DOCUMENT + 1)
    except (urllib3.exceptions.HTTPError, OSError) as error:
        response.close()
        raise Unreachable.of(error, method, url) from error
    if len(body) > LARGEST_DOCUMENT:
        response.close()
        raise RegistryError(f"the registry sent more than {LARGEST_DOCUMENT:,} bytes", where=redact(url))
    response.release_conn()
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(response.status, response.reason or "", headers, body, method, url)


def discard(response: urllib3.BaseHTTPResponse) -> None:
    """Keep the connection when little is left of ``response``; close it otherwise."""
    try:
        rest = response.read(_LITTLE)
    except (urllib3.exceptions.HTTPError, OSError):
        rest = b""
    response.close() if len(rest) == _LITTLE else response.release_conn()


def make_context() -> ssl.SSLContext:
    """How servers are trusted.

    Raises:
        SourceError: the bundle that a variable names cannot be read.
    """
    for variable in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        bundle = os.environ.get(variable)
        if not bundle:
            continue
        try:
            folder = Path(bundle).is_dir()
            return ssl.create_default_context(cafile=None if folder else bundle, capath=bundle if folder else None)
        except (OSError, ssl.SSLError) as error:
            raise SourceError(f"{variable} names no list of certificates: {error}", where=bundle) from error
    return ssl.create_default_context()


def _find_proxy(url: str) -> str:
    parts = urlsplit(url)
    if Reference(parts.netloc.rpartition("@")[2], "").is_loopback or urllib.request.proxy_bypass(parts.hostname or ""):
        return ""
    proxies = urllib.request.getproxies()
    return proxies.get(parts.scheme) or proxies.get("all", "")
