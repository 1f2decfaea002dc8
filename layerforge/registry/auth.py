"""Answers a registry's challenges: one Authorization header for each scope, shared by all threads.

The exchange of credentials for a token is ``oras``'s (https://distribution.github.io/distribution/spec/auth/token/);
identity tokens use the OAuth 2 form of the same endpoint.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

from layerforge.errors import RegistryError
from layerforge.progress import Reporter
from layerforge.reference import Reference
from layerforge.registry.credentials import Credentials, find_credentials
from layerforge.registry.failures import make_refusal, redact
from layerforge.registry.transport import Answer, Body

Exchange = Callable[[str, str, dict[str, str], "Body | None"], Answer]
"""Sends (method, URL, headers, body) to the token server, with retries, and gives whatever it answered."""

_CHALLENGE = re.compile(r"(?:^|,\s*)(Basic|Bearer)\s+", re.IGNORECASE)


class Authenticator:
    """The headers for one registry. ``exchange`` reaches token servers. Safe to use from several threads.

    ``credentials`` are used where given; else Docker's are looked for when a challenge comes.
    """

    def __init__(
        self, registry: str, exchange: Exchange, reporter: Reporter, credentials: Credentials | None = None
    ) -> None:
        self._registry = registry
        self._exchange = exchange
        self._reporter = reporter
        self._lock = threading.Lock()
        self._headers: dict[str, str] = {}
        self._credentials = credentials
        self._looked = credentials is not None

    @property
    def has_credentials(self) -> bool:
        """Whether credentials were found, once a challenge has made us look."""
        return self._credentials is not None

    def header(self, scope: str) -> str:
        """The Authorization header for ``scope``; empty before the registry has asked for one."""
        return self._headers.get(scope, "")

    def answer(self, challenge: str, scope: str, refused: str, base: str) -> bool:
        """Get a header for ``scope`` in reply to ``WWW-Authenticate: challenge``; False if none can be had.

        ``refused`` is the header that the challenge answers: when another thread has replaced it since, there is
        nothing to do. ``base`` is the URL that was asked for.

        Raises:
            RegistryError: the token server refused, or cannot be reached.
        """
        with self._lock:
            if self._headers.get(scope, "") != refused:
                return True
            if not self._looked:
                self._credentials = find_credentials(self._registry, self._reporter)
                self._looked = True
            header = self._make_header(challenge, scope, base)
            if not header or header == refused:
                return False
            self._headers[scope] = header
            return True

    def _make_header(self, challenge: str, scope: str, base: str) -> str:
        challenges = _split_challenges(challenge)
        found = self._credentials
        if found and found.registry_token:
            return f"Bearer {found.registry_token}"
        if "bearer" in challenges:
            token = self._fetch_token(challenges["bearer"], scope, base)
            return f"Bearer {token}" if token else ""
        if "basic" in challenges and found and found.username:
            pair = f"{found.username}:{found.password}".encode()
            return "Basic " + base64.b64encode(pair).decode()
        return ""

    def _fetch_token(self, challenge: str, scope: str, base: str) -> str:
        from oras.auth import get_auth_backend
        from oras.auth.utils import parse_auth_header

        header = parse_auth_header(challenge)
        if not header.realm:
            raise RegistryError("the registry asks for a token but does not say where to get it", where=redact(base))
        header.realm = urljoin(base, header.realm)
        _check_realm(header.realm, base)
        wanted = scope.split()
        wanted += [item for item in (header.scope or "").split() if not _is_covered(item, wanted)]
        header.scope = " ".join(wanted)
        found = self._credentials
        if found and found.identity_token:
            return self._refresh(found.identity_token, header)
        session = _TokenSession(self._exchange, self._registry, found is not None)
        backend = get_auth_backend("token", session=session)
        if found is None:
            return backend.request_anonymous_token(header) or ""
        backend.set_basic_auth(found.username, found.password)
        return backend.request_token(header) or ""

    def _refresh(self, identity_token: str, header: Any) -> str:
        fields = {"grant_type": "refresh_token", "refresh_token": identity_token, "client_id": "layerforge"}
        form = urlencode({**fields, "service": header.service or "", "scope": header.scope}).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = self._exchange("POST", header.realm, headers, Body(len(form), lambda: iter((form,))))
        token = _TokenResponse(answer, self._registry, True).json()
        return str(token.get("access_token") or token.get("token") or "")


class _TokenResponse:
    """What ``oras`` wants to know of a response; a refusal is raised, not passed on as silence."""

    def __init__(self, answer: Answer, registry: str, authenticated: bool) -> None:
        if answer.status != 200:
            error = make_refusal(answer, registry, authenticated=authenticated)
            if answer.status in (400, 401, 403):
                error.hint = f"the stored credentials were refused: log in again with docker login {registry}"
                if not authenticated:
                    error.hint = f"log in first: docker login {registry}"
            raise error
        self.status_code = answer.status
        self.text = ""
        self._answer = answer

    def json(self) -> dict[str, Any]:
        try:
            document = json.loads(self._answer.body)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise RegistryError("the token server's answer is not a JSON object", where=redact(self._answer.url))
        return document


class _TokenSession:
    """The part of ``requests.Session`` that ``oras`` uses for tokens, over our own connections."""

    def __init__(self, exchange: Exchange, registry: str, authenticated: bool) -> None:
        self._exchange = exchange
        self._registry = registry
        self._authenticated = authenticated

    def request(
        self,
        method: str,
        url: str,
        params: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
        verify: object = True,
    ) -> _TokenResponse:
        del verify  # trust is decided in transport.py
        pairs = [(key, value) for key, text in (params or {}).items() for value in _split_scope(key, text)]
        query = urlencode(pairs)
        joined = f"{url}{'&' if '?' in url else '?'}{query}" if query else url
        authorization = {name: value for name, value in (headers or {}).items() if name == "Authorization"}
        answer = self._exchange(method, joined, {"Accept": "application/json", **authorization}, None)
        return _TokenResponse(answer, self._registry, self._authenticated)

    def get(self, url: str, **options: Any) -> _TokenResponse:
        return self.request("GET", url, **options)


def _split_scope(key: str, text: str) -> list[str]:
    """Several scopes are several parameters."""
    return text.split() if key == "scope" else [text]


def _split_challenges(text: str) -> dict[str, str]:
    """``Basic …, Bearer …`` as scheme, in lower case, to parameters."""
    parts = _CHALLENGE.split(text)
    return {scheme.lower(): rest for scheme, rest in zip(parts[1::2], parts[2::2], strict=True)}


def _is_covered(item: str, wanted: list[str]) -> bool:
    """Whether the scope ``type:name:actions`` asks for nothing that ``wanted`` does not."""
    name, _, actions = item.rpartition(":")
    return any(
        name == other.rpartition(":")[0] and set(actions.split(",")) <= set(other.rpartition(":")[2].split(","))
        for other in wanted
    )


def _check_realm(realm: str, base: str) -> None:
    """A password is not sent in clear to another machine because a registry says so."""
    parts = urlsplit(realm)
    local = Reference(parts.netloc.rpartition("@")[2], "").is_loopback
    if parts.scheme == "https" or (parts.scheme == "http" and (local or urlsplit(base).scheme == "http")):
        return
    raise RegistryError("the registry sends us for a token to a place without TLS", where=redact(realm))
