"""A registry in memory with the manners of those that cannot be reached from a test machine.

It is strict where the distribution specification is (``spec.md#pushing-blobs``): a chunk must begin where the last one
ended, and a commit must have the digest. What arrived of a broken request stays, and its session tells of it.
"""

from __future__ import annotations

import hashlib
import re
import threading
import uuid
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit

from tests.loopback import LoopbackServer, hang_up


class Manners:
    """``most_patch``: bytes of a PATCH, more is 416. ``most_body``: of any body, more is 413. ``slow_body``: more than
    this is 504 after it has been read. ``announced``: minimum and maximum of a chunk, as headers. ``patched``: the
    status of a PATCH that went well. ``chunks`` False refuses PATCH. ``mounts`` False ignores mounts.
    """

    def __init__(
        self,
        *,
        most_patch: int = 1 << 62,
        most_body: int = 1 << 62,
        slow_body: int = 1 << 62,
        announced: tuple[int, int] | None = None,
        patched: int = 202,
        chunks: bool = True,
        mounts: bool = True,
    ) -> None:
        self.most_patch = most_patch
        self.most_body = most_body
        self.slow_body = slow_body
        self.announced = announced
        self.patched = patched
        self.chunks = chunks
        self.mounts = mounts


class StandIn(LoopbackServer):
    """Serves on a loopback port. ``asked`` lists method, path and body size of every request.

    ``trick`` may end a request: it is called with method, path and bytes read so far of the body, before each piece,
    and once more with -1 when the work is done and the answer is due; True breaks the connection.
    """

    def __init__(self, manners: Manners | None = None) -> None:
        super().__init__()
        self.manners = manners or Manners()
        self.trick: Callable[[str, str, int], bool] = lambda *_: False
        self.asked: list[tuple[str, str, int]] = []
        self.received = 0
        self.blobs: dict[tuple[str, str], bytes] = {}
        self.manifests: dict[tuple[str, str], tuple[str, bytes]] = {}
        self.sessions: dict[str, bytearray] = {}
        self._lock = threading.Lock()

    def count(self, method: str, part: str = "") -> int:
        return sum(1 for asked, path, _ in self.asked if asked == method and part in path)

    def bodies(self, method: str) -> list[int]:
        return [size for asked, _, size in self.asked if asked == method]

    # -- requests --------------------------------------------------------------------------------------------

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        method, path = handler.command, handler.path
        length = int(handler.headers.get("Content-Length") or 0)
        self.asked.append((method, path, length))
        parts = urlsplit(path)
        match = re.fullmatch(r"/v2/(.+)/(manifests|blobs/uploads|blobs)/([^/]*)", parts.path)
        if match is None:
            self._reply(handler, 200 if parts.path == "/v2/" else 404)
            return
        name, kind, rest = match.groups()
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        if kind == "blobs/uploads":
            self._upload(handler, method, name, rest, query, length)
            return
        body = bytearray()
        if not self._read(handler, length, body):
            return
        store = self.manifests if kind == "manifests" else {key: ("", data) for key, data in self.blobs.items()}
        if method == "PUT":
            digest = _digest(bytes(body))
            for key in (rest, digest):
                self.manifests[name, key] = (handler.headers.get("Content-Type", ""), bytes(body))
            self._reply(handler, 201, {"Docker-Content-Digest": digest})
        elif (name, rest) in store:
            media_type, data = store[name, rest]
            headers = {"Content-Type": media_type, "Docker-Content-Digest": _digest(data)}
            self._reply(handler, 200, headers, data, head=method == "HEAD")
        else:
            self._reply(handler, 404, body=b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}', head=method == "HEAD")

    def _upload(
        self,
        handler: BaseHTTPRequestHandler,
        method: str,
        name: str,
        session: str,
        query: dict[str, str],
        length: int,
    ) -> None:
        manners = self.manners
        if method == "POST":
            source = (query.get("from", ""), query.get("mount", ""))
            if source in self.blobs and manners.mounts:
                self.blobs[name, source[1]] = self.blobs[source]
                self._reply(handler, 201)
                return
            session = uuid.uuid4().hex
            self.sessions[session] = bytearray()
            self._tell(handler, 202, name, session)
            return
        if session not in self.sessions:
            self._drain(handler, length)
            if method == "PUT" and (name, query.get("digest", "")) in self.blobs:
                self._reply(handler, 404)  # as ghcr.io to a commit that had succeeded
            else:
                self._reply(handler, 404, body=b'{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}')
            return
        data = self.sessions[session]
        if method == "GET":
            self._tell(handler, 204, name, session)
        elif method == "DELETE":
            del self.sessions[session]
            self._reply(handler, 204)
        elif length > manners.most_body:
            self._drain(handler, length)
            self._reply(handler, 413, body=b"<html>too large</html>")
        elif method == "PATCH" and not manners.chunks:
            self._drain(handler, length)
            self._reply(handler, 405)
        elif method == "PATCH" and (length > manners.most_patch or not self._continues(handler, data, length)):
            self._drain(handler, length)
            self._reply(handler, 416)
        elif not self._read(handler, length, data):
            return
        elif length > manners.slow_body:
            del self.sessions[session]
            self._reply(handler, 504)
        elif method == "PATCH":
            self._tell(handler, manners.patched, name, session)
        elif _digest(bytes(data)) != query.get("digest"):
            del self.sessions[session]
            self._reply(handler, 400, body=b'{"errors":[{"code":"DIGEST_INVALID"}]}')
        else:
            self.blobs[name, query["digest"]] = bytes(self.sessions.pop(session))
            if not self.trick("PUT", handler.path, -1):
                self._reply(handler, 201, {"Docker-Content-Digest": query["digest"]})
            else:
                hang_up(handler)

    def _continues(self, handler: BaseHTTPRequestHandler, data: bytearray, length: int) -> bool:
        said = handler.headers.get("Content-Range")
        return said is None or said == f"{len(data)}-{len(data) + length - 1}"

    def _read(self, handler: BaseHTTPRequestHandler, length: int, into: bytearray) -> bool:
        """Take the body; False when the connection broke, and what came is kept."""
        done = 0
        while done < length:
            if self.trick(handler.command, handler.path, done):
                hang_up(handler)
                return False
            piece = handler.rfile.read(min(64 << 10, length - done))
            if not piece:
                handler.close_connection = True
                return False
            into += piece
            done += len(piece)
            with self._lock:
                self.received += len(piece)
        if handler.command == "PATCH" and self.trick("PATCH", handler.path, -1):
            hang_up(handler)
            return False
        return True

    @staticmethod
    def _drain(handler: BaseHTTPRequestHandler, length: int) -> None:
        while length > 0:
            piece = handler.rfile.read(min(1 << 20, length))
            if not piece:
                return
            length -= len(piece)

    def _tell(self, handler: BaseHTTPRequestHandler, status: int, name: str, session: str) -> None:
        size = len(self.sessions[session])
        headers = {"Location": f"/v2/{name}/blobs/uploads/{session}", "Range": f"0-{max(size - 1, 0)}"}
        if self.manners.announced is not None:
            least, most = self.manners.announced
            headers |= {"OCI-Chunk-Min-Length": str(least), "OCI-Chunk-Max-Length": str(most)}
        self._reply(handler, status, headers)

    @staticmethod
    def _reply(
        handler: BaseHTTPRequestHandler,
        status: int,
        headers: dict[str, str] | None = None,
        body: bytes = b"",
        *,
        head: bool = False,
    ) -> None:
        handler.send_response(status)
        for name, value in (headers or {}).items():
            handler.send_header(name, value)
        if status != 204:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if not head:
            handler.wfile.write(body)


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()
