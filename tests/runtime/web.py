"""A web server for tests: it remembers what it was sent, and the path says what it answers."""

from __future__ import annotations

import contextlib
import http.server
import json
import ssl
import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple


class Received(NamedTuple):
    at: float
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Web:
    """``/fail/N/…`` answers 503 N times; ``/status/N`` answers N; ``/slow/S/…`` takes S seconds and ``/drip/S`` sends a
    byte every S seconds; ``/to/URL`` redirects (``/to/308/URL`` with that status), ``/loop`` to itself;
    ``/size/N`` sends N bytes, ``/endless`` never stops.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.received: list[Received] = []
        web = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                web.received.append(Received(time.monotonic(), self.command, self.path, headers, body))
                with contextlib.suppress(ConnectionError):
                    self.react()

            do_GET = do_POST = do_PUT = answer

            def react(self) -> None:
                kind, _, rest = self.path[1:].partition("/")
                if kind == "fail":
                    times = int(rest.partition("/")[0])
                    self.send(503 if sum(each.path == self.path for each in web.received) <= times else 200)
                elif kind == "status":
                    self.send(int(rest))
                elif kind == "slow":
                    time.sleep(float(rest.partition("/")[0]))
                    self.send(200)
                elif kind == "to":
                    status, _, target = rest.partition("/") if rest[:3].isdecimal() else ("302", "", rest)
                    self.send(int(status), ("Location", target))
                elif kind == "loop":
                    self.send(302, ("Location", "/loop"))
                elif kind == "size":
                    self.send(200, body=b"x" * int(rest))
                elif kind in ("endless", "drip"):
                    self.send_response(200)
                    self.send_header("Connection", "close")
                    self.end_headers()
                    self.close_connection = True
                    while True:
                        self.wfile.write(b"x" if kind == "drip" else b"x" * 65536)
                        time.sleep(float(rest) if kind == "drip" else 0)
                else:
                    self.send(200, body=self.path.encode())

            def send(self, status: int, *headers: tuple[str, str], body: bytes = b"") -> None:
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, *_: Any) -> None:
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def at(self, path: str) -> list[Received]:
        """What was sent to ``path``."""
        return [each for each in self.received if each.path == path]

    def wait(self, path: str, count: int, seconds: float = 10) -> list[Received]:
        """What was sent to ``path``, as soon as that is ``count`` requests."""
        deadline = time.monotonic() + seconds
        while len(self.at(path)) < count:
            assert time.monotonic() < deadline, self.at(path)
            time.sleep(0.01)
        return self.at(path)


@contextlib.contextmanager
def web_server(tls: ssl.SSLContext | None = None) -> Iterator[Web]:
    web = Web(tls)
    try:
        yield web
    finally:
        web.close()
