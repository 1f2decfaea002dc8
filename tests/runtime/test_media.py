"""Names, media types and data URLs."""

from __future__ import annotations

import base64
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerforge_runtime.media import NAME_LIMIT, data_url, decode_data_url, file_name, guess_type
from layerforge_runtime.outgoing import redact

UNKNOWN = "application/octet-stream"


@given(st.binary())
def test_data_urls_keep_their_bytes(content: bytes) -> None:
    url = data_url(content, "image/png").decode()
    assert decode_data_url(url) == content
    assert decode_data_url(url.rstrip("=")) == content
    assert decode_data_url("data:;base64," + base64.encodebytes(content).decode()) == content
    assert decode_data_url("data:," + quote_from_bytes(content)) == content
    assert decode_data_url("data:;base64," + quote_from_bytes(base64.b64encode(content), safe="")) == content


@pytest.mark.parametrize("url", ["data:", "data:;base64", "data:;base64,@@@", "data:;base64,a", "data:;base64,a=bc"])
def test_broken_data_urls(url: str) -> None:
    with pytest.raises(ValueError):
        decode_data_url(url)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://example.org/a/b%20c.png?x=/y", "b c.png"),
        ("https://example.org/a/..%2F..%2Fetc%2Fpasswd", ".._.._etc_passwd"),
        ("https://example.org/a/%00", "_"),
        ("https://example.org/..", "file"),
        ("https://example.org/", "file"),
        ("https://example.org", "file"),
        ("https://example.org/" + "é" * 300 + ".tar", "é" * 98 + ".tar"),
        ("data:image/jpeg;base64,x", "file.jpg"),
        ("data:image/webp;charset=x,y", "file.webp"),
        ("data:,x", "file.txt"),
        ("data:strange/kind,x", "file"),
    ],
)
def test_file_names(url: str, name: str) -> None:
    assert file_name(url) == name


@given(st.text())
def test_file_names_are_safe(text: str) -> None:
    try:
        name = file_name("https://example.org/" + text)
    except ValueError:  # not a URL
        return
    assert name not in ("", ".", "..")
    assert not set(name) & {"/", "\0"}
    assert len(name.encode("utf-8", "replace")) <= NAME_LIMIT


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.PNG", "image/png"),
        ("a.webp", "image/webp"),
        ("a.glb", "model/gltf-binary"),
        ("a", "application/octet-stream"),
    ],
)
def test_media_types(name: str, kind: str) -> None:
    assert guess_type(name) == kind


def test_redaction() -> None:
    assert redact("https://me:pw@example.org:8/x?token=1#f") == "https://example.org:8/x"
