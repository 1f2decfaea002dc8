"""The packages that a base image has already, as far as its own records tell."""

from __future__ import annotations

from layerforge.sources.debian.control import parse_fields
from layerforge.sources.debian.deb import ControlFile
from layerforge.sources.debian.placement import name_record
from layerforge.sources.debian.rootstate import DebFacts, RootBase

_INFO = "var/lib/dpkg/info"
_MEMBERS = ("postinst", "triggers", "templates")


def installed_packages(base: RootBase) -> list[DebFacts]:
    """Facts about the packages of ``base``: their control fields, and those scripts that are known."""
    text = base.contents.get("var/lib/dpkg/status", b"").decode("utf-8", "replace")
    found: list[DebFacts] = []
    for stanza in text.split("\n\n"):
        fields = parse_fields(stanza)
        if fields.get("Status", "").split()[-1:] != ["installed"] or "Package" not in fields:
            continue
        record = name_record(fields)
        control = {
            member: ControlFile(0o755, base.contents[path])
            for member in _MEMBERS
            if (path := f"{_INFO}/{record}.{member}") in base.contents
        }
        found.append(DebFacts(record, fields, control))
    return found
