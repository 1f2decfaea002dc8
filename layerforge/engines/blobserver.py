"""A read-only registry over a store, on a loopback port: how an engine gets an image without a copy in between.

An engine that pulls asks for the layers that it lacks and no others; those of a base image that the store does not
hold are fetched into it then. Docker takes registries at 127.0.0.0/8 to be
plain HTTP; Podman is told. Source of the protocol: the OCI distribution specification, "Pull" (``spec.md#pull``).
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, BinaryIO, cast
from urllib.parse import unquote, urlsplit

import msgspec

from layerforge.blobs import require_blobs
from layerforge.engines.protocol import LOOPBACK
from layerforge.errors import ImageError, LayerforgeError
from layerforge.oci import MANIFEST, Descriptor, Digest
from layerforge.progress import SILENCE, Reporter
from layerforge.store import Store

_PATH = re.compile(r"/v2/(?P<name>[a-z0-9._/-]+)/(?P<kind>manifests|blobs)/(?P<reference>[^/]+)")
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_CHUNK = 1 << 18
_IDLE = 60  # seconds that a connection may say nothing
_LARGEST_MANIFEST = 4 << 20
_UNTYPED = "application/octet-stream"


class _Kind(msgspec.Struct, rename="camel"):
    media_type: str = MANIFEST


class BlobServer:
    """Serves ``store`` while its ``with`` block lasts; :attr:`address` is ``127.0.0.1:PORT``.

    The repository's name does not matter. Every byte is verified on its way; when the store's copy of a blob is
    damaged, the connection is broken before the body is complete. ``reporter`` hears of the bytes under ``task``.
    """

    def __init__(self, store: Store, *, reporter: Reporter = SILENCE, task: str = "load") -> None:
        self.store = store
        self.reporter = reporter
        self.task = task
        self.failures: list[LayerforgeError] = []
        """What went wrong with the store, which the engine can only call a broken connection."""
        self._server = _Server((LOOPBACK, 0), self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name="blob server", daemon=True
        )

    @property
    def address(self) -> str:
        """``host:port``, as it stands at the front of a reference."""
        return f"{LOOPBACK}:{self._server.server_port}"

    def __enter__(self) -> BlobServer:
        """Begin to answer."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop, breaking off what is still being sent."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], blobs: BlobServer) -> None:
        super().__init__(address, _Handler)
        self.blobs = blobs
        self._open: set[socket.socket] = set()
        self._workers: set[threading.Thread] = set()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        self._workers.add(threading.current_thread())
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._open.discard(request)
            self._workers.discard(threading.current_thread())

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no news."""

    def server_close(self) -> None:
        super().server_close()
        for connection in tuple(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for worker in tuple(self._workers):
            worker.join(5)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "layerforge"
    sys_version = ""
    timeout = _IDLE
    disable_nagle_algorithm = True

    @property
    def _blobs(self) -> BlobServer:
        return cast(_Server, self.server).blobs

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the engine says what it does."""

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _refuse_method(self) -> None:
        self.close_connection = True  # a body may follow, which nobody reads
        self._error(HTTPStatus.METHOD_NOT_ALLOWED, "UNSUPPORTED", "this registry is read-only", body=True)

    do_POST = do_PUT = do_PATCH = do_DELETE = _refuse_method

    def _answer(self, *, body: bool) -> None:
        # A web page that points a name of its own at 127.0.0.1 sends that name: it gets nothing.
        if self.headers.get("Host", "") != self._blobs.address:
            self._error(HTTPStatus.FORBIDDEN, "DENIED", "not for this host", body=body)
            return
        path = unquote(urlsplit(self.path).path)
        if path in ("/v2", "/v2/"):
            self._head(HTTPStatus.OK, "application/json", 2)
            if body:
                self.wfile.write(b"{}")
            return
        match = _PATH.fullmatch(path)
        if not match:
            self._error(HTTPStatus.NOT_FOUND, "NAME_UNKNOWN", "there is nothing here", body=body)
            return
        try:
            if match["kind"] == "manifests":
                self._answer_manifest(match["reference"], body=body)
            else:
                self._answer_blob(match["reference"], body=body)
        except LayerforgeError as error:
            self._blobs.failures.append(error)
            self.close_connection = True  # before the body's announced end, so the client knows

    def _answer_manifest(self, reference: str, *, body: bool) -> None:
        descriptor = self._find_manifest(reference)
        if descriptor is None:
            self._error(HTTPStatus.NOT_FOUND, "MANIFEST_UNKNOWN", reference, body=body)
            return
        data = self._blobs.store.read_blob(descriptor)
        try:
            media_type = msgspec.json.decode(data, type=_Kind).media_type
        except msgspec.DecodeError:
            self._error(HTTPStatus.NOT_FOUND, "MANIFEST_UNKNOWN", reference, body=body)
            return
        self._head(HTTPStatus.OK, media_type, len(data), digest=descriptor.digest)
        if body:
            self.wfile.write(data)

    def _find_manifest(self, reference: str) -> Descriptor | None:
        if ":" not in reference:
            return self._blobs.store.resolve_tag(reference)
        descriptor = self._find_blob(reference)
        return descriptor if descriptor and descriptor.size <= _LARGEST_MANIFEST else None

    def _find_blob(self, reference: str) -> Descriptor | None:
        store = self._blobs.store
        try:
            digest = Digest(reference)
        except ImageError:
            return None
        try:
            return Descriptor(_UNTYPED, digest, store.blob_path(digest).stat().st_size)
        except FileNotFoundError:
            found = store.find_segments(digest) or store.find_origin(digest)
            return Descriptor(_UNTYPED, digest, found.size) if found else None

    def _answer_blob(self, reference: str, *, body: bool) -> None:
        descriptor = self._find_blob(reference)
        if descriptor is None:
            self._error(HTTPStatus.NOT_FOUND, "BLOB_UNKNOWN", reference, body=body)
            return
        window = _parse_range(self.headers.get("Range", ""), descriptor.size)
        if window is None:
            extra = {"Content-Range": f"bytes */{descriptor.size}"}
            self._head(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, _UNTYPED, 0, extra=extra)
            return
        start, end = window
        whole = (start, end) == (0, descriptor.size)
        extra = {"Accept-Ranges": "bytes"}
        if not whole:
            extra["Content-Range"] = f"bytes {start}-{end - 1}/{descriptor.size}"
        status = HTTPStatus.OK if whole else HTTPStatus.PARTIAL_CONTENT
        if not body:
            self._head(status, _UNTYPED, end - start, digest=descriptor.digest, extra=extra)
            return
        require_blobs(self._blobs.store, (descriptor,), self._blobs.reporter)
        with self._blobs.store.open_blob(descriptor) as reader:
            self._head(status, _UNTYPED, end - start, digest=descriptor.digest, extra=extra)
            self._send(cast(BinaryIO, reader), start, end, descriptor.size)

    def _send(self, reader: BinaryIO, start: int, end: int, size: int) -> None:
        """Send bytes ``start`` to ``end``; what lies before is read too, because the digest is of the whole."""
        position, held = 0, b""
        while position < end:
            chunk = reader.read(_CHUNK)
            if not chunk:
                break
            wanted = chunk[max(start - position, 0) : end - position]
            position += len(chunk)
            # One piece is held back, so that a blob found damaged at its end is never sent as a whole.
            self._write(held)
            held = wanted
        if end == size:
            reader.read(1)  # meets the end, which checks the digest
        self._write(held)

    def _write(self, data: bytes) -> None:
        if data:
            self.wfile.write(data)
            self._blobs.reporter.advance(self._blobs.task, len(data))

    def _head(
        self,
        status: HTTPStatus,
        media_type: str,
        length: int,
        *,
        digest: str = "",
        extra: dict[str, str] | None = None,
    ) -> None:
        self.send_response(status)
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(length))
        if digest:
            self.send_header("Docker-Content-Digest", digest)
        for name, value in (extra or {}).items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def _error(self, status: HTTPStatus, code: str, message: str, *, body: bool) -> None:
        data = msgspec.json.encode({"errors": [{"code": code, "message": message}]})
        self._head(status, "application/json", len(data))
        if body:
            self.wfile.write(data)


def _parse_range(header: str, size: int) -> tuple[int, int] | None:
    """The half-open window that a Range header asks for; the whole when there is none to honour; None if outside."""
    match = _RANGE.fullmatch(header.strip())
    if not match or match[1] == match[2] == "":
        return 0, size
    if match[1] == "":
        return max(size - int(match[2]), 0), size
    start = int(match[1])
    end = min(int(match[2]) + 1, size) if match[2] else size
    return (start, end) if start < end else None
