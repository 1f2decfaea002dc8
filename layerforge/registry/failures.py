"""What a registry's refusals and broken connections are called, and what to do about them.

Source of the codes: the distribution specification, ``spec.md#error-codes``.
"""

from __future__ import annotations

import json
import ssl
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import urllib3

from layerforge.errors import RegistryError

if TYPE_CHECKING:
    from layerforge.registry.transport import Answer

TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses that may be different the next time."""


def redact(url: str) -> str:
    """``url`` without user information, query and fragment, any of which may hold a secret."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


_NEW_SESSION_HELPS = frozenset(
    {"BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID", "DIGEST_INVALID", "SIZE_INVALID", "RANGE_INVALID"}
)
"""What is said of an upload that was lost or damaged on its way: ours was found right before it left."""


class Failure(RegistryError):
    """A RegistryError with what is needed to decide about another attempt.

    ``transient``: the same may work the next time. ``retry_after``: the registry's header of that name, or empty.
    """

    transient = False
    retry_after = ""


class Unreachable(Failure):
    """No answer came. ``closed``: the other side hung up on us. ``trusted``: its certificate was not the reason."""

    transient = True
    closed = False
    trusted = True

    @classmethod
    def of(cls, error: Exception, method: str, url: str) -> Unreachable:
        """What ``error``, from urllib3 or the system, means for the request."""
        host = urlsplit(url).netloc.rpartition("@")[2]
        cause = _find_cause(error)
        where = f"{method} {redact(url)}"
        if isinstance(cause, ssl.SSLCertVerificationError):
            hint = "the system does not trust this server's certificate: set SSL_CERT_FILE to your site's CA bundle"
            failure = cls(f"its certificate is not trusted: {cause.verify_message}", where=where, hint=hint)
            failure.transient = failure.trusted = False
        elif isinstance(cause, ssl.SSLError):
            hint = f"{host} does not speak TLS on this port; plain HTTP is used for loopback addresses only"
            failure = cls(f"no secure connection: {cause.reason or cause}", where=where, hint=hint)
            failure.transient = False
            failure.closed = "EOF" in (cause.reason or "")
        elif isinstance(error, (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)):
            hint = f"is a registry listening at {host}? check its name, the network and the proxy settings"
            failure = cls(f"cannot be reached: {_describe(cause)}", where=where, hint=hint)
        else:
            hint = "check the network and run the command again: what was uploaded is kept"
            failure = cls(f"the connection broke: {_describe(cause)}", where=where, hint=hint)
            failure.closed = not isinstance(error, urllib3.exceptions.TimeoutError)
        return failure


def _find_cause(error: BaseException) -> BaseException:
    """The innermost exception that says something."""
    for _ in range(8):
        inner = getattr(error, "reason", None)
        if not isinstance(inner, BaseException):
            inner = next((item for item in error.args if isinstance(item, BaseException)), None)
        if inner is None and isinstance(error, urllib3.exceptions.NewConnectionError):
            inner = error.__cause__
        if inner is None:
            return error
        error = inner
    return error


def _describe(error: BaseException) -> str:
    if isinstance(error, (urllib3.exceptions.TimeoutError, TimeoutError)):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def make_refusal(answer: Answer, repository: str, *, authenticated: bool, size: int = 0) -> Failure:
    """The error for an answer that is not the one hoped for.

    ``authenticated``: credentials had been sent. ``size``: bytes of the request's body, for the hint on limits.
    """
    code, message = _read_errors(answer.body)
    said = f": {message}" if message else ""
    named = f" ({code})" if code else ""
    text = f"the registry answered {answer.status} {answer.reason}".rstrip() + said + named
    hint = _find_hint(answer, code, repository, authenticated, size)
    where = f"{answer.method} {redact(answer.url)}"
    failure = Failure(text, where=where, hint=hint, status=answer.status, code=code)
    failure.transient = answer.status in TRANSIENT or code in _NEW_SESSION_HELPS
    failure.retry_after = answer.headers.get("retry-after", "")
    return failure


def _read_errors(body: bytes) -> tuple[str, str]:
    """The first code, and the messages, of the JSON document that the specification asks for; else some plain text."""
    try:
        document = json.loads(body)
        errors: list[Any] = document.get("errors") or [document]
        messages = []
        for error in errors:
            message = str(error.get("message") or error.get("details") or error.get("error_description") or "")
            detail = error.get("detail")
            if isinstance(detail, str) and detail and detail not in message:
                message = f"{message} ({detail})" if message else detail
            if message and message not in messages:
                messages.append(message)
        return str(errors[0].get("code") or "")[:60], "; ".join(messages)[:500]
    except (ValueError, AttributeError, TypeError, RecursionError):
        text = body[:200].decode("utf-8", "replace").strip()
        readable = text and not text.startswith(("<", "[", "{")) and text.isprintable()
        return "", text if readable else ""


def _find_hint(answer: Answer, code: str, repository: str, authenticated: bool, size: int) -> str:
    host = urlsplit(answer.url).netloc.rpartition("@")[2]
    status = answer.status
    if status == 401:
        again = "the stored credentials were refused: log in again with" if authenticated else "log in first:"
        return f"{again} docker login {host}"
    if status == 403:
        who = "this account" if authenticated else "you are not logged in, and an anonymous user"
        return f"{who} may not do this in {repository}; ask for access, or run: docker login {host}"
    if status == 404 and code != "MANIFEST_UNKNOWN":
        return f"some registries want a repository to be created first: create {repository} at {host}"
    if status == 413:
        return f"the registry, or a proxy before it, takes no upload of {size:,} bytes: raise its limit"
    if status == 429:
        return f"too many requests: wait a while; a log-in often raises the limit: docker login {host}"
    if status >= 500:
        return "the registry has a fault of its own: try again later, or ask who runs it"
    return ""
