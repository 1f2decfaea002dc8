from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from layerforge.errors import SourceError
from layerforge.oci import LINUX_AMD64, Digest
from layerforge.progress import SILENCE
from layerforge.request import ProjectFolder
from layerforge.requirements import parse_requirements
from layerforge.sources.credentials import Login, find_login, learn_indexes
from layerforge.sources.download import download
from layerforge.sources.index import lock_packages
from layerforge.sources.tags import Target
from layerforge.store import Store
from tests.wheel_samples import make_wheel

USER, PASSWORD = "reader", "hunter2/with:signs"
TARGET = Target("3.13", LINUX_AMD64, 41)


class _Guarded(SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        expected = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if self.headers.get("Authorization") == expected:
            super().do_GET()
            return
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="packages"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def guarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of an index with one wheel, which wants a user name and a password."""
    root = tmp_path / "index"
    (root / "simple/secret-tool").mkdir(parents=True)
    name = "secret_tool-1.0-py3-none-any.whl"
    (root / name).write_bytes(make_wheel("secret_tool"))
    (root / "simple/secret-tool/index.html").write_text(f'<a href="/{name}">{name}</a>')
    for variable in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "UV_INDEX", "UV_DEFAULT_INDEX", "NETRC"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    (tmp_path / "home").mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Guarded, directory=str(root)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/simple"
    server.shutdown()
    server.server_close()


def _quoted(url: str, user: str = USER, password: str = PASSWORD) -> str:
    return url.replace("://", f"://{user}:{password.replace('/', '%2F').replace(':', '%3A')}@")


def _netrc(url: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (home / ".netrc").write_text(f"machine 127.0.0.1 login {USER} password {PASSWORD}\n")
    (home / ".netrc").chmod(0o600)
    return f"--index-url {url}"


def _variables(url: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("INDEX_USER", USER)
    monkeypatch.setenv("INDEX_PASSWORD", PASSWORD.replace("/", "%2F").replace(":", "%3A"))
    return f"--index-url {url.replace('://', '://${INDEX_USER}:${INDEX_PASSWORD}@')}"


def _pip(url: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("PIP_INDEX_URL", _quoted(url))
    return ""


def _uv(url: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("UV_DEFAULT_INDEX", f"my-own={url}")
    monkeypatch.setenv("UV_INDEX_MY_OWN_USERNAME", USER)
    monkeypatch.setenv("UV_INDEX_MY_OWN_PASSWORD", PASSWORD)
    return ""


def _keyring(url: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    program = home / "bin/keyring"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\n[ "$1" = get ] && [ "$3" = {USER} ] && echo "{PASSWORD}"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setenv("PIP_KEYRING_PROVIDER", "subprocess")
    return f"--index-url {url.replace('://', f'://{USER}@')}"


@pytest.mark.parametrize("way", [_netrc, _variables, _pip, _uv, _keyring])
def test_an_index_with_a_password(
    guarded: str, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: Any
) -> None:
    options = way(guarded, tmp_path / "home", monkeypatch)
    asked = parse_requirements(f"{options}\nsecret-tool\n", "requirements.txt", ProjectFolder(tmp_path))
    learn_indexes((asked.index_url,))
    (wheel,) = lock_packages(asked, TARGET, (), SILENCE)
    assert wheel.url == guarded.replace("/simple", f"/{wheel.filename}")
    data = download(store, (wheel.url,), wheel.digest, size=wheel.size).read_bytes()
    assert Digest.of(data) == wheel.digest
    assert PASSWORD not in repr(asked.identity)


def test_without_a_password_the_refusal_is_told(guarded: str, store: Store, tmp_path: Path) -> None:
    asked = parse_requirements(f"--index-url {guarded}\nsecret-tool\n", "requirements.txt", ProjectFolder(tmp_path))
    with pytest.raises(SourceError, match="401") as caught:
        lock_packages(asked, TARGET, (), SILENCE)
    assert "netrc" in caught.value.hint
    with pytest.raises(SourceError, match="401") as caught:
        download(store, (guarded.replace("/simple", "/secret_tool-1.0-py3-none-any.whl"),), Digest.of(b"x"))
    assert "netrc" in caught.value.hint


def test_a_login_is_for_its_own_server_only() -> None:
    environment = {
        "PIP_INDEX_URL": "https://u:p@one.example.org/simple",
        "HOME": "/nonexistent",
        "PIP_CONFIG_FILE": "/x",
    }
    assert find_login("https://one.example.org/files/x.whl", environment) == Login("u", "p")
    for other in ("http://one.example.org/x", "https://one.example.org:8443/x", "https://two.example.org/x"):
        assert find_login(other, environment) is None


def test_the_longest_index_of_a_server_counts() -> None:
    environment = {
        "PIP_EXTRA_INDEX_URL": "https://a:1@e.org/a/simple https://b:2@e.org/b/simple",
        "HOME": "/nonexistent",
        "PIP_CONFIG_FILE": "/x",
    }
    assert find_login("https://e.org/b/files/x.whl", environment) == Login("b", "2")
