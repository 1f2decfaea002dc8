from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerforge.errors import InvalidReference
from layerforge.oci import Digest
from layerforge.reference import DOCKER_HUB, Reference, parse_reference

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model", Reference(DOCKER_HUB, "library/model", "latest")),
        ("model:v1", Reference(DOCKER_HUB, "library/model", "v1")),
        ("team/model", Reference(DOCKER_HUB, "team/model", "latest")),
        ("docker.io/model", Reference(DOCKER_HUB, "library/model", "latest")),
        ("docker.io/team/model", Reference(DOCKER_HUB, "team/model", "latest")),
        ("index.docker.io/model", Reference(DOCKER_HUB, "library/model", "latest")),
        ("registry-1.docker.io/library/model", Reference(DOCKER_HUB, "library/model", "latest")),
        ("localhost/model", Reference("localhost", "model", "latest")),
        ("localhost:5000/a/b/c:x", Reference("localhost:5000", "a/b/c", "x")),
        ("host:5000", Reference(DOCKER_HUB, "library/host", "5000")),
        ("registry.example.com/m", Reference("registry.example.com", "m", "latest")),
        ("[::1]:5000/m:1", Reference("[::1]:5000", "m", "1")),
        (f"r.example.com/m@{DIGEST}", Reference("r.example.com", "m", "", Digest(DIGEST))),
        (f"r.example.com/m:t@{DIGEST}", Reference("r.example.com", "m", "t", Digest(DIGEST))),
        ("r.example.com/a_b/c__d/e--f.g", Reference("r.example.com", "a_b/c__d/e--f.g", "latest")),
        ("m:" + "t" * 128, Reference(DOCKER_HUB, "library/m", "t" * 128)),
    ],
)
def test_what_people_type(text: str, expected: Reference) -> None:
    assert parse_reference(text) == expected


def test_no_default_tag() -> None:
    assert parse_reference("r.example.com/m", default_tag="").tag == ""


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "not a repository name"),
        ("Model", "upper-case letters are not allowed"),
        ("r.example.com/Team/model", "upper-case letters are not allowed"),
        ("r.example.com/", "not a repository name"),
        ("docker.io/", "not a repository name"),
        ("/m", "not a repository name"),
        ("a//b", "not a repository name"),
        ("r.example.com/a/", "not a repository name"),
        ("m:", "is not a tag"),
        ("m:-x", "is not a tag"),
        ("m:a b", "is not a tag"),
        ("m:" + "t" * 129, "is not a tag"),
        ("m@", "not a sha256 digest"),
        ("m@sha256:abc", "not a sha256 digest"),
        ("m@" + DIGEST.upper(), "not a sha256 digest"),
        ("m@" + DIGEST.replace("256", "512"), "not a sha256 digest"),
        ("h..:x/m", "is not a registry host"),
        ("host:port/m", "is not a registry host"),
        ("host:0/m", "is not a registry host"),
        ("host:65536/m", "is not a registry host"),
        ("-h.example/m", "is not a registry host"),
        ("https://r.example.com/m", "is not a registry host"),
        ("user:secret@r.example.com/m", "not a sha256 digest"),
        ("a" * 256, "not a repository name"),
        ("m\n", "not a repository name"),
        ("m:v1\n", "is not a tag"),
        ("a._b", "not a repository name"),
        ("münchen", "not a repository name"),
    ],
)
def test_what_is_refused(text: str, problem: str) -> None:
    with pytest.raises(InvalidReference, match=problem) as caught:
        parse_reference(text)
    assert caught.value.where == text


@pytest.mark.parametrize(
    ("registry", "expected"),
    [
        ("localhost", True),
        ("localhost:5000", True),
        ("127.0.0.1", True),
        ("127.1.2.3:80", True),
        ("[::1]", True),
        ("[::1]:5000", True),
        ("127.0.0.1.example.com", False),
        ("localhost.example.com:5000", False),
        ("[::2]:5000", False),
        ("10.0.0.1:5000", False),
        ("notlocalhost", False),
    ],
)
def test_loopback(registry: str, expected: bool) -> None:
    assert Reference(registry, "m").is_loopback is expected


_COMPONENT = st.from_regex(r"\A[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*\Z")
_REFERENCES = st.builds(
    Reference,
    st.sampled_from(["r.example.com", "localhost:5000", "[::1]:1", DOCKER_HUB]),
    st.lists(_COMPONENT, min_size=2, max_size=4).map("/".join).filter(lambda name: len(name) < 200),
    st.from_regex(r"\A[A-Za-z0-9_][A-Za-z0-9._-]{0,127}\Z"),
    st.none() | st.just(Digest(DIGEST)),
)


@given(_REFERENCES)
def test_parsing_undoes_formatting(reference: Reference) -> None:
    assert parse_reference(str(reference)) == reference


@given(st.text(max_size=60))
def test_any_text_is_a_reference_or_refused(text: str) -> None:
    try:
        reference = parse_reference(text)
    except InvalidReference:
        return
    assert parse_reference(str(reference)) == reference
