"""Registries and networks that misbehave: what is repeated, what is not, and what people are told."""

from __future__ import annotations

import io
import itertools
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from layerforge.errors import RegistryError, VerificationError
from layerforge.image import Image
from layerforge.oci import Descriptor, Digest
from layerforge.reference import Reference, parse_reference
from layerforge.registry import Registry, push_image, retry
from layerforge.registry.failures import Failure, make_refusal, redact
from layerforge.registry.retry import ATTEMPTS, Retry, Stopped, parse_retry_after
from layerforge.registry.transport import Answer
from layerforge.store import Store
from layerforge.validate import validate_image
from tests.conftest import free_port
from tests.made_images import make_image
from tests.registry_servers import Changed, Cut, Proxy, Reply, Request, Trick
from tests.test_registry import News, Remote, tag_of

pytestmark = pytest.mark.registry

_NUMBERS = itertools.count()
DENIED = json.dumps({"errors": [{"code": "DENIED", "message": "requested access is denied", "detail": None}]}).encode()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "_FIRST", 0.005)


@pytest.fixture
def image(store: Store, tmp_path: Path) -> Image:
    return make_image(store, tmp_path / "model", weights=os.urandom(3_500_000))


@pytest.fixture
def reference(registry: str) -> Reference:
    """A tag in a repository of the test's own."""
    return parse_reference(f"{registry}/faults/{next(_NUMBERS)}:v1")


@contextmanager
def through(reference: Reference, trick: Callable[[Request], Trick]) -> Iterator[tuple[Registry, Proxy]]:
    """A client of ``reference`` that reaches it through a Proxy."""
    with Proxy(reference.registry, trick) as proxy:
        there = Reference(proxy.address, reference.repository, "v1")
        with Registry(there) as registry:
            yield registry, proxy


class Push:
    """A push through a Proxy with a trick."""

    def __init__(self, store: Store, image: Image, reference: Reference) -> None:
        self._store = Store(store.root)  # as on the next day: what it made itself today it would not ask for
        self._image = image
        self._reference = reference
        self.news = News()
        self.requests: list[Request] = []

    def __call__(self, trick: Callable[[Request], Trick], **options: Any) -> None:
        with Proxy(self._reference.registry, trick) as proxy:
            self.requests = proxy.requests
            there = Reference(proxy.address, self._reference.repository, "v1")
            push_image(self._store, self._image.manifest, there, reporter=self.news, **options)
        validate_image(Remote(self._reference), self._image.manifest)
        assert tag_of(self._reference) == self._image.manifest.digest

    def count(self, method: str, part: str = "") -> int:
        return sum(request.is_(method, part) for request in self.requests)


@pytest.fixture
def push(store: Store, image: Image, reference: Reference) -> Push:
    return Push(store, image, reference)


def first(method: str, part: str, trick: Trick, times: int = 1) -> Callable[[Request], Trick]:
    """``trick`` for the first ``times`` requests of this kind."""
    left, lock = [times], threading.Lock()

    def choose(request: Request) -> Trick:
        with lock:
            if not request.is_(method, part) or not left[0]:
                return None
            left[0] -= 1
        return trick

    return choose


# -- what is survived ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
@pytest.mark.parametrize(
    ("method", "part"),
    [("GET", "/manifests/"), ("HEAD", "/blobs/"), ("POST", "/uploads/"), ("PUT", "/uploads/"), ("PUT", "/manifests/")],
)
def test_a_passing_fault(push: Push, method: str, part: str, status: int) -> None:
    push(first(method, part, Reply(status), times=2))
    assert any(f"answered {status}" in line and "trying again in" in line for line in push.news.lines)
    assert push.news.done == push.news.total


@pytest.mark.parametrize(
    ("method", "part"),
    [("GET", "/manifests/"), ("HEAD", "/blobs/"), ("POST", "/uploads/"), ("PUT", "/uploads/"), ("PUT", "/manifests/")],
)
@pytest.mark.parametrize("cut", [Cut(), Cut(answered=True)], ids=["lost request", "lost answer"])
def test_a_broken_connection(push: Push, method: str, part: str, cut: Cut) -> None:
    push(first(method, part, cut))


@pytest.mark.parametrize("after", [1, 100_000, 1 << 20, 3 << 20])
def test_an_upload_that_breaks_in_the_middle(push: Push, after: int) -> None:
    def trick(request: Request) -> Trick:
        return Cut(after) if request.is_("PUT", "/uploads/") and not lost.is_set() and not lost.set() else None

    lost = threading.Event()
    push(trick, jobs=1)
    assert push.count("POST", "/uploads/") == 5, "a new session, from the beginning"
    assert push.news.done == push.news.total


