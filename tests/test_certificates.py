from __future__ import annotations

import base64
from pathlib import Path

import pytest

from layerforge.certificates import read_site_certificates
from layerforge.errors import SourceError
from tests.registry_servers import make_certificate


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Two different certificates, made by OpenSSL."""
    folder = tmp_path_factory.mktemp("certificates")
    return tuple(make_certificate(folder / name)[1].read_text() for name in "ab")  # type: ignore[return-value]


def read(value: str | Path) -> tuple[str, ...]:
    return read_site_certificates({"COG_CA_CERT": str(value)})


def test_nothing_given() -> None:
    assert read_site_certificates({}) == read("  ") == ()


def test_every_form_gives_the_same(pems: tuple[str, str], tmp_path: Path) -> None:
    first, second = pems
    expected = tuple(sorted(pems))
    (tmp_path / "bundle.pem").write_text(f"# of the site\n{first}\nsome words\n{second}{first}")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.crt").write_text(second)
    (folder / "b.PEM").write_text(first.replace("\n", "\r\n"))
    (folder / "notes.txt").write_text("nothing of interest")
    both = first + second
    encoded = base64.b64encode(both.encode()).decode()
    wrapped = "\n".join(encoded[start : start + 76] for start in range(0, len(encoded), 76))
    for value in (tmp_path / "bundle.pem", folder, both, encoded, wrapped):
        assert read(value) == expected


def test_a_certificate_is_taken_without_what_stands_around_it(pems: tuple[str, str]) -> None:
    assert read(f"subject=CN = test\n{pems[0]}trailing") == (pems[0],)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("/nowhere/ca.crt", "there is no file '/nowhere/ca.crt'"),
        ("c2VjcmV0", "its value is no certificate"),
        ("-----BEGIN CERTIFICATE-----\nMIIB\n", "holds no PEM certificate"),
        ("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----", "holds a damaged certificate"),
        ("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----", "holds a damaged certificate"),
    ],
)
def test_values_that_are_no_certificate(value: str, message: str) -> None:
    with pytest.raises(SourceError) as caught:
        read(value)
    assert caught.value.message == message
    assert caught.value.where == "COG_CA_CERT"
    assert "COG_CA_CERT may be" in caught.value.hint


def test_a_private_key_never_gets_into_an_image(tmp_path: Path) -> None:
    key, certificate = make_certificate(tmp_path)
    (tmp_path / "both.pem").write_text(certificate.read_text() + key.read_text())
    with pytest.raises(SourceError, match="holds a private key") as caught:
        read(tmp_path / "both.pem")
    assert "BEGIN" not in str(caught.value)


def test_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "README").write_text("none here")
    with pytest.raises(SourceError, match=r"has no \.crt or \.pem file"):
        read(tmp_path)
