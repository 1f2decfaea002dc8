"""dpkg's database: the status of every package, and which triggers they have an interest in.

Formats: dpkg(1), deb-triggers(5); the order of fields is that of dpkg's ``lib/dpkg/parse.c``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from layerforge.sources.debian.control import parse_fields
from layerforge.sources.debian.placement import name_record
from layerforge.sources.debian.rootstate import DebFacts, Entries, file_entry, folder_entry

_FIRST = (
    *("Package", "Essential", "Protected", "Status", "Priority", "Section", "Installed-Size", "Origin", "Maintainer"),
    *("Bugs", "Architecture", "Multi-Arch", "Source", "Version", "Replaces", "Provides", "Depends", "Pre-Depends"),
    *("Recommends", "Suggests", "Breaks", "Conflicts", "Enhances", "Conffiles", "Description"),
)


def database_state(facts: Iterable[DebFacts], architecture: str, known: Mapping[str, bytes] | None = None) -> Entries:
    """Everything below ``/var/lib/dpkg`` that is not about a single package and that no script writes.

    ``known`` are the contents (by path) of the database that a base image has already, which is added to.
    """
    existing = known or {}
    packages = sorted(facts, key=lambda package: (package.name, package.record))
    stanzas: dict[str, str] = {}
    obsolete: dict[str, dict[str, str]] = {}
    for stanza in (existing.get("var/lib/dpkg/status") or b"").decode("utf-8", "surrogateescape").split("\n\n"):
        fields = parse_fields(stanza)
        if "Package" in fields:
            stanzas[name_record(fields)] = stanza.strip("\n") + "\n"
            obsolete[name_record(fields)] = known_conffiles(fields)
    for package in packages:
        stanzas[package.record] = status_stanza(package, obsolete.get(package.record, {}))
    status = "".join(f"{stanzas[record]}\n" for record in sorted(stanzas, key=lambda name: name.split(":")))
    entries = {
        "var/lib/dpkg/status": file_entry(status),
        "var/lib/dpkg/available": file_entry(b""),
        "var/lib/dpkg/diversions": file_entry(b""),
        "var/lib/dpkg/statoverride": file_entry(b""),
        "var/lib/dpkg/arch": file_entry(f"{architecture}\n"),
        "var/lib/dpkg/arch-native": file_entry(f"{architecture}\n"),
        "var/lib/dpkg/info/format": file_entry("1\n"),
        "var/lib/dpkg/parts": folder_entry(),
        "var/lib/dpkg/updates": folder_entry(),
        **_triggers(packages, existing),
    }
    always = ("var/lib/dpkg/status", "var/lib/dpkg/triggers/")
    return {path: entry for path, entry in entries.items() if path not in existing or path.startswith(always)}


def known_conffiles(fields: Mapping[str, str]) -> dict[str, str]:
    """The conffiles that a stanza of the status lists: path as shipped, and the MD5 of the package's version."""
    rows = [line.split() for line in fields.get("Conffiles", "").splitlines()]
    return {row[0].lstrip("/"): row[1] for row in rows if len(row) >= 2}


def status_stanza(package: DebFacts, before: Mapping[str, str] = MappingProxyType({})) -> str:
    """The stanza of an installed package. ``before`` are the conffiles of the version that it is an upgrade of."""
    fields = {**package.fields, "Status": "install ok installed"}
    gone = before.keys() - {path for path, _ in package.conffiles}
    rows = (*package.conffiles, *((path, f"{digest} obsolete") for path, digest in before.items() if path in gone))
    if rows:
        fields["Conffiles"] = "".join(f"\n /{path} {text}" for path, text in rows)
    ordered = [name for name in _FIRST if fields.get(name)]
    ordered += [name for name in package.fields if name not in _FIRST]
    return "".join(f"{name}:{'' if fields[name].startswith(chr(10)) else ' '}{fields[name]}\n" for name in ordered)


def _triggers(packages: Iterable[DebFacts], existing: Mapping[str, bytes]) -> Entries:
    paths: list[tuple[str, str]] = []
    named: dict[str, list[str]] = {}
    for path, data in existing.items():
        name = path.removeprefix("var/lib/dpkg/triggers/")
        lines = data.decode("utf-8", "surrogateescape").splitlines()
        if name == "File":
            paths += [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in lines if " " in line]
        elif name != path and name not in ("Unincorp", "Lock"):
            named[name] = lines
    for package in packages:
        member = package.control.get("triggers")
        for line in member.content.decode().splitlines() if member else ():
            match = re.match(r"\s*interest(-await|-noawait)?\s+(\S+)", line)
            if match is None:
                continue
            record = package.record + ("/noawait" if match[1] == "-noawait" else "")
            if match[2].startswith("/"):
                paths += [(match[2], record)] if (match[2], record) not in paths else []
            elif record not in named.setdefault(match[2], []):
                named[match[2]].append(record)
    entries = {
        f"var/lib/dpkg/triggers/{name}": file_entry("".join(f"{record}\n" for record in records))
        for name, records in named.items()
    }
    entries["var/lib/dpkg/triggers/File"] = file_entry("".join(f"{path} {record}\n" for path, record in sorted(paths)))
    entries["var/lib/dpkg/triggers/Unincorp"] = file_entry(b"")
    return entries