def test_a_lost_answer_to_an_upload_sends_nothing_twice(push: Push) -> None:
    """Whether the blob has arrived is asked before anything is repeated."""
    push(first("PUT", "/uploads/", Cut(answered=True)))
    assert push.count("PUT", "/uploads/") == 4
    assert push.count("HEAD", "/blobs/") == 5


def test_a_lost_answer_to_the_manifest(push: Push) -> None:
    push(first("PUT", "/manifests/", Cut(answered=True)))
    assert push.count("PUT", "/manifests/") == 1
    assert push.count("HEAD", "/manifests/") == 1


def test_retry_after_is_obeyed(push: Push) -> None:
    push(first("HEAD", "/blobs/", Reply(429, {"Retry-After": "1"})))
    assert any("trying again in 1.0 s" in line for line in push.news.lines)


def test_a_retry_after_of_an_hour_is_an_error(push: Push) -> None:
    with pytest.raises(RegistryError, match="429") as caught:
        push(first("HEAD", "/blobs/", Reply(429, {"Retry-After": "3600"})))
    assert "docker login" in caught.value.hint


def test_a_session_that_the_registry_forgot(push: Push) -> None:
    body = b'{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN","message":"blob upload unknown to registry"}]}'
    push(first("PUT", "/uploads/", Reply(404, {}, body)))


def test_a_body_that_the_network_damaged(push: Push) -> None:
    body = b'{"errors":[{"code":"DIGEST_INVALID","message":"provided digest did not match uploaded content"}]}'
    push(first("PUT", "/uploads/", Reply(400, {}, body)))


def test_relative_locations(push: Push) -> None:
    def trick(request: Request) -> Trick:
        return Relative() if request.is_("POST") else None

    class Relative(Changed):
        def change(self, headers: dict[str, str]) -> dict[str, str]:
            return {**headers, "Location": headers["Location"].partition("/v2/")[2].join(("/v2/", ""))}

    push(trick)
    assert push.count("PUT", "/uploads/") == 4


def test_a_manifest_that_lists_blobs_the_registry_lost(store: Store, image: Image, push: Push, tmp_path: Path) -> None:
    """What the present manifest lists is not asked for; when that turns out wrong, everything is."""
    push(lambda _: None)
    changed = make_image(store, tmp_path / "model", text="changed")
    body = b'{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown to registry"}]}'
    again = Push(store, changed, push._reference)
    again(first("PUT", "/manifests/", Reply(400, {}, body)))
    assert again.count("HEAD", "/blobs/") == 3 + 4


def test_a_present_manifest_that_makes_no_sense(push: Push) -> None:
    push(first("GET", "/manifests/", Reply(200, {"Content-Type": "text/html"}, b"<html>")))


def test_a_present_manifest_that_is_damaged_on_the_way(push: Push) -> None:
    push(lambda _: None)
    push(first("GET", "/manifests/", Changed(body=lambda data: data[:-1])))
    assert push.count("PUT", "/manifests/") == 1


def test_a_mount_that_the_registry_refuses(push: Push) -> None:
    push(first("POST", "mount=", Reply(500), times=99), mount_from=("some/other",))
    push(lambda _: None)


# -- what is not -----------------------------------------------------------------------------------------------


def test_a_fault_that_stays(push: Push, reference: Reference) -> None:
    with pytest.raises(RegistryError) as caught:
        push(lambda request: Reply(503, {}, b"overloaded") if request.is_("POST") else None, jobs=1)
    assert push.count("POST") == ATTEMPTS
    assert caught.value.message == "the registry answered 503 Service Unavailable: overloaded"
    assert caught.value.status == 503
    assert "try again later" in caught.value.hint
    assert tag_of(reference) is None


@pytest.mark.parametrize(
    ("reply", "message", "hint"),
    [
        (Reply(403, {}, DENIED), "403 Forbidden: requested access is denied (DENIED)", "docker login 127.0.0.1"),
        (Reply(401, {}, b""), "401 Unauthorized", "log in first: docker login"),
        (Reply(404, {}, b'{"errors":[{"code":"NAME_UNKNOWN"}]}'), "404 Not Found (NAME_UNKNOWN)", "created first"),
        (Reply(413, {}, b"<html>too large</html>"), "413 Request Entity Too Large", "raise its limit"),
        (Reply(400, {}, b'{"errors":[{"code":"NAME_INVALID","message":"bad name"}]}'), "bad name (NAME_INVALID)", ""),
        (Reply(418, {}, b"\0\1"), "418", ""),
    ],
)
@pytest.mark.parametrize("step", ["POST", "PUT"])
def test_refusals(push: Push, reference: Reference, step: str, reply: Reply, message: str, hint: str) -> None:
    with pytest.raises(RegistryError) as caught:
        push(lambda request: reply if request.is_(step, "/uploads/") else None, jobs=1)
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert push.count(step, "/uploads/") == 1, "nothing that was refused is repeated"
    assert caught.value.where.startswith(f"{step} http://127.0.0.1:") and "?" not in caught.value.where
    assert tag_of(reference) is None


