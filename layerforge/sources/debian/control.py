"""Binary packages as their control stanzas describe them: names, versions, relations.

Source: Debian Policy, chapters 5 (control files) and 7 (relationships); deb-control(5). Versions are compared by
python-debian.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping

import msgspec
from debian.debian_support import NativeVersion

from layerforge.errors import ImageError, VerificationError
from layerforge.oci import Digest

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9+._-]*")
_VERSION = re.compile(r"(?:[0-9]+:)?[a-zA-Z0-9.+~:-]+")
_RELATION = re.compile(
    rf"\s*({_NAME.pattern})(?::([a-z0-9-]+))?\s*"
    r"(?:\(\s*(<<|<=|>=|>>|[<=>])\s*([a-zA-Z0-9.+~:-]+)\s*\))?\s*(?:\[[^\]]*\]\s*)?(?:<[^<>]*>\s*)*"
)
_OPERATORS = {"<": "<=", ">": ">="}
"""What the obsolete forms mean (Policy 7.1)."""
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

    ``depends`` are groups of alternatives, Pre-Depends first, as apt takes them. ``weak`` is the text of Recommends and
    Suggests, ``source`` the name and the version of the source package.
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
    breaks: tuple[Relation, ...] = ()
    weak: str = ""
    source: tuple[str, str] = ("", "")

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def parse_fields(stanza: str) -> dict[str, str]:
    """The fields of one stanza; folded lines are kept with their line breaks.

    Raises:
        ValueError: the first line belongs to no field.
    """
    fields: dict[str, str] = {}
    name = ""
    for line in stanza.split("\n"):
        if line[:1] in (" ", "\t"):
            if not name:
                raise ValueError(f"line {line.strip()!r}")
            fields[name] += "\n" + line
        elif line:
            name, _, value = line.partition(":")
            fields[name] = value.lstrip() if name == "Description" else value.strip()  # dpkg keeps what it is given
    return fields


def parse_package(stanza: str, *, archive: str, where: str = "") -> Package:
    """The Package that a stanza of a Packages file describes.

    Raises:
        VerificationError: a field is missing or malformed, or the path leaves the archive.
    """
    fields: dict[str, str] = {}
    try:
        fields = parse_fields(stanza)
        path = fields["Filename"]
        if path.startswith("/") or ".." in path.split("/"):
            raise VerificationError(f"{fields['Package']}: file name {path!r} leaves the archive", where=where)
        size = int(fields["Size"])
        if size < 0:
            raise ValueError(f"Size {size}")
        package = describe(fields)
        digest = Digest.from_hex(fields["SHA256"].lower())
        return msgspec.structs.replace(package, archive=archive, path=path, size=size, digest=digest)
    except (KeyError, ValueError, ImageError) as error:
        name = fields.get("Package") or "a package"
        raise VerificationError(f"{name}: the index has no usable {error}", where=where) from error


def describe(fields: Mapping[str, str]) -> Package:
    """What a control stanza says of its package: all but where the archive has it.

    Raises:
        KeyError: name, version or architecture is missing.
        ValueError: one of them, or a relation, is malformed.
    """
    version = fields["Version"]
    if not _VERSION.fullmatch(version) or not _NAME.fullmatch(fields["Package"]):
        raise ValueError(f"Package or Version ({fields['Package']} {version})")
    name, _, source = fields.get("Source", "").partition(" ")
    return Package(
        name=fields["Package"],
        version=version,
        architecture=fields["Architecture"],
        multi_arch=fields.get("Multi-Arch", ""),
        priority=_PRIORITIES.get(fields.get("Priority", ""), 4),
        essential=fields.get("Essential") == "yes",
        important="yes" in (fields.get("Important"), fields.get("Protected")),
        depends=parse_relations(fields.get("Pre-Depends", "")) + parse_relations(fields.get("Depends", "")),
        provides=tuple(group[0] for group in parse_relations(fields.get("Provides", ""))),
        conflicts=tuple(group[0] for group in parse_relations(fields.get("Conflicts", ""))),
        breaks=tuple(group[0] for group in parse_relations(fields.get("Breaks", ""))),
        weak=", ".join(filter(None, (fields.get("Recommends"), fields.get("Suggests")))),
        source=(name or fields["Package"], source.strip("() ") or version),
    )


@functools.lru_cache(maxsize=8192)
def parse_relations(text: str) -> tuple[tuple[Relation, ...], ...]:
    """Groups of alternatives, as in ``a (>= 1) | b, c:any``; conditions on architectures (``[…]``) are passed over.

    Raises:
        ValueError: ``text`` is malformed.
    """
    groups = (group.strip() for group in text.split(",")) if text else ()
    return tuple(tuple(_parse_relation(part) for part in group.split("|")) for group in groups if group)


def _parse_relation(text: str) -> Relation:
    match = _RELATION.fullmatch(text)
    if match is None:
        raise ValueError(f"relation {text.strip()!r}")
    name, qualifier, operator, version = match.groups()
    return Relation(name, _OPERATORS.get(operator, operator or ""), version or "", qualifier or "")


@functools.lru_cache(maxsize=1 << 16)
def compare_versions(left: str, right: str) -> int:
    """Negative, zero or positive, by Policy 5.6.12.

    Raises:
        ValueError: one is no version.
    """
    if left == right:
        return 0
    first, second = NativeVersion(left), NativeVersion(right)
    return -1 if first < second else int(first > second)


def is_within(version: str, operator: str, bound: str) -> bool:
    """Whether ``version`` meets the condition; no operator is no condition."""
    if not operator:
        return True
    order = compare_versions(version, bound)
    return {"<<": order < 0, "<=": order <= 0, "=": order == 0, ">=": order >= 0, ">>": order > 0}[operator]
