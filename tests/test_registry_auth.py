"""Who we are to a registry: passwords, tokens, helper programs, certificates."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from layerforge.errors import RegistryError, SourceError
from layerforge.image import Image
from layerforge.reference import DOCKER_HUB, Reference, parse_reference
from layerforge.registry import Registry, push_image
from layerforge.registry.auth import _is_covered, _split_challenges
from layerforge.registry.credentials import Credentials, find_credentials
from layerforge.registry.transport import _find_proxy
from layerforge.store import Store
from tests.made_images import make_image
from tests.registry_servers import (
    PASSWORD,
    USER,
    Proxy,
    Reply,
    Request,
    Trick,
    make_certificate,
    serve_registry,
    serve_registry_with_password,
    serve_registry_with_tokens,
)
from tests.test_registry import News

AUTH = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
WRONG = base64.b64encode(f"{USER}:wrong".encode()).decode()


@pytest.fixture
def image(store: Store, tmp_path: Path) -> Image:
    return make_image(store, tmp_path / "model")


@pytest.fixture
def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Writes Docker's configuration."""
    folder = tmp_path / "docker"
    folder.mkdir()
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))

    def write(**config: Any) -> None:
        (folder / "config.json").write_text(json.dumps(config))

    return write


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Installs the program docker-credential-test with this body; the file ``asked`` gets what it was asked for."""

    def install(body: str) -> Path:
        folder = tmp_path / "bin"
        folder.mkdir()
        program = folder / "docker-credential-test"
        program.write_text(f'#!/bin/sh\n[ "$1" = get ] || exit 2\ncat > {folder}/asked\n{body}\n')
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        return folder / "asked"

    return install


def reply_of_helper(username: str, secret: str) -> str:
    return f"echo '{json.dumps({'ServerURL': 'x', 'Username': username, 'Secret': secret})}'"


# -- basic authentication --------------------------------------------------------------------------------------


@pytest.mark.registry
def test_a_password(store: Store, image: Image, tmp_path: Path, configure: Callable[..., None]) -> None:
    with serve_registry_with_password(tmp_path / "registry") as address:
        reference = parse_reference(f"{address}/team/model:v1")
        with pytest.raises(RegistryError, match="401 Unauthorized: authentication required") as caught:
            push_image(store, image.manifest, reference)
        assert caught.value.hint == f"log in first: docker login {address}"
        assert caught.value.code == "UNAUTHORIZED"

        configure(auths={address: {"auth": WRONG}})
        with pytest.raises(RegistryError, match="401 Unauthorized: authentication required") as caught:
            push_image(store, image.manifest, reference)
        assert caught.value.hint == f"the stored credentials were refused: log in again with docker login {address}"

        configure(auths={address: {"auth": AUTH}})
        with Proxy(address) as proxy:
            configure(auths={proxy.address: {"auth": AUTH}})
            push_image(store, image.manifest, Reference(proxy.address, "team/model", "v1"))
            unauthorized = [request for request in proxy.requests if "Authorization" not in request.headers]
            assert len(unauthorized) == 1, "only the first request had to be asked for a password"


@pytest.mark.registry
def test_a_helper_program(
    store: Store,
    image: Image,
    tmp_path: Path,
    configure: Callable[..., None],
    helper: Callable[[str], Path],
) -> None:
    asked = helper(reply_of_helper(USER, PASSWORD))
    with serve_registry_with_password(tmp_path / "registry") as address:
        configure(credsStore="test")
        push_image(store, image.manifest, parse_reference(f"{address}/a:v1"))
        assert asked.read_text() == address
        configure(credHelpers={address: "test"}, credsStore="not-installed")
        push_image(store, image.manifest, parse_reference(f"{address}/a:v2"))


@pytest.mark.registry
def test_a_netrc_does_not_interfere(
    store: Store, image: Image, tmp_path: Path, configure: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login someone password else\n")
    with serve_registry_with_password(tmp_path / "registry") as address:
        configure(auths={address: {"auth": AUTH}})
        push_image(store, image.manifest, parse_reference(f"{address}/a:v1"))


# -- tokens ----------------------------------------------------------------------------------------------------


@pytest.mark.registry
def test_tokens(store: Store, image: Image, tmp_path: Path, configure: Callable[..., None]) -> None:
    with serve_registry_with_tokens(tmp_path / "registry") as (address, tokens):
        configure(auths={address: {"auth": AUTH}})
        reference = parse_reference(f"{address}/team/model:v1")
        push_image(store, image.manifest, reference)
        assert tokens.asked == [(USER, ("repository:team/model:pull,push",))], "one token for the whole push"

        tokens.asked.clear()
        push_image(store, image.manifest, reference)
        assert len(tokens.asked) == 1

        configure()
        tokens.asked.clear()
        with Registry(reference, push=False) as registry:
            assert registry.get_manifest("v1")[0].digest == image.manifest.digest
        assert tokens.asked == [("", ("repository:team/model:pull",))], "anyone may read"

        with pytest.raises(RegistryError, match="401") as caught:
            push_image(store, image.manifest, parse_reference(f"{address}/team/other:v1"))
        assert caught.value.hint == f"log in first: docker login {address}"


@pytest.mark.registry
def test_a_password_that_the_token_server_refuses(
    store: Store, image: Image, tmp_path: Path, configure: Callable[..., None]
) -> None:
    with serve_registry_with_tokens(tmp_path / "registry") as (address, tokens):
        configure(auths={address: {"auth": WRONG}})
        with pytest.raises(RegistryError, match="incorrect username or password") as caught:
            push_image(store, image.manifest, parse_reference(f"{address}/a:v1"))
        assert caught.value.hint == f"the stored credentials were refused: log in again with docker login {address}"
        assert caught.value.where == f"GET {tokens.url}"


@pytest.mark.registry
def test_tokens_that_expire_during_a_push(
    store: Store, tmp_path: Path, configure: Callable[..., None], image: Image
) -> None:
    with serve_registry_with_tokens(tmp_path / "registry") as (address, tokens):
        seen: dict[str, int] = {}

        def expire(request: Request) -> Trick:
            """Every token is refused from its fifth use on."""
            token = request.headers.get("Authorization", "")
            seen[token] = seen.get(token, 0) + 1
            challenge = f'Bearer realm="{tokens.url}",service="registry",scope="repository:a:pull,push"'
            return Reply(401, {"WWW-Authenticate": challenge}) if token and seen[token] > 4 else None

        with Proxy(address, expire) as proxy:
            configure(auths={proxy.address: {"auth": AUTH}})
            push_image(Store(store.root), image.manifest, Reference(proxy.address, "a", "v1"), jobs=1)
        assert len(tokens.asked) == 4, "14 requests, four to a token"


@pytest.mark.registry
def test_tokens_that_are_expired_when_they_come(
    store: Store, tmp_path: Path, configure: Callable[..., None], image: Image
) -> None:
    with serve_registry_with_tokens(tmp_path / "registry") as (address, tokens):
        tokens.lifetime = -100  # beyond the minute that registries forgive
        configure(auths={address: {"auth": AUTH}})
        with pytest.raises(RegistryError, match="401"):
            push_image(store, image.manifest, parse_reference(f"{address}/a:v1"))
        assert len(tokens.asked) == 1, "a new one for each refusal would never end"


@pytest.mark.registry
def test_mounting_asks_for_the_right_to_read_the_other_repository(
    store: Store, image: Image, tmp_path: Path, configure: Callable[..., None]
) -> None:
    with serve_registry_with_tokens(tmp_path / "registry") as (address, tokens):
        configure(auths={address: {"auth": AUTH}})
        push_image(store, image.manifest, parse_reference(f"{address}/one:v1"))
        tokens.asked.clear()
        push_image(store, image.manifest, parse_reference(f"{address}/two:v1"), mount_from=("one",))
        assert (USER, ("repository:two:pull,push", "repository:one:pull")) in tokens.asked


@pytest.mark.registry
def test_an_identity_token(
    store: Store,
    image: Image,
    tmp_path: Path,
    configure: Callable[..., None],
    helper: Callable[[str], Path],
) -> None:
    helper(reply_of_helper("<token>", "identity"))
    with serve_registry_with_tokens(tmp_path / "registry") as (address, tokens):
        configure(credHelpers={address: "test"})
        push_image(store, image.manifest, parse_reference(f"{address}/a:v1"))
        configure(auths={address: {"auth": "PHRva2VuPjo=", "identitytoken": "identity"}})
        push_image(store, image.manifest, parse_reference(f"{address}/a:v2"))
        assert [user for user, _ in tokens.asked] == [USER, USER]


@pytest.mark.parametrize(
    ("challenge", "message"),
    [
        ('Bearer service="x"', "does not say where to get it"),
        ('Bearer realm="ftp://example.org/token"', "to a place without TLS"),
        ('Bearer realm="file:///etc/passwd"', "to a place without TLS"),
        ("Negotiate", "401"),
        ("", "401"),
    ],
)
def test_challenges_that_lead_nowhere(challenge: str, message: str, configure: Callable[..., None]) -> None:
    headers = {"WWW-Authenticate": challenge} if challenge else {}
    with Proxy("127.0.0.1:1", lambda _: Reply(401, headers)) as proxy:
        configure(auths={proxy.address: {"auth": AUTH}})
        with Registry(Reference(proxy.address, "a", "v1")) as registry, pytest.raises(RegistryError, match=message):
            registry.get_manifest("v1")


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b'{"token":""}', b"{}"])
def test_token_servers_that_give_none(body: bytes, configure: Callable[..., None]) -> None:
    def trick(request: Request) -> Trick:
        if request.path.startswith("/token"):
            return Reply(200, {}, body)
        return Reply(401, {"WWW-Authenticate": f'Bearer realm="http://{request.headers["Host"]}/token"'})

    with Proxy("127.0.0.1:1", trick) as proxy:
        configure(auths={proxy.address: {"auth": AUTH}})
        with Registry(Reference(proxy.address, "a", "v1")) as registry, pytest.raises(RegistryError):
            registry.get_manifest("v1")


def test_challenges_are_told_apart() -> None:
    bearer = 'realm="https://auth.example.com/token",service="s",scope="repository:a:pull,push"'
    assert _split_challenges(f"Bearer {bearer}") == {"bearer": bearer}
    assert _split_challenges(f'Basic realm="x", bearer {bearer}') == {"basic": 'realm="x"', "bearer": bearer}
    assert _split_challenges("") == {}


def test_scopes() -> None:
    wanted = ["repository:a/b:pull,push"]
    assert _is_covered("repository:a/b:pull", wanted) and _is_covered("repository:a/b:push,pull", wanted)
    assert not _is_covered("repository:a/b:delete", wanted) and not _is_covered("repository:a/c:pull", wanted)


# -- TLS -------------------------------------------------------------------------------------------------------


@pytest.mark.registry
def test_a_registry_with_a_private_certificate(
    store: Store, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, certificate = make_certificate(tmp_path / "tls")
    tls = {"tls": {"certificate": str(certificate), "key": str(key)}}
    for variable in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(variable, raising=False)
    with serve_registry(tmp_path / "registry", http=tls) as address:
        reference = parse_reference(f"{address}/a:v1")
        with pytest.raises(RegistryError, match="its certificate is not trusted: self-signed certificate") as caught:
            push_image(store, image.manifest, reference)
        assert "SSL_CERT_FILE" in caught.value.hint
        for variable in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
            with monkeypatch.context() as patch:
                patch.setenv(variable, str(certificate))
                push_image(store, image.manifest, reference)
                push_image(store, image.manifest, reference, insecure=False)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with pytest.raises(RegistryError, match="400"):
            push_image(store, image.manifest, reference, insecure=True)


@pytest.mark.registry
def test_https_where_there_is_none(store: Store, image: Image, registry: str) -> None:
    with pytest.raises(RegistryError, match="no secure connection") as caught:
        push_image(store, image.manifest, parse_reference(f"{registry}/a:v1"), insecure=False)
    assert "does not speak TLS" in caught.value.hint


def test_a_bundle_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bundle").write_text("x")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "bundle"))
    with Registry(parse_reference("registry.invalid/a:v1")) as registry, pytest.raises(SourceError) as caught:
        registry.get_manifest("v1")
    assert caught.value.message.startswith("SSL_CERT_FILE names no list of certificates")


# -- Docker's configuration ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("auths", "expected"),
    [
        ({"r.example.com": {"auth": AUTH}}, Credentials(USER, PASSWORD)),
        ({"https://r.example.com": {"auth": AUTH}}, Credentials(USER, PASSWORD)),
        ({"https://r.example.com/v1/": {"auth": AUTH}}, Credentials(USER, PASSWORD)),
        ({"r.example.com": {"username": "u", "password": "p"}}, Credentials("u", "p")),
        ({"r.example.com": {"identitytoken": "t"}}, Credentials(identity_token="t")),
        ({"r.example.com": {"registrytoken": "t"}}, Credentials(registry_token="t")),
        ({"r.example.com": {}, "https://r.example.com/": {"auth": AUTH}}, Credentials(USER, PASSWORD)),
        ({"other.example.com": {"auth": AUTH}}, None),
        ({"r.example.com:5000": {"auth": AUTH}}, None),
        ({"r.example.com": {"auth": "%%%"}}, None),
        ({"r.example.com": {"auth": "/////w=="}}, None),
        ({"r.example.com": "x"}, None),
        ([], None),
        (None, None),
    ],
)
def test_entries(auths: Any, expected: Credentials | None, configure: Callable[..., None]) -> None:
    configure(auths=auths)
    assert find_credentials("r.example.com", News()) == expected


def test_docker_hub_has_a_key_of_its_own(configure: Callable[..., None]) -> None:
    configure(auths={"https://index.docker.io/v1/": {"auth": AUTH}})
    assert find_credentials(DOCKER_HUB, News()) == Credentials(USER, PASSWORD)


def test_the_configuration_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker" / "config.json").write_text(json.dumps({"auths": {"r.example.com": {"auth": AUTH}}}))
    assert find_credentials("r.example.com", News()) is None, "DOCKER_CONFIG names another folder"
    monkeypatch.delenv("DOCKER_CONFIG")
    assert find_credentials("r.example.com", News()) == Credentials(USER, PASSWORD)


@pytest.mark.parametrize("text", ["", "{", "\xff", '{"auths": '])
def test_a_damaged_configuration_is_a_warning(tmp_path: Path, configure: Callable[..., None], text: str) -> None:
    (tmp_path / "docker" / "config.json").write_bytes(text.encode("latin-1"))
    news = News()
    assert find_credentials("r.example.com", news) is None
    assert "config.json cannot be used" in news.lines[0]


@pytest.mark.parametrize(
    ("body", "warning"),
    [
        ("echo 'credentials not found in native keychain'; exit 1", None),
        ("echo 'the keychain is locked' >&2; exit 1", "failed: the keychain is locked"),
        ("exit 3", "failed: status 3"),
        ("echo nonsense", "gave no credentials that can be understood"),
        ("echo '[]'", "gave no credentials that can be understood"),
        ('echo \'{"Username": "u"}\'', "gave no credentials that can be understood"),
    ],
)
def test_helpers_that_do_not_help(
    configure: Callable[..., None], helper: Callable[[str], Path], body: str, warning: str | None
) -> None:
    helper(body)
    configure(credsStore="test", auths={"r.example.com": {"auth": AUTH}})
    news = News()
    assert find_credentials("r.example.com", news) == Credentials(USER, PASSWORD), "the file has some as well"
    assert [line for line in news.lines if warning and warning in line] or not (warning or news.lines)


def test_a_helper_that_is_not_installed(configure: Callable[..., None]) -> None:
    configure(credHelpers={"r.example.com": "no-such-helper"})
    news = News()
    assert find_credentials("r.example.com", news) is None
    assert news.lines == ["warning: the credential helper docker-credential-no-such-helper is not installed"]


def test_secrets_are_not_shown() -> None:
    assert "secret" not in repr(Credentials("u", "secret", "secret", "secret"))


# -- proxies ---------------------------------------------------------------------------------------------------


def test_proxies_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False), monkeypatch.delenv(name.upper(), raising=False)
    assert _find_proxy("https://r.example.com/v2/") == ""
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example.com:3128")
    monkeypatch.setenv("NO_PROXY", "internal.example.com")
    assert _find_proxy("https://r.example.com/v2/") == "http://proxy.example.com:3128"
    assert _find_proxy("https://internal.example.com/v2/") == ""
    assert _find_proxy("http://r.example.com/v2/") == ""
    assert _find_proxy("https://127.0.0.1:5000/v2/") == "" and _find_proxy("https://localhost:5000/v2/") == ""


def test_a_registry_behind_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy is asked for the whole URL, with its own password."""
    with Proxy("127.0.0.1:1", lambda _: Reply(404)) as proxy:
        monkeypatch.setenv("http_proxy", f"http://someone:pass@{proxy.address}")
        with Registry(parse_reference("r.example.com/a:v1"), insecure=True) as registry:
            assert registry.find_manifest("v1") is None
        [request] = proxy.requests
        assert request.path == "http://r.example.com/v2/a/manifests/v1"
        assert request.headers["proxy-authorization"] == "Basic " + base64.b64encode(b"someone:pass").decode()