def test_the_size_is_in_the_hint_of_413(push: Push, image: Image) -> None:
    with pytest.raises(RegistryError) as caught:
        push(lambda request: Reply(413) if request.is_("PUT", "/uploads/") else None, jobs=1)
    assert f"{image.layers[2].size:,} bytes" in caught.value.hint


@pytest.mark.parametrize("part", ["/uploads/", "/manifests/"])
def test_a_registry_that_stored_something_else(push: Push, part: str) -> None:
    other = "sha256:" + "0" * 64
    with pytest.raises(VerificationError, match=f"the registry stored {other}"):
        push(first("PUT", part, Changed({"Docker-Content-Digest": other}), times=9), jobs=1)


def test_a_session_without_a_place(push: Push) -> None:
    with pytest.raises(RegistryError, match="has no Location"):
        push(lambda request: Reply(202) if request.is_("POST") else None)


@pytest.mark.parametrize("location", ["ftp://example.org/x", "file:///etc/passwd", "http:///x", "javascript:x"])
def test_a_session_in_a_strange_place(push: Push, location: str) -> None:
    with pytest.raises(RegistryError):
        push(lambda request: Reply(202, {"Location": location}) if request.is_("POST") else None)


def test_endless_redirects(reference: Reference) -> None:
    with through(reference, lambda request: Reply(307, {"Location": request.path})) as (registry, proxy):
        with pytest.raises(RegistryError, match="redirects"):
            registry.get_manifest("v1")
        assert len(proxy.requests) < 10


def test_an_endless_answer(reference: Reference) -> None:
    endless = Reply(200, {}, b" " * (5 << 20))
    with through(reference, lambda _: endless) as (registry, _), pytest.raises(RegistryError, match="sent more than"):
        registry.get_manifest("v1")


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b" ", lambda data: b"X" + data[1:]])
def test_damaged_reads(image: Image, reference: Reference, push: Push, change: Callable[[bytes], bytes]) -> None:
    push(lambda _: None)
    with through(reference, lambda _: Changed(body=change)) as (registry, _):
        with pytest.raises(VerificationError):
            registry.read_blob(image.layers[0]).readall()
        for name in ("v1", image.manifest.digest):
            with pytest.raises(VerificationError):
                registry.get_manifest(name)


def test_nobody_there(store: Store, image: Image) -> None:
    reference = parse_reference(f"127.0.0.1:{free_port()}/a:v1")
    with pytest.raises(RegistryError, match="cannot be reached: Connection refused") as caught:
        push_image(store, image.manifest, reference)
    assert f"is a registry listening at {reference.registry}?" in caught.value.hint
    assert caught.value.status == 0


def test_a_name_that_no_one_has(store: Store, image: Image) -> None:
    with pytest.raises(RegistryError, match=r"cannot be reached: .*[Nn]ame"):
        push_image(store, image.manifest, parse_reference("registry.invalid/a:v1"))


def test_one_failure_stops_the_others(push: Push) -> None:
    """The other uploads do not go on for nothing."""
    with pytest.raises(RegistryError, match="403"):
        push(lambda request: Reply(403, {}, DENIED) if request.is_("HEAD") else None)
    assert push.count("PUT") == 0


# -- where credentials and bytes may go ------------------------------------------------------------------------


class Elsewhere:
    """A server on another port that takes what it is given and remembers the headers."""

    def __init__(self) -> None:
        self.seen: list[dict[str, str]] = []
        self.body = b""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.seen.append(dict(self.headers))
                self.send_response(200)
                self.send_header("Content-Length", str(len(outer.body)))
                self.end_headers()
                self.wfile.write(outer.body)

            def do_PUT(self) -> None:
                outer.seen.append(dict(self.headers))
                outer.body = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(201)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    server = Elsewhere()
    yield server
    server.close()


@pytest.fixture
def logged_in(reference: Reference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def write(registry: str) -> None:
        (tmp_path / "docker").mkdir()
        auths = {registry: {"auth": "dXNlcjpwYXNzd29yZA=="}}
        (tmp_path / "docker" / "config.json").write_text(json.dumps({"auths": auths}))
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))

    return write


def asks_for_password(request: Request, then: Trick) -> Trick:
    if "Authorization" not in request.headers:
        return Reply(401, {"WWW-Authenticate": 'Basic realm="x"'})
    return then


