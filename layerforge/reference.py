"""Image references: ``registry/repository:tag@digest``.

Grammar: the distribution specification's ``<name>`` and ``<reference>`` productions, with Docker's defaults for a
reference that names no registry (https://github.com/distribution/reference, ``reference.go``).
"""

from __future__ import annotations

import re

import msgspec

from layerforge.errors import ImageError, InvalidReference
from layerforge.oci import Digest

DOCKER_HUB = "index.docker.io"

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_REGISTRY = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?")


class Reference(msgspec.Struct, frozen=True):
    """One image, or one repository when neither tag nor digest is set."""

    registry: str
    repository: str
    tag: str = ""
    digest: Digest | None = None

    def __str__(self) -> str:
        text = f"{self.registry}/{self.repository}"
        if self.tag:
            text += f":{self.tag}"
        if self.digest:
            text += f"@{self.digest}"
        return text

    @property
    def is_loopback(self) -> bool:
        """Whether the registry is on this machine, where plain HTTP is the custom."""
        host = self.registry.rsplit(":", 1)[0] if not self.registry.endswith("]") else self.registry
        return host in {"localhost", "[::1]"} or re.fullmatch(r"127(\.\d{1,3}){3}", host) is not None


def parse_reference(text: str, *, default_tag: str = "latest") -> Reference:
    """Parse what people type after ``-t``.

    ``default_tag`` is used when the text has neither tag nor digest; pass ``""`` for none. A first component
    without dot, colon or ``localhost`` belongs to the repository, and the registry is Docker Hub's.

    Raises:
        InvalidReference: the text breaks the grammar.
    """
    rest, at, digest_text = text.partition("@")
    digest = None
    if at:
        try:
            digest = Digest(digest_text)
        except ImageError as error:
            raise InvalidReference(error.message, where=text) from None
    first, slash, remainder = rest.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        registry, name = first, remainder
    else:
        registry, name = DOCKER_HUB, rest
    repository, colon, tag = name.partition(":")
    if registry in {"docker.io", "registry-1.docker.io"}:
        registry = DOCKER_HUB
    if registry == DOCKER_HUB and repository and "/" not in repository:
        repository = f"library/{repository}"
    hint = "a reference looks like registry.example.com/team/model:tag"
    port = registry.rpartition("]")[2].partition(":")[2]
    if not _REGISTRY.fullmatch(registry) or int(port or 1) not in range(1, 65536):
        raise InvalidReference(f"{registry!r} is not a registry host", where=text, hint=hint)
    if not _NAME.fullmatch(repository) or len(repository) > 255:
        problem = "upper-case letters are not allowed" if repository.lower() != repository else "not a repository name"
        raise InvalidReference(f"{repository!r}: {problem}", where=text, hint=hint)
    if colon and not _TAG.fullmatch(tag):
        raise InvalidReference(
            f"{tag!r} is not a tag", where=text, hint="letters, digits, '.', '_' and '-', at most 128"
        )
    if not tag and digest is None:
        tag = default_tag
    return Reference(registry, repository, tag, digest)
