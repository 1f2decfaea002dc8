"""systemd-sysusers(8) and systemd-tmpfiles(8), as packages' scripts call them with their own files."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from layerforge.shell.calls import Call
from layerforge.shell.values import Status, is_known
from layerforge.sources.debian.rootstate import folder_entry, link_entry
from layerforge.sources.debian.scripts.accounts import SYSTEM_DOWN, add_group, add_member, add_user
from layerforge.sources.debian.scripts.calls import Emulation, split_options
from layerforge.sources.debian.scripts.people import User, find_group, find_user, free_number, groups, users
from layerforge.sources.debian.scripts.world import World

if TYPE_CHECKING:
    from layerforge.sources.debian.scripts.machine import Machine

_LOCKED = "!*"
"""What systemd-sysusers puts where a password would be."""


def _configuration(machine: Machine, call: Call, kind: str) -> list[str] | None:
    """The lines of the files that are named, else of all files of a kind (``sysusers`` or ``tmpfiles``)."""
    world = machine.world
    options, names = split_options(call.arguments, "root replace prefix exclude-prefix image")
    if "inline" in options:
        return names
    folders = [f"/etc/{kind}.d", f"/run/{kind}.d", f"/usr/local/lib/{kind}.d", f"/usr/lib/{kind}.d"]
    paths: list[str] = []
    for name in names:
        if name != "-" and not name.startswith("/"):
            name = next((f"{folder}/{name}" for folder in folders if world.kind(f"{folder}/{name}")), name)
        paths.append(name)
    if not names:
        found = {name: folder for folder in reversed(folders) for name in world.names(folder)}
        paths = [f"{found[name]}/{name}" for name in sorted(found) if name.endswith(".conf")]
    lines: list[str] = []
    for path in paths:
        text = call.read() if path == "-" else world.read_text(path)
        if text is None or not is_known(text):
            call.unsure(f"the content of {path} is not known")
            continue
        lines += text.splitlines()
    return lines


def _split(line: str, count: int) -> list[str]:
    """The fields of a line, ``count`` of them; ``-`` is none."""
    try:
        words = shlex.split(line, comments=False)
    except ValueError:
        words = line.split()
    words = ["" if word == "-" else word for word in words]
    return [*words, *[""] * count][: max(count, len(words))]


def _sysusers(machine: Machine, call: Call) -> Status:
    lines = _configuration(machine, call, "sysusers") or []
    entries = [_split(line, 6) for line in lines if line.strip() and not line.lstrip().startswith("#")]
    world = machine.world
    for kind, name, number, *_ in entries:
        if kind[0] == "g" and not any(group.name == name for group in groups(world)):
            add_group(world, name, _group_number(world, number), _LOCKED)
    for kind, name, number, comment, home, shell, *_ in entries:
        if kind[0] == "u":
            _add_user(world, name, number, comment, home, shell)
    for kind, user, group, *_ in entries:
        if kind[0] == "m":
            if not any(each.name == group for each in groups(world)):
                add_group(world, group, _group_number(world, ""), _LOCKED)
            if not any(each.name == user for each in users(world)):
                _add_user(world, user, "", "", "", "")
            add_member(world, user, [group])
    return 0


def _group_number(world: World, text: str) -> int:
    taken = {group.gid for group in groups(world)}
    if text.isdigit() and int(text) not in taken:
        return int(text)
    return free_number(taken | {user.uid for user in users(world)}, SYSTEM_DOWN)


def _add_user(world: World, name: str, number: str, comment: str, home: str, shell: str) -> None:
    if any(user.name == name for user in users(world)):
        return
    uid_text, _, group_text = number.partition(":")
    uid_text = "" if uid_text == "-" else uid_text
    taken = {user.uid for user in users(world)}
    group = find_group(world, group_text) if group_text else next((g for g in groups(world) if g.name == name), None)
    if uid_text.isdigit() and int(uid_text) not in taken:
        uid = int(uid_text)
    elif uid_text.startswith("/"):
        uid = world.owner(uid_text)[0]
    elif group is not None and not group_text and group.gid not in taken:
        uid = group.gid
    else:
        uid = free_number(taken | {each.gid for each in groups(world)}, SYSTEM_DOWN)
    gid = group.gid if group else add_group(world, name, _group_number(world, str(uid)), _LOCKED).gid
    user = User(name, uid, gid, comment, home or "/", shell or ("/bin/sh" if uid == 0 else "/usr/sbin/nologin"))
    add_user(world, user, _LOCKED)


def _tmpfiles(machine: Machine, call: Call) -> Status:
    options, _ = split_options(call.arguments, "root prefix exclude-prefix image")
    if "create" not in options:
        return 0
    for line in _configuration(machine, call, "tmpfiles") or []:
        if line.strip() and not line.lstrip().startswith("#"):
            _apply(machine.world, call, line)
    return 0


def _apply(world: World, call: Call, line: str) -> None:
    words = ["" if word == "-" else word for word in line.split(None, 6)]
    kind, path, mode_text, user, group, _, argument = [*words, *[""] * 7][:7]
    letter = kind[:1]
    if "%" in path or "!" in kind or "^" in kind:
        return  # depends on the machine that runs, is for its start, or comes from credentials that it is given
    owner, team = find_user(world, user.lstrip(":") or "0"), find_group(world, group.lstrip(":") or "0")
    if owner is None or team is None:
        call.unsure(f"there is no user {user} or group {group}")
        return
    digits = mode_text.lstrip("~:")
    mode = int(digits, 8) if digits.isdigit() else (0o644 if letter in "fFwC" else 0o755)
    existing = world.kind(path, follow=False)
    if letter in "dDvqQ":
        if not existing:
            world.put(path, folder_entry(mode))
        if existing in ("", "dir"):
            world.change(path, mode=mode, uid=owner.uid, gid=team.gid)
    elif letter in "fF":
        if not existing or letter == "F" or "+" in kind:
            text = argument.encode().decode("unicode_escape") if "\\" in argument else argument
            world.write(path, text.encode(), mode, owner.uid, team.gid)
    elif letter == "L":
        if not existing or "+" in kind:
            world.put(path, link_entry(argument or f"/usr/share/factory{path}"))
    elif letter == "C":
        source = argument or f"/usr/share/factory{path}"
        if not existing and world.kind(source):
            call.shell.call("cp", ("-r", source, path))
    elif letter in "zZme" and existing:
        fields = {"mode": mode} if digits.isdigit() else {}
        world.change(path, uid=owner.uid, gid=team.gid, **fields)


COMMANDS: dict[str, Emulation] = {"systemd-sysusers": _sysusers, "systemd-tmpfiles": _tmpfiles}