def test_a_redirected_read_does_not_carry_the_password(
    reference: Reference, elsewhere: Elsewhere, logged_in: Callable[[str], None]
) -> None:
    elsewhere.body = b"blob"
    blob = Descriptor("application/octet-stream", Digest.of(b"blob"), 4)
    redirect = Reply(307, {"Location": elsewhere.url + "/storage?signature=secret"})
    with Proxy(reference.registry, lambda request: asks_for_password(request, redirect)) as proxy:
        logged_in(proxy.address)
        with Registry(Reference(proxy.address, "a", "v1"), push=False) as registry:
            assert registry.read_blob(blob).readall() == b"blob"
        assert proxy.requests[-1].headers["Authorization"] == "Basic dXNlcjpwYXNzd29yZA=="
    assert len(elsewhere.seen) == 1 and "Authorization" not in elsewhere.seen[0]
    elsewhere.body = b"bl0b"
    with through(reference, lambda _: redirect) as (registry, _), pytest.raises(VerificationError) as caught:
        registry.read_blob(blob).readall()
    assert "secret" not in str(caught.value)


def test_an_upload_to_another_host_does_not_carry_the_password(
    reference: Reference, elsewhere: Elsewhere, logged_in: Callable[[str], None]
) -> None:
    def trick(request: Request) -> Trick:
        if request.is_("HEAD"):
            return asks_for_password(request, Reply(404))
        return asks_for_password(request, Reply(202, {"Location": elsewhere.url + "/upload?token=secret"}))

    blob = Descriptor("application/octet-stream", Digest.of(b"blob"), 4)
    with Proxy(reference.registry, trick) as proxy:
        logged_in(proxy.address)
        with Registry(Reference(proxy.address, "a", "v1")) as registry:
            assert registry.push_blob(blob, lambda: io.BytesIO(b"blob"))  # type: ignore[arg-type, return-value]
    assert elsewhere.body == b"blob"
    assert [("Authorization" in headers) for headers in elsewhere.seen] == [False]


# -- small parts -----------------------------------------------------------------------------------------------


def test_parse_retry_after() -> None:
    assert parse_retry_after("7") == 7
    assert parse_retry_after("") is None and parse_retry_after("soon") is None and parse_retry_after("-1") is None
    assert parse_retry_after(formatdate(0, usegmt=True)) == 0
    ahead = parse_retry_after("Fri, 31 Dec 2100 23:59:59 GMT")
    assert ahead is not None and ahead > 1e9


def test_stopping_ends_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "_FIRST", 100.0)
    stop = threading.Event()

    def fail(_: int) -> None:
        stop.set()
        failure = Failure("x")
        failure.transient = True
        raise failure

    with pytest.raises(Stopped):
        Retry(News(), stop).repeat(fail)


def test_pauses_grow_and_attempts_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def fail(attempt: int) -> None:
        calls.append(attempt)
        failure = Failure("x")
        failure.transient = attempt < 100
        raise failure

    with pytest.raises(Failure):
        Retry(News(), threading.Event()).repeat(fail)
    assert calls == list(range(ATTEMPTS))


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        (DENIED, "DENIED", "requested access is denied (DENIED)"),
        (b'{"errors":[{"code":"A","message":"m","detail":"d"},{"code":"B","message":"n"}]}', "A", "m (d); n (A)"),
        (b'{"details":"incorrect username or password"}', "", ": incorrect username or password"),
        (b'{"error":"x","error_description":"expired"}', "", ": expired"),
        (b'{"errors":[]}', "", "Unauthorized"),
        (b'{"errors":{}}', "", "Unauthorized"),
        (b'{"errors":["x"]}', "", "Unauthorized"),
        (b"[1]", "", "Unauthorized"),
        (b"plain words", "", ": plain words"),
        (b"<html>no</html>", "", "Unauthorized"),
        (b"\xff\0", "", "Unauthorized"),
        (b"[" * 100_000, "", "Unauthorized"),
        (b"x" * 100_000, "", "x" * 200),
    ],
)
def test_what_registries_say(body: bytes, code: str, text: str) -> None:
    answer = Answer(401, "Unauthorized", {}, body, "GET", "https://r.example.com/v2/a?token=secret")
    failure = make_refusal(answer, "a", authenticated=False)
    assert failure.code == code
    assert failure.message.endswith(text) and len(failure.message) < 600
    assert failure.hint == "log in first: docker login r.example.com"
    assert "secret" not in str(failure)


def test_redact() -> None:
    assert redact("https://user:pass@r.example.com:5000/v2/x?sig=secret#f") == "https://r.example.com:5000/v2/x"
