"""update-alternatives(1): generic names, the candidates for each, and the links that result.

The state files have the format that dpkg's ``utils/update-alternatives.c`` writes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from layerforge.shell.calls import Call
from layerforge.shell.values import UNKNOWN, Status, is_known
from layerforge.sources.debian.rootstate import RootEntry, folder_entry, link_entry
from layerforge.sources.debian.scripts.calls import Emulation
from layerforge.sources.debian.scripts.world import World
from layerforge.sources.debian.slim import is_dropped

if TYPE_CHECKING:
    from layerforge.sources.debian.scripts.machine import Machine

_FOLDER = "/var/lib/dpkg/alternatives"


class Choice(msgspec.Struct, frozen=True):
    """One candidate, with the paths of its slaves by their names."""

    path: str
    priority: int
    slaves: dict[str, str] = {}


class LinkGroup(msgspec.Struct, frozen=True):
    """Everything about one generic name. ``slaves`` are links by name; ``manual`` is a path chosen by hand."""

    name: str
    link: str
    slaves: dict[str, str] = {}
    choices: tuple[Choice, ...] = ()
    manual: str = ""

    @property
    def best(self) -> Choice | None:
        """The candidate that is used: the one chosen by hand, else the first of the highest priority."""
        chosen = next((choice for choice in self.choices if choice.path == self.manual), None)
        return chosen or max(self.choices, key=lambda choice: choice.priority, default=None)


def encode_group(group: LinkGroup) -> str:
    """The state file of a group."""
    names = sorted(group.slaves)
    lines = ["manual" if group.manual else "auto", group.link]
    for name in names:
        lines += [name, group.slaves[name]]
    lines.append("")
    for choice in sorted(group.choices, key=lambda each: each.path):
        lines += [choice.path, str(choice.priority), *(choice.slaves.get(name, "") for name in names)]
    return "\n".join([*lines, "", ""])


def decode_group(name: str, text: str, current: str = "") -> LinkGroup:
    """What :func:`encode_group` wrote, or the real program; ``current`` is where the generic link leads."""
    lines = text.split("\n")
    mode, link = lines[0], lines[1]
    position = 2
    slaves: dict[str, str] = {}
    while position + 1 < len(lines) and lines[position]:
        slaves[lines[position]] = lines[position + 1]
        position += 2
    position += 1
    choices: list[Choice] = []
    while position + 1 < len(lines) and lines[position]:
        paths = dict(zip(slaves, lines[position + 2 :], strict=False))
        choices.append(Choice(lines[position], int(lines[position + 1]), {n: p for n, p in paths.items() if p}))
        position += 2 + len(slaves)
    return LinkGroup(name, link, slaves, tuple(choices), current if mode == "manual" else "")


def _load(world: World, name: str) -> LinkGroup | None:
    text = world.read_text(f"{_FOLDER}/{name}")
    return decode_group(name, text, world.target(f"/etc/alternatives/{name}")) if text and is_known(text) else None


def _store(world: World, group: LinkGroup) -> None:
    """State file and links; a slave whose file is missing has none."""
    best = group.best
    for link, name in ((group.link, group.name), *((link, name) for name, link in group.slaves.items())):
        path = "" if best is None else best.path if name == group.name else best.slaves.get(name, "")
        generic = f"/etc/alternatives/{name}"
        if not path or (name != group.name and world.kind(path) == ""):
            for each in (generic, link):
                if world.kind(each, follow=False) == "symlink" and (each == generic or world.target(each) == generic):
                    world.remove(each)
            continue
        world.put(generic, link_entry(path))
        if world.kind(link, follow=False) in ("", "symlink"):
            world.put(link, link_entry(generic))
    if best is None:
        world.remove(f"{_FOLDER}/{group.name}")
    else:
        world.put(_FOLDER, _folder(world))
        world.write(f"{_FOLDER}/{group.name}", encode_group(group).encode())


def _folder(world: World) -> RootEntry:
    return world.entry(world.locate(_FOLDER)) or folder_entry()


def _alternatives(machine: Machine, call: Call) -> Status:
    words = list(call.arguments)
    while words and words[0].startswith("--") and words[0][2:] in _FLAGS:
        if words.pop(0)[2:] in ("altdir", "admindir", "log", "instdir", "root") and words:
            words.pop(0)
    if not words:
        return 2
    action = words.pop(0).removeprefix("--")
    if not is_known(*words):
        call.unsure("the alternative is not known")
        return None
    world = machine.world
    if action == "install":
        return _install(world, [word for word in words if word.removeprefix("--") not in _FLAGS])
    name = words[0] if words else ""
    group = _load(world, name)
    if action in ("query", "display", "list"):
        return _show(call, group, action)
    if action == "get-selections":
        call.write(UNKNOWN)
        return 0
    if group is None:
        return 0 if action.startswith("remove") else 2
    if action == "remove-all":
        group = msgspec.structs.replace(group, choices=())
    elif action == "remove":
        group = msgspec.structs.replace(group, choices=tuple(each for each in group.choices if each.path != words[1]))
    elif action == "set":
        if all(each.path != words[1] for each in group.choices):
            return 2
        group = msgspec.structs.replace(group, manual=words[1])
    elif action == "auto":
        group = msgspec.structs.replace(group, manual="")
    elif action != "config":
        call.unsure("this use of update-alternatives is not emulated")
        return None
    _store(world, group)
    return 0


_FLAGS = ("quiet", "force", "verbose", "skip-auto", "altdir", "admindir", "log", "instdir", "root")


def _install(world: World, words: list[str]) -> Status:
    if len(words) < 4 or not words[3].lstrip("-").isdigit():
        return 2
    link, name, path, priority = words[:4]
    links: dict[str, str] = {}
    paths: dict[str, str] = {}
    rest = words[4:]
    while len(rest) >= 4 and rest[0] == "--slave":
        links[rest[2]], paths[rest[2]] = rest[1], rest[3]
        rest = rest[4:]
    if world.kind(path) == "":
        # dpkg leaves such a file out too, with the same configuration.
        return 0 if is_dropped(path.lstrip("/")) else 2
    group = _load(world, name) or LinkGroup(name, link)
    kept = [choice for choice in group.choices if choice.path != path]
    kept.append(Choice(path, int(priority), paths))
    _store(world, LinkGroup(name, link, {**group.slaves, **links}, tuple(kept), group.manual))
    return 0


def _show(call: Call, group: LinkGroup | None, action: str) -> Status:
    if group is None or group.best is None:
        return 2
    if action == "list":
        call.write("".join(f"{choice.path}\n" for choice in sorted(group.choices, key=lambda each: each.path)))
        return 0
    if action == "display":
        call.write(UNKNOWN)
        return 0
    lines = [f"Name: {group.name}", f"Link: {group.link}"]
    lines += ["Slaves:", *(f" {name} {group.slaves[name]}" for name in sorted(group.slaves))] if group.slaves else []
    lines += [
        f"Status: {'manual' if group.manual else 'auto'}",
        f"Best: {group.best.path}",
        f"Value: {group.best.path}",
    ]
    for choice in sorted(group.choices, key=lambda each: each.path):
        lines += ["", f"Alternative: {choice.path}", f"Priority: {choice.priority}"]
        lines += ["Slaves:", *(f" {n} {p}" for n, p in sorted(choice.slaves.items()) if p)] if choice.slaves else []
    call.write("\n".join(lines) + "\n")
    return 0


COMMANDS: dict[str, Emulation] = {"update-alternatives": _alternatives}
