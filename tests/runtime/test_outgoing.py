"""Downloads and uploads on their terms: sizes, times, redirects, addresses, proxies."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from layerforge_runtime import outgoing
from layerforge_runtime.limits import Terms
from layerforge_runtime.outgoing import PrivateAddress, is_public, open_url
from layerforge_runtime.transfers import download, explain, upload
from tests.conftest import require
from tests.runtime.harness import Serve
from tests.runtime.web import Web, web_server

TERMS = Terms("tester", most=1000, seconds=10, redirects=3, deny_private=False)


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    with web_server() as web:
        yield web


def fetch(url: str, path: Path, terms: Terms = TERMS, stop: threading.Event | None = None) -> bytes:
    download(url, str(path), terms, stop or threading.Event())
    return path.read_bytes()


def failure(url: str, path: Path, terms: Terms = TERMS, stop: threading.Event | None = None) -> str:
    with pytest.raises(OSError) as caught:
        fetch(url, path, terms, stop)
    return explain(caught.value)


def test_a_download(web: Web, tmp_path: Path) -> None:
    assert fetch(f"{web.url}/to/{web.url}/to/307/{web.url}/file", tmp_path / "a") == b"/file"
    assert web.received[-1].headers["user-agent"] == "tester"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/size/1001", "it has more than 1000 bytes (COG_MAX_DOWNLOAD_BYTES)"),
        ("/endless", "it has more than 1000 bytes (COG_MAX_DOWNLOAD_BYTES)"),
        ("/status/404", "answered 404 Not Found"),
        ("/to/file:///etc/passwd", "Redirection to url 'file:///etc/passwd' is not allowed"),
        ("/loop", "redirect"),
        ("/to/http://127.0.0.1:1/", "Connection refused"),
    ],
)
def test_a_download_that_is_refused(web: Web, tmp_path: Path, path: str, message: str) -> None:
    assert message in failure(web.url + path, tmp_path / "a")


def test_redirects_are_counted(web: Web, tmp_path: Path) -> None:
    chain = f"{web.url}/to/{web.url}/to/{web.url}/end"
    assert fetch(chain, tmp_path / "a", TERMS._replace(redirects=2)) == b"/end"
    assert "redirect" in failure(chain, tmp_path / "b", TERMS._replace(redirects=1))
    assert "302" in failure(chain, tmp_path / "c", TERMS._replace(redirects=0))


def test_a_server_that_drips_does_not_outstay_the_time(web: Web, tmp_path: Path) -> None:
    started = time.monotonic()
    assert "COG_DOWNLOAD_TIMEOUT" in failure(web.url + "/drip/0.05", tmp_path / "a", TERMS._replace(seconds=0.5))
    assert "timed out" in failure(web.url + "/slow/3/x", tmp_path / "b", TERMS._replace(seconds=0.3))
    assert time.monotonic() - started < 2.5


def test_a_download_can_be_stopped(web: Web, tmp_path: Path) -> None:
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    assert "stopped" in failure(web.url + "/drip/0.05", tmp_path / "a", stop=stop)


def test_answers_that_are_not_http(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def talk() -> None:
            connection, _ = listener.accept()
            connection.recv(4096)
            connection.sendall(b"SSH-2.0-something\r\n\r\n")
            connection.close()

        threading.Thread(target=talk, daemon=True).start()
        assert failure(f"http://127.0.0.1:{port}/", tmp_path / "a")
    assert failure("http:///nowhere", tmp_path / "b")
    assert failure("http://127.0.0.1:99999/", tmp_path / "c")


def test_an_upload(web: Web, tmp_path: Path) -> None:
    path = tmp_path / "a b.png"
    path.write_bytes(b"content")
    assert upload(str(path), web.url + "/base/", user_agent="x", deny_private=False) == f"{web.url}/base/a%20b.png"
    sent = web.received[-1]
    assert (sent.method, sent.headers["content-type"], sent.body) == ("PUT", "image/png", b"content")


@pytest.mark.parametrize(
    ("address", "public"),
    [
        *((each, True) for each in ("8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808")),
        *((each, False) for each in ("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254")),
        *((each, False) for each in ("0.0.0.0", "100.64.0.1", "224.0.0.1", "255.255.255.255", "::1", "::")),
        *((each, False) for each in ("fe80::1%eth0", "fd00::1", "ff02::1", "::ffff:127.0.0.1", "64:ff9b::a00:1")),
        *((each, False) for each in ("2002:7f00:1::1", "192.0.0.8", "198.18.0.1")),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(address) == public


DENYING = TERMS._replace(deny_private=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0", "127.1", "2130706433", "[::1]", "[::ffff:127.0.0.1]"])
def test_private_addresses_are_refused_however_they_are_written(web: Web, tmp_path: Path, host: str) -> None:
    port = web.url.rpartition(":")[2]
    before = len(web.received)
    assert "not public (COG_DENY_PRIVATE_URLS)" in failure(f"http://{host}:{port}/x", tmp_path / "a", DENYING)
    assert len(web.received) == before


def test_the_checked_address_is_the_one_that_is_used(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    # A name that is public when it is first looked up and private the next time.
    port = int(web.url.rpartition(":")[2])
    answers = iter(["93.184.215.14", "127.0.0.1", "127.0.0.1"])
    asked: list[str] = []
    connected: list[object] = []

    def resolve(host: str, port: int, *_: object, **__: object) -> list[object]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    class Socket(socket.socket):
        def connect(self, address: object) -> None:
            connected.append(address)
            super().connect(("127.0.0.1", port))

    monkeypatch.setattr(outgoing.socket, "getaddrinfo", resolve)
    monkeypatch.setattr(outgoing.socket, "socket", Socket)
    with open_url(f"http://rebind.example:{port}/ok", headers={}, deny_private=True) as response:
        assert response.read() == b"/ok"
    assert (asked, connected) == (["rebind.example"], [("93.184.215.14", port)])
    # And a redirect is looked at again.
    answers = iter(["93.184.215.14", "127.0.0.1"])
    with pytest.raises(OSError) as caught:
        open_url(f"http://first.example:{port}/to/http://second.example:{port}/", headers={}, deny_private=True)
    assert isinstance(caught.value.reason, PrivateAddress)  # type: ignore[attr-defined]


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    found, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    require(shutil.which("openssl"), "openssl is not installed")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test -addext subjectAltName=IP:127.0.0.1"
    subprocess.run([*command.split(), "-keyout", str(key), "-out", str(found)], check=True, capture_output=True)
    return found, key


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_https_trusts_who_the_environment_names(
    web: Web, tmp_path: Path, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with web_server(context) as secure:
        for other in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
            monkeypatch.delenv(other, raising=False)
        outgoing._trust.cache_clear()
        assert "CERTIFICATE_VERIFY_FAILED" in failure(secure.url + "/x", tmp_path / "a")
        monkeypatch.setenv(variable, str(certificate[0]))
        outgoing._trust.cache_clear()
        assert fetch(secure.url + "/x", tmp_path / "b") == b"/x"
        assert fetch(f"{web.url}/to/{secure.url}/y", tmp_path / "c") == b"/y"
        assert "not public" in failure(secure.url + "/x", tmp_path / "d", DENYING)
    outgoing._trust.cache_clear()


MODEL = """
from typing import List, Optional
from cog import BaseRunner, File, Input, Path
class Runner(BaseRunner):
    def run(self, image: Optional[Path] = Input(default=None), file: Optional[File] = Input(default=None),
            images: List[Path] = Input(default=[])) -> str:
        if images:
            return " ".join(each.read_text() for each in images)
        return image.read_text() if image else file.read().decode() if file else "nothing"
