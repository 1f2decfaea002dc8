"""Debian's alternatives: which ``update-alternatives`` calls packages make, and the links that result.

The calls are read from the postinst scripts where they are written out, which is nearly always. Formats:
update-alternatives(1); the state files as dpkg's ``utils/update-alternatives.c`` writes them.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Iterator

import msgspec

from layerforge.sources.debian.placement import merge
from layerforge.sources.debian.rootstate import DebFacts, Entries, file_entry, link_entry


class Alternative(msgspec.Struct, frozen=True):
    """One candidate for the generic ``name``: ``link`` shall lead to ``path``; ``slaves`` are (link, name, path)."""

    name: str
    link: str
    path: str
    priority: int
    slaves: tuple[tuple[str, str, str], ...] = ()


def parse_calls(script: str) -> Iterator[Alternative]:
    """The ``--install`` calls of a script whose arguments are literal; others are passed over."""
    joined = re.sub(r"\\\n\s*", " ", script)
    for line in joined.split("\n"):
        _, found, arguments = line.partition("update-alternatives ")
        if not found or "--install" not in arguments or line.lstrip().startswith("#"):
            continue
        try:
            words = shlex.split(re.split(r"\|\||&&|;|>", arguments)[0])
            yield _parse_words(words)
        except ValueError:
            continue


def _parse_words(words: list[str]) -> Alternative:
    start = words.index("--install")
    link, name, path, priority = words[start + 1 : start + 5]
    if any("$" in word or "`" in word for word in words):
        raise ValueError("not literal")
    slaves = []
    rest = words[start + 5 :]
    while rest:
        if rest[0] != "--slave" or len(rest) < 4:
            raise ValueError("unknown option")
        slaves.append((rest[1], rest[2], rest[3]))
        rest = rest[4:]
    return Alternative(name, link, path, int(priority), tuple(slaves))


def alternative_state(facts: Iterable[DebFacts], is_absent: Callable[[str], bool]) -> Entries:
    """The links and state files for all packages; ``is_absent`` says of a path below the root that it was left out.

    As with the real program, a candidate whose file is missing is not registered, a missing slave gets no link.
    """
    groups: dict[str, list[Alternative]] = {}
    for package in facts:
        script = package.control.get("postinst")
        if script is None or b"update-alternatives" not in script.content:
            continue
        for call in parse_calls(script.content.decode("utf-8", "replace")):
            known = groups.setdefault(call.name, [])
            if not is_absent(call.path.lstrip("/")) and all(other.path != call.path for other in known):
                known.append(call)
    entries: Entries = {}
    for name, candidates in sorted(groups.items()):
        if candidates:
            entries |= _link(name, candidates, is_absent)
    return entries


def _link(name: str, candidates: list[Alternative], is_absent: Callable[[str], bool]) -> Entries:
    best = max(candidates, key=lambda candidate: candidate.priority)
    entries: Entries = {}
    for link, generic, path in ((best.link, name, best.path), *best.slaves):
        if not is_absent(path.lstrip("/")):
            entries[merge(link.lstrip("/"))] = link_entry(f"/etc/alternatives/{generic}")
            entries[f"etc/alternatives/{generic}"] = link_entry(path)
    entries[f"var/lib/dpkg/alternatives/{name}"] = file_entry(_encode(candidates))
    return entries


def _encode(candidates: list[Alternative]) -> str:
    slaves = dict(sorted({generic: link for each in candidates for link, generic, _ in each.slaves}.items()))
    lines = ["auto", candidates[0].link]
    for generic, link in slaves.items():
        lines += [generic, link]
    lines.append("")
    for each in sorted(candidates, key=lambda candidate: candidate.path):
        paths = {generic: path for _, generic, path in each.slaves}
        lines += [each.path, str(each.priority), *(paths.get(generic, "") for generic in slaves)]
    return "\n".join([*lines, "", ""])
