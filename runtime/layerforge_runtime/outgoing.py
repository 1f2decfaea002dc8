"""Requests that the server makes itself: downloads, uploads, webhooks. Blocking; threads call this.

Proxies are those of the environment (``http_proxy``, ``https_proxy``, ``no_proxy``); certificates are checked with the
system's list, or the one that ``SSL_CERT_FILE`` or ``REQUESTS_CA_BUNDLE`` names.
"""

from __future__ import annotations

import functools
import http.client
import ipaddress
import os
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from typing import IO, Any
from urllib.parse import urlsplit, urlunsplit

TIMEOUT = 60.0
"""Seconds that another server may stay silent."""


class PrivateAddress(OSError):
    """A URL leads to this machine or its network, and COG_DENY_PRIVATE_URLS forbids that."""


def open_url(
    url: str,
    *,
    method: str = "GET",
    data: bytes | IO[bytes] | Iterable[bytes] | None = None,
    headers: Mapping[str, str],
    secret_headers: Mapping[str, str] | None = None,
    timeout: float = TIMEOUT,
    redirects: int = 10,
    deny_private: bool = False,
) -> Any:
    """Send a request, and follow redirects; the answer is read like a file and has to be closed.

    Args:
        url: http or https.
        data: the body; what is iterated may be iterated again, after a redirect.
        headers: sent to whoever the request is redirected to.
        secret_headers: sent to the first server only.
        timeout: seconds of silence.
        redirects: how many are followed.
        deny_private: refuse addresses that are not public, after each redirect too. The connection goes to the address
            that was checked; through a proxy it is the proxy that resolves the name once more.

    Raises:
        OSError: no answer (``urllib.error.URLError``), or one that is no success (``urllib.error.HTTPError``).
    """
    request = urllib.request.Request(url, data=data, headers=dict(headers), method=method)
    for name, value in (secret_headers or {}).items():
        request.add_unredirected_header(name, value)
    try:
        return _opener(redirects, deny_private).open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        raise
    except (ValueError, http.client.HTTPException) as error:  # a URL or an answer that is none
        raise OSError(str(error) or type(error).__name__) from error


@functools.lru_cache(maxsize=8)
def _opener(redirects: int, deny_private: bool) -> urllib.request.OpenerDirector:
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        _Plain(deny_private),
        _Secure(deny_private),
        _Redirects(redirects),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Also repeats requests with a body where the answer asks for that (307 and 308)."""

    def __init__(self, most: int) -> None:
        self.max_redirections = most  # type: ignore[misc]  # one handler for each number
        self.max_repeats = most  # type: ignore[misc]

    def http_error_302(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:
        if self.max_redirections == 0:
            return None
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if code in (307, 308) and req.data is not None:
            if hasattr(req.data, "seek"):
                req.data.seek(0)
            return urllib.request.Request(newurl, data=req.data, headers=req.headers, method=req.get_method())
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Plain(urllib.request.HTTPHandler):
    def __init__(self, deny_private: bool) -> None:
        super().__init__()
        self._deny_private = deny_private

    def http_open(self, req: Any) -> Any:
        return self.do_open(_connector(http.client.HTTPConnection, req, self._deny_private), req)


class _Secure(urllib.request.HTTPSHandler):
    def __init__(self, deny_private: bool) -> None:
        super().__init__()
        self._deny_private = deny_private

    def https_open(self, req: Any) -> Any:
        connector = _connector(http.client.HTTPSConnection, req, self._deny_private)
        return self.do_open(connector, req, context=_trust())


@functools.cache
def _trust() -> ssl.SSLContext:
    bundle = None if "SSL_CERT_FILE" in os.environ else os.environ.get("REQUESTS_CA_BUNDLE")
    return ssl.create_default_context(cafile=bundle if bundle and os.path.isfile(bundle) else None)


def _connector(kind: type[http.client.HTTPConnection], request: Any, deny_private: bool) -> Any:
    """What makes the connection for ``request``: ``kind``, or one that goes to checked addresses only."""
    if not deny_private:
        return kind
    host = urlsplit(request.full_url).hostname or ""
    if request.host != urlsplit(request.full_url).netloc:  # the request goes to a proxy
        _resolve(host, None)
        return kind

    def connect(*args: Any, **options: Any) -> http.client.HTTPConnection:
        connection = kind(*args, **options)
        connection._create_connection = _connect_checked  # type: ignore[attr-defined]
        return connection

    return connect


def _connect_checked(address: tuple[str, int], timeout: Any = TIMEOUT, source_address: Any = None) -> socket.socket:
    failure: OSError = OSError(f"{address[0]} has no address")
    for family, sockaddr in _resolve(*address):
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            connection.settimeout(timeout)
            if source_address:
                connection.bind(source_address)
            connection.connect(sockaddr)
            return connection
        except OSError as error:
            connection.close()
            failure = error
    raise failure


def _resolve(host: str, port: int | None) -> list[tuple[int, Any]]:
    """The addresses of ``host``.

    Raises:
        PrivateAddress: one of them is not public.
    """
    found: list[tuple[int, Any]] = []
    for family, _, _, _, sockaddr in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        if not is_public(str(sockaddr[0])):
            raise PrivateAddress(f"{host} is at an address that is not public (COG_DENY_PRIVATE_URLS)")
        found.append((family, sockaddr))
    return found


def is_public(address: str) -> bool:
    """Whether an IP address is one of the internet, and not of this machine, its network or a group."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is None and ip in _TRANSLATED:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            ip = inner
    return ip.is_global and not ip.is_multicast and ip not in _PROTOCOLS


_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")  # IPv4 behind NAT64, RFC 6052
_PROTOCOLS = ipaddress.IPv4Network("192.0.0.0/24")  # RFC 6890; older Pythons take part of it for global


def redact(url: str) -> str:
    """``url`` without what may be secret: user, password, query and fragment."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
