"""Binary packages as their control stanzas describe them: names, versions, relations.

Source: Debian Policy, chapters 5 (control files) and 7 (relationships); deb-control(5). Versions are compared by
python-debian.
"""

from __future__ import annotations

import functools
import re

import msgspec
from debian.deb822 import PkgRelation
from debian.debian_support import NativeVersion

from layerforge.errors import ImageError, VerificationError
from layerforge.oci import Digest

_PRIORITIES = {"required": 1, "important": 2, "standard": 3, "optional": 4, "extra": 5}


class Relation(msgspec.Struct, frozen=True):
    """One alternative: a name, perhaps with a version condition (``>=``, ``2.36``) and an architecture qualifier."""

    name: str
    operator: str = ""
    version: str = ""
    qualifier: str = ""

    def __str__(self) -> str:
        name = f"{self.name}:{self.qualifier}" if self.qualifier else self.name
        return f"{name} ({self.operator} {self.version})" if self.operator else name


class Package(msgspec.Struct, frozen=True):
    """One version of a binary package in an archive.

    ``depends`` are groups of alternatives, Pre-Depends first, as apt takes them. ``order`` is its place in the index.
    """

    name: str
    version: str
    architecture: str
    archive: str = "debian"
    path: str = ""
    size: int = 0
    digest: Digest | None = None
    multi_arch: str = ""
    priority: int = 4
    essential: bool = False
    important: bool = False
    depends: tuple[tuple[Relation, ...], ...] = ()
    provides: tuple[Relation, ...] = ()
    conflicts: tuple[Relation, ...] = ()
    order: int = 0

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def parse_fields(stanza: str) -> dict[str, str]:
    """The fields of one stanza; folded lines are kept with their line breaks."""
    fields: dict[str, str] = {}
    name = ""
    for line in stanza.split("\n"):
        if line[:1] in (" ", "\t"):
            fields[name] += "\n" + line
        elif line:
            name, _, value = line.partition(":")
            fields[name] = value.lstrip() if name == "Description" else value.strip()  # dpkg keeps what it is given
    return fields


def parse_package(stanza: str, *, archive: str, order: int, where: str = "") -> Package:
    """The Package that a stanza of a Packages file describes.

    Raises:
        VerificationError: a field is missing or malformed, or the path leaves the archive.
    """
    fields = parse_fields(stanza)
    try:
        path = fields["Filename"]
        if path.startswith("/") or ".." in path.split("/"):
            raise VerificationError(f"{fields['Package']}: file name {path!r} leaves the archive", where=where)
        return Package(
            name=fields["Package"],
            version=fields["Version"],
            architecture=fields["Architecture"],
            archive=archive,
            path=path,
            size=int(fields["Size"]),
            digest=Digest.from_hex(fields["SHA256"].lower()),
            multi_arch=fields.get("Multi-Arch", ""),
            priority=_PRIORITIES.get(fields.get("Priority", ""), 4),
            essential=fields.get("Essential") == "yes",
            important="yes" in (fields.get("Important"), fields.get("Protected")),
            depends=parse_relations(fields.get("Pre-Depends", "")) + parse_relations(fields.get("Depends", "")),
            provides=tuple(group[0] for group in parse_relations(fields.get("Provides", ""))),
            conflicts=tuple(
                group[0] for name in ("Conflicts", "Breaks") for group in parse_relations(fields.get(name, ""))
            ),
            order=order,
        )
    except (KeyError, ValueError, ImageError) as error:
        name = fields.get("Package", "a package")
        raise VerificationError(f"{name}: the index has no usable {error}", where=where) from error


@functools.lru_cache(maxsize=8192)
def parse_relations(text: str) -> tuple[tuple[Relation, ...], ...]:
    """Groups of alternatives, as in ``a (>= 1) | b, c:any``."""
    if not text:
        return ()
    groups = PkgRelation.parse_relations(re.sub(r"\s+", " ", text).strip().rstrip(","))
    return tuple(
        tuple(
            Relation(
                relation["name"],
                *(_operator(relation.get("version"))),
                relation.get("archqual") or "",
            )
            for relation in group
        )
        for group in groups
    )


def _operator(version: tuple[str, str] | None) -> tuple[str, str]:
    if not version:
        return "", ""
    operator, number = version
    return {"<": "<=", ">": ">="}.get(operator, operator), number.strip()


@functools.lru_cache(maxsize=1 << 16)
def compare_versions(left: str, right: str) -> int:
    """Negative, zero or positive, by Policy 5.6.12."""
    if left == right:
        return 0
    first, second = NativeVersion(left), NativeVersion(right)
    return -1 if first < second else int(first > second)


def is_within(version: str, operator: str, bound: str) -> bool:
    """Whether ``version`` meets the condition; no operator is no condition."""
    if not operator:
        return True
    order = compare_versions(version, bound)
    return {"<<": order < 0, "<=": order <= 0, "=": order == 0, ">=": order >= 0, ">>": order > 0}.get(operator, False)