"""


def test_the_server_denies_private_urls_of_every_kind(serve: Serve, web: Web) -> None:
    server = serve(MODEL, environment={"COG_DENY_PRIVATE_URLS": "1"})
    for name in ("image", "file"):
        result = server.predict(**{name: web.url + "/secret"})
        assert result["status"] == "failed"
        assert result["error"].startswith(f"Input validation error: {name}: {web.url}/secret cannot be downloaded")
    assert server.output(image="data:,fine", file="data:,x") == "fine"
    assert not web.at("/secret")


def test_files_come_side_by_side_and_through_the_proxy(serve: Serve, web: Web) -> None:
    server = serve(MODEL, environment={"http_proxy": web.url, "no_proxy": "127.0.0.1", "COG_MAX_DOWNLOAD_BYTES": "99"})
    started = time.monotonic()
    assert server.output(images=[f"{web.url}/slow/0.5/{number}" for number in range(8)]) == " " * 7
    assert time.monotonic() - started < 2
    assert server.output(image="http://elsewhere.example/x") == "http://elsewhere.example/x"  # what the proxy was asked
    assert "COG_MAX_DOWNLOAD_BYTES" in server.predict(image=web.url + "/size/100")["error"]


def test_canceling_ends_a_download(serve: Serve, web: Web) -> None:
    server = serve(MODEL)
    body = {"input": {"image": web.url + "/drip/0.1"}}
    assert server.request("PUT", "/predictions/slow", body, {"Prefer": "respond-async"}).status == 202
    server.wait_for("BUSY")
    assert server.request("POST", "/predictions/slow/cancel").status == 200
    server.wait_for("READY", seconds=2)
    assert server.output() == "nothing"


def test_outputs_go_where_the_request_says(serve: Serve, web: Web) -> None:
    server = serve(
        """
        from cog import BaseRunner, Path
        class Runner(BaseRunner):
            def run(self, name: str = "out.png") -> Path:
                path = Path("/tmp") / name
                path.write_bytes(b"content")
                return path
        """,
        "--upload-url",
        web.url + "/default/",
    )
    assert server.output() == f"{web.url}/default/out.png"
    body = {"input": {}, "output_file_prefix": web.url + "/mine"}
    assert server.request("POST", "/predictions", body).json["output"] == f"{web.url}/mine/out.png"
    body = {"input": {}, "output_file_prefix": web.url + "/status/500?"}
    answer = server.request("POST", "/predictions", body).json
    assert answer["status"] == "failed"
    assert "out.png cannot be delivered" in answer["error"]
