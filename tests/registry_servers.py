"""Real registries with passwords, tokens or TLS, and a proxy that counts requests and plays tricks."""

from __future__ import annotations

import base64
import http.client
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.conftest import free_port, require, stop
from tests.loopback import LoopbackServer, hang_up

USER, PASSWORD = "user", "s3cret:pass"
_HTPASSWD = "user:$2y$05$abcdefghijklmnopqrstuuKqhJSfTIYV1SkiVqP0GjQATd/vnrS1a\n"  # bcrypt, as docker-registry wants it


@contextmanager
def serve_registry(folder: Path, **sections: Any) -> Iterator[str]:
    """``host:port`` of a docker-registry with these configuration sections added."""
    program = shutil.which("docker-registry")
    require(program, "docker-registry is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    http_section = {"addr": f"127.0.0.1:{port}", **sections.pop("http", {})}
    storage = {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": True}}
    config = {"version": "0.1", "log": {"level": "warn"}, "storage": storage, "http": http_section, **sections}
    (folder / "config.yml").write_text(json.dumps(config))  # JSON is YAML
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([str(program), "serve", str(folder / "config.yml")], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 20
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert process.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.02)
        yield f"127.0.0.1:{port}"
    finally:
        stop(process)


@contextmanager
def serve_registry_with_password(folder: Path) -> Iterator[str]:
    """A registry that wants USER and PASSWORD by basic authentication."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "htpasswd").write_text(_HTPASSWD)
    with serve_registry(folder, auth={"htpasswd": {"realm": "Test", "path": str(folder / "htpasswd")}}) as address:
        yield address


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A key, and a certificate for 127.0.0.1 that is its own authority."""
    folder.mkdir(parents=True, exist_ok=True)
    key, certificate = folder / "key.pem", folder / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return key, certificate


class TokenServer:
    """Gives tokens for basic authentication with USER and PASSWORD, and to anonymous users only to pull.

    ``lifetime`` is in seconds. ``asked`` holds, for each request, the user (or "") and the scopes.
    """

    def __init__(self, folder: Path) -> None:
        self._key, self.certificate = make_certificate(folder)
        self.lifetime = 300.0
        self.asked: list[tuple[str, tuple[str, ...]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer._answer(self, parse_qs(urlsplit(self.path).query))

            def do_POST(self) -> None:
                form = self.rfile.read(int(self.headers["Content-Length"])).decode()
                outer._answer(self, parse_qs(form))

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/token"

    def __enter__(self) -> TokenServer:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, request: BaseHTTPRequestHandler, fields: dict[str, list[str]]) -> None:
        authorization = request.headers.get("Authorization", "")
        user = ""
        if authorization:
            user, _, password = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
        elif fields.get("grant_type") == ["refresh_token"]:
            user, password = (USER, PASSWORD) if fields["refresh_token"] == ["identity"] else ("?", "")
        scopes = tuple(part for scope in fields.get("scope", []) for part in scope.split())
        self.asked.append((user, scopes))
        if user and (user, password) != (USER, PASSWORD):
            body = b'{"details":"incorrect username or password"}'
            request.send_response(401)
        else:
            body = json.dumps({"token": self._make_token(user, scopes)}).encode()
            request.send_response(200)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def _make_token(self, user: str, scopes: tuple[str, ...]) -> str:
        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":")
            access.append({"type": kind, "name": name, "actions": actions.split(",") if user else ["pull"]})
        now = time.time()
        pem = self.certificate.read_text().split("-----")[2].replace("\n", "")
        header = {"typ": "JWT", "alg": "RS256", "x5c": [pem]}
        claims = {
            "iss": "tests",
            "sub": user,
            "aud": "registry",
            "access": access,
            "iat": int(now),
            "nbf": int(now) - 5,
        }
        claims.update(exp=int(now + self.lifetime), jti=str(len(self.asked)))
        text = ".".join(_encode(json.dumps(part).encode()) for part in (header, claims))
        command = ["openssl", "dgst", "-sha256", "-sign", str(self._key)]
        signature = subprocess.run(command, input=text.encode(), capture_output=True, check=True).stdout
        return f"{text}.{_encode(signature)}"


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@contextmanager
def serve_registry_with_tokens(folder: Path) -> Iterator[tuple[str, TokenServer]]:
    """A registry that sends its users to a TokenServer."""
    with TokenServer(folder / "tokens") as tokens:
        bundle = str(tokens.certificate)
        auth = {"realm": tokens.url, "service": "registry", "issuer": "tests", "rootcertbundle": bundle}
        with serve_registry(folder / "registry", auth={"token": auth}) as address:
            yield address, tokens


class Request:
    """What came to a Proxy. ``number`` counts from 0 among the requests with the same method."""

    def __init__(self, method: str, path: str, headers: dict[str, str], number: int) -> None:
        self.method = method
        self.path = path
        self.headers = headers
        self.number = number

    def is_(self, method: str, part: str = "") -> bool:
        return self.method == method and part in self.path


class Reply:
    """An answer that a Proxy gives in place of the registry's."""

    def __init__(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        self.status = status
        self.headers = headers or {}
        self.body = body


class Cut:
    """Break the connection after ``after`` bytes of the request's body; with ``answered``, in place of the answer."""

    def __init__(self, after: int = 0, *, answered: bool = False) -> None:
        self.after = after
        self.answered = answered


class Changed:
    """Give the registry's answer with other headers, or with another body; an empty value removes a header."""

    def __init__(self, headers: dict[str, str] | None = None, body: Callable[[bytes], bytes] | None = None) -> None:
        self.headers = headers or {}
        self.body = body or (lambda data: data)

    def change(self, headers: dict[str, str]) -> dict[str, str]:
        return {name: value for name, value in {**headers, **self.headers}.items() if value}


class Twice:
    """Send the registry's answer twice in a row."""


class Stall:
    """Wait for ``seconds`` before the request is passed on."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


Trick = Reply | Cut | Changed | Twice | Stall | None


class Proxy(LoopbackServer):
    """Stands before a registry: ``requests`` lists what passed, ``trick`` may do something else with it.

    ``delay`` is in seconds for each 64 KiB of an upload; ``break_after`` is how many bytes of an answer's body to a GET
    are passed on before the connection is broken, 0 for all. After ``stall_after`` bytes of uploads in all, nothing
    more is passed on until the end.
    """

    def __init__(self, upstream: str, trick: Callable[[Request], Trick] | None = None, delay: float = 0) -> None:
        super().__init__()
        self.requests: list[Request] = []
        self.trick = trick
        self.delay = delay
        self.break_after = 0
        self.stall_after = 0
        self.received = 0
        self._ended = threading.Event()
        self._upstream = upstream
        self._lock = threading.Lock()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        super().__exit__()

    def methods(self) -> list[str]:
        return [request.method for request in self.requests]

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        method, path = handler.command, handler.path
        with self._lock:
            request = Request(method, path, dict(handler.headers), self.methods().count(method))
            self.requests.append(request)
        trick = self.trick(request) if self.trick else None
        length = int(handler.headers.get("Content-Length") or 0)
        if isinstance(trick, Reply):
            handler.rfile.read(length)
            self._reply(handler, trick.status, "", trick.headers, trick.body)
            return
        if isinstance(trick, Stall):
            time.sleep(trick.seconds)
        upstream = http.client.HTTPConnection(self._upstream, timeout=30)
        try:
            upstream.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in handler.headers.items():
                upstream.putheader(name, value)
            upstream.endheaders()
            if not self._send_body(handler, upstream, length, trick):
                return
            response = upstream.getresponse()
            headers, body = dict(response.getheaders()), response.read()
        finally:
            upstream.close()
        if isinstance(trick, Cut):
            hang_up(handler)
            return
        if isinstance(trick, Changed):
            headers = trick.change(headers)
            body = trick.body(body)
        if self.break_after and method == "GET" and len(body) > self.break_after:
            headers["Content-Length"] = str(len(body))
            handler.send_response_only(response.status, response.reason)
            for name, value in headers.items():
                handler.send_header(name, value)
            handler.end_headers()
            handler.wfile.write(body[: self.break_after])
            hang_up(handler)
            return
        for _ in range(2 if isinstance(trick, Twice) else 1):
            self._reply(handler, response.status, response.reason, headers, body, head=method == "HEAD")

    def _send_body(
        self, handler: BaseHTTPRequestHandler, upstream: http.client.HTTPConnection, length: int, trick: Trick
    ) -> bool:
        sent = 0
        while sent < length:
            if isinstance(trick, Cut) and not trick.answered and sent >= trick.after:
                hang_up(handler)
                return False
            data = handler.rfile.read(min(64 << 10, length - sent))
            if not data:
                handler.close_connection = True
                return False
            upstream.send(data)
            sent += len(data)
            self.received += len(data)
            time.sleep(self.delay)
            if self.stall_after and self.received >= self.stall_after:
                self._ended.wait()
                handler.close_connection = True
                return False
        if isinstance(trick, Cut) and not trick.answered:
            hang_up(handler)
            return False
        return True

    @staticmethod
    def _reply(
        handler: BaseHTTPRequestHandler,
        status: int,
        reason: str,
        headers: dict[str, str],
        body: bytes,
        *,
        head: bool = False,
    ) -> None:
        handler.send_response_only(status, reason or None)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection") or head:
                handler.send_header(name, value)
        if not head:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body)
