"""Requests to one registry as its client wants them: the right scheme, authorized, redirects followed.

Our Authorization header goes to the registry's own origin only, never to where it redirects us.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from urllib.parse import urljoin, urlsplit, urlunsplit

import urllib3

from layerforge.errors import RegistryError
from layerforge.progress import Reporter
from layerforge.reference import DOCKER_HUB, Reference
from layerforge.registry.auth import Authenticator
from layerforge.registry.credentials import Credentials
from layerforge.registry.failures import TRANSIENT, Failure, Unreachable, make_refusal, redact
from layerforge.registry.retry import Retry
from layerforge.registry.transport import Answer, Body, Transport, discard, read_answer

_HUB_API = "registry-1.docker.io"
_API_VERSION = "docker-distribution-api-version"
_REDIRECTS = 5
_REPEATABLE = frozenset({"GET", "HEAD"})


class Session:
    """Sends requests to the registry of ``reference``.

    ``insecure`` True means plain HTTP, False HTTPS; None means HTTPS, except that a loopback address is asked by plain
    HTTP first. ``credentials`` are used instead of Docker's. Safe to use from several threads.
    """

    def __init__(
        self,
        reference: Reference,
        insecure: bool | None,
        retry: Retry,
        reporter: Reporter,
        credentials: Credentials | None = None,
    ) -> None:
        self.host = _HUB_API if reference.registry == DOCKER_HUB else reference.registry
        self.repository = reference.repository
        self.retry = retry
        self._transport = Transport()
        self._authenticator = Authenticator(reference.registry, self._exchange_token, reporter, credentials)
        self._scheme = ("http" if insecure else "https") if insecure is not None or not reference.is_loopback else ""
        self._choosing = threading.Lock()

    def close(self) -> None:
        """Close idle connections."""
        self._transport.close()

    # -- what the client uses --------------------------------------------------------------------------------

    def ask(self, method: str, path: str, scope: str, headers: Mapping[str, str] | None = None) -> Answer:
        """A GET or HEAD whose answer is small, repeated while that is promising. Any status may come back.

        Raises:
            Unreachable: no answer in all attempts.
            RegistryError: a transient refusal that did not go away, or the token server refused.
        """

        def once(_: int) -> Answer:
            answer = self.exchange(method, path, scope, headers)
            if answer.status in TRANSIENT:
                raise self.refuse(answer, scope)
            return answer

        return self.retry.repeat(once)

    def exchange(
        self, method: str, path: str, scope: str, headers: Mapping[str, str] | None = None, body: Body | None = None
    ) -> Answer:
        """One request, not repeated; ``path`` begins with ``/v2/`` or is a whole URL. Any status may come back.

        Raises:
            Unreachable: no answer.
            LayerforgeError: what ``body`` raised.
        """
        response, url = self._send(method, path, scope, headers or {}, body)
        return read_answer(response, method, url)

    def stream(self, path: str, scope: str, headers: Mapping[str, str]) -> tuple[urllib3.BaseHTTPResponse, str]:
        """A GET whose body the caller reads; the final URL comes with it. Not repeated."""
        return self._send("GET", path, scope, headers, None)

    def refuse(self, answer: Answer, scope: str, size: int = 0) -> Failure:
        """The error that ``answer`` amounts to."""
        authenticated = self._authenticator.has_credentials and bool(self._authenticator.header(scope))
        return make_refusal(answer, self.repository, authenticated=authenticated, size=size)

    def locate(self, answer: Answer) -> str:
        """The whole URL of the ``Location`` that ``answer`` names.

        A registry behind a TLS proxy may take itself to be reached by plain HTTP; its own host stays with HTTPS.

        Raises:
            RegistryError: there is none, or it would leave TLS for another host.
        """
        location = answer.headers.get("location", "")
        if not location:
            raise RegistryError("the registry's answer has no Location", where=f"{answer.method} {redact(answer.url)}")
        return self._follow(answer.url, location)

    # -- inside ----------------------------------------------------------------------------------------------

    def _send(
        self, method: str, path: str, scope: str, headers: Mapping[str, str], body: Body | None
    ) -> tuple[urllib3.BaseHTTPResponse, str]:
        if not path.startswith("/"):
            return self._send_authorized(method, path, scope, headers, body)
        if not self._scheme:
            with self._choosing:
                if not self._scheme:
                    return self._choose_scheme(method, path, scope, headers, body)
        return self._send_authorized(method, f"{self._scheme}://{self.host}{path}", scope, headers, body)

    def _choose_scheme(
        self, method: str, path: str, scope: str, headers: Mapping[str, str], body: Body | None
    ) -> tuple[urllib3.BaseHTTPResponse, str]:
        """Send to a loopback address by HTTP; if what answers there speaks TLS, by HTTPS."""
        plain: tuple[urllib3.BaseHTTPResponse, str] | None = None
        broken: Unreachable | None = None
        try:
            plain = self._send_authorized(method, f"http://{self.host}{path}", scope, headers, body)
        except Unreachable as error:
            if not error.closed:
                raise
            broken = error
        if plain and not (plain[0].status == 400 and _API_VERSION not in plain[0].headers):
            self._scheme = "http"
            return plain
        try:
            secure = self._send_authorized(method, f"https://{self.host}{path}", scope, headers, body)
        except Unreachable as error:
            if plain and error.trusted:
                self._scheme = "http"
                return plain
            if plain:
                plain[0].close()
            raise broken if broken and error.trusted else error from None
        if plain:
            discard(plain[0])
        self._scheme = "https"
        return secure

    def _send_authorized(
        self, method: str, url: str, scope: str, headers: Mapping[str, str], body: Body | None
    ) -> tuple[urllib3.BaseHTTPResponse, str]:
        answered = False
        for _ in range(_REDIRECTS + 2):
            own = _origin(url) == _origin(f"{urlsplit(url).scheme}://{self.host}")
            authorization = self._authenticator.header(scope) if own else ""
            sent = {**headers, "Authorization": authorization} if authorization else headers
            response = self._transport.open(method, url, sent, body)
            challenge = response.headers.get("www-authenticate", "")
            location = response.headers.get("location", "")
            if response.status == 401 and own and challenge and not answered:
                answered = True
                try:
                    if not self._authenticator.answer(challenge, scope, authorization, url):
                        return response, url
                except BaseException:
                    response.close()
                    raise
            elif location and _is_followed(method, response.status):
                url = self._follow(url, location)
            else:
                return response, url
            discard(response)
        raise RegistryError(f"more than {_REDIRECTS} redirects", where=f"{method} {redact(url)}")

    def _follow(self, url: str, location: str) -> str:
        target = urlsplit(urljoin(url, location))
        if target.scheme not in ("http", "https") or not target.netloc:
            raise RegistryError("the registry points at something that is no web address", where=redact(url))
        if urlsplit(url).scheme == "https" and target.scheme == "http":
            if target.netloc != urlsplit(url).netloc:
                raise RegistryError("the registry points at a place without TLS", where=redact(target.geturl()))
            target = target._replace(scheme="https")
        return urlunsplit(target._replace(fragment=""))

    def _exchange_token(self, method: str, url: str, headers: dict[str, str], body: Body | None) -> Answer:
        """Ask a token server. Asking for a token twice does no harm."""

        def once(_: int) -> Answer:
            answer = self._transport.exchange(method, url, headers, body)
            if answer.status in TRANSIENT:
                raise make_refusal(answer, self.repository, authenticated=False)
            return answer

        return self.retry.repeat(once)


def _origin(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or {"http": 80, "https": 443}[parts.scheme]


def _is_followed(method: str, status: int) -> bool:
    """307 and 308 keep the method and are always followed; the others only where nothing is lost."""
    return status in (307, 308) or (status in (301, 302, 303) and method in _REPEATABLE)
