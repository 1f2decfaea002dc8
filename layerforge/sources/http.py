"""HTTP for everything but registries: mirrors and package indexes.

Trusts what the system trusts (``SSL_CERT_FILE``, ``SSL_CERT_DIR``, else OpenSSL's default store), goes through the
proxy of the environment, and repeats only what is safe to repeat: GET. Who a server knows us as is looked up for each
request (``credentials.py``).
"""

from __future__ import annotations

import functools
import ssl
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit, urlunsplit

from layerforge import __version__
from layerforge.errors import SourceError
from layerforge.network import require_network
from layerforge.sources.credentials import find_login

if TYPE_CHECKING:
    import urllib3  # elsewhere only where a connection is opened: to be imported it opens a socket (is there IPv6?)


@functools.cache
def _pool(proxy: str) -> urllib3.PoolManager:
    import urllib3

    repeated = (429, 500, 502, 503, 504)
    options: dict[str, Any] = {
        "retries": urllib3.Retry(
            total=4, connect=2, backoff_factor=0.3, status_forcelist=repeated, raise_on_status=False
        ),
        "timeout": urllib3.Timeout(connect=15, read=60),
        "maxsize": 16,
        "ssl_context": ssl.create_default_context(),
        "headers": {"User-Agent": f"layerforge/{__version__}", "Accept-Encoding": "identity"},
    }
    return urllib3.ProxyManager(proxy, **options) if proxy else urllib3.PoolManager(**options)


def _proxy_for(url: str) -> str:
    parts = urlsplit(url)
    if urllib.request.proxy_bypass(parts.hostname or ""):
        return ""
    return urllib.request.getproxies().get(parts.scheme, "")


def without_user(url: str) -> str:
    """``url`` without user name and password."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def redact(url: str) -> str:
    """``url`` without user information, query and fragment."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


@contextmanager
def open_url(url: str, *, headers: dict[str, str] | None = None) -> Iterator[urllib3.BaseHTTPResponse]:
    """GET ``url`` (http or https; a ``file`` URL is opened) and give the response, its body unread.

    Raises:
        SourceError: no connection, or a status other than 200, or 206 to a Range (``error.status`` holds it; 0
            without an answer).
    """
    if url.startswith("file:"):
        with _open_file(url) as answer:
            yield answer
        return
    require_network(redact(url))
    import urllib3

    merged = {**_pool("").headers, **(headers or {})}
    login = find_login(url)
    if login is not None:
        merged.setdefault("Authorization", login.header)
    try:
        response = _pool(_proxy_for(url)).request("GET", without_user(url), preload_content=False, headers=merged)
    except urllib3.exceptions.HTTPError as error:
        raise _unreachable(url, error) from error
    try:
        if response.status != 200 and not (response.status == 206 and "Range" in merged):
            failure = SourceError(
                f"the server answered {response.status} {response.reason or ''}".rstrip(), where=redact(url)
            )
            if response.status in (401, 403):
                failure.hint = "set its user name and password in the index's URL, in ~/.netrc or in a keyring"
            failure.status = response.status  # type: ignore[attr-defined]
            raise failure
        yield response
    except urllib3.exceptions.HTTPError as error:
        raise _unreachable(url, error) from error
    finally:
        response.release_conn() if response.closed else response.close()


@contextmanager
def _open_file(url: str) -> Iterator[urllib3.HTTPResponse]:
    """A local file as the answer of a server, so that a folder can be a mirror."""
    import urllib3

    path = Path(unquote(urlsplit(url).path))
    try:
        file = path.open("rb")
    except OSError as error:
        failure = SourceError(f"cannot be read: {error.strerror}", where=url)
        failure.status = 404 if isinstance(error, FileNotFoundError) else 0  # type: ignore[attr-defined]
        raise failure from error
    with file:
        headers = {"Content-Length": str(path.stat().st_size)}
        yield urllib3.HTTPResponse(file, headers, 200, preload_content=False)


def _unreachable(url: str, error: Exception) -> SourceError:
    import urllib3

    reason = getattr(error, "reason", None) or error
    hint = "check the network, the proxy settings and the mirror's address"
    if isinstance(reason, urllib3.exceptions.SSLError):
        hint = "the system does not trust this server's certificate: set SSL_CERT_FILE to your site's CA bundle"
    failure = SourceError(f"cannot be reached: {reason}", where=redact(url), hint=hint)
    failure.status = 0  # type: ignore[attr-defined]
    return failure


def read_url(url: str, *, limit: int = 256 << 20) -> bytes:
    """The body at ``url``, at most ``limit`` bytes.

    Raises:
        SourceError: as :func:`open_url`, or the body is longer.
    """
    with open_url(url) as response:
        body = response.read(limit + 1)
    if len(body) > limit:
        raise SourceError(f"more than {limit:,} bytes", where=redact(url))
    return body
