"""Programs that change who may do what with files, and the modes and owners that others name: chmod, chown, chgrp."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from layerforge.shell.calls import Call
from layerforge.shell.values import Status, is_known
from layerforge.sources.debian.scripts.calls import Emulation, split_options
from layerforge.sources.debian.scripts.people import find_group, find_user
from layerforge.sources.debian.scripts.world import World

if TYPE_CHECKING:
    from layerforge.sources.debian.scripts.machine import Machine

_SYMBOLIC = re.compile(r"([ugoa]*)([-+=])([rwxXst]*|[ugo])")


def parse_mode(text: str, old: int, *, is_folder: bool = False) -> int | None:
    """The permission bits that chmod's ``text`` makes of ``old``; None if it is no mode."""
    if re.fullmatch(r"[0-7]{1,5}", text):
        mode = int(text, 8)
        return mode | (old & 0o6000) if is_folder and len(text) < 5 and not mode & 0o6000 else mode
    mode = old
    for clause in text.split(","):
        match = re.fullmatch(r"([ugoa]*)((?:[-+=][rwxXstugo]*)+)", clause)
        if match is None:
            return None
        who = match[1].replace("a", "ugo") or "ugo"
        for _, operator, letters in _SYMBOLIC.findall(match[2]):
            mode = _apply(mode, who, operator, letters, is_folder or bool(old & 0o111))
    return mode


def _apply(mode: int, who: str, operator: str, letters: str, may_enter: bool) -> int:
    bits = mask = 0
    for person, shift, special in (("u", 6, 0o4000), ("g", 3, 0o2000), ("o", 0, 0o1000)):
        if person not in who:
            continue
        mask |= 7 << shift | special
        value = (4 if "r" in letters else 0) | (2 if "w" in letters else 0)
        value |= 1 if "x" in letters or ("X" in letters and may_enter) else 0
        for other, other_shift in (("u", 6), ("g", 3), ("o", 0)):
            if letters == other:
                value = mode >> other_shift & 7
        bits |= value << shift
        if ("s" in letters and special in (0o4000, 0o2000)) or ("t" in letters and special == 0o1000):
            bits |= special
    if operator == "=":
        return mode & ~mask | bits
    return mode | bits if operator == "+" else mode & ~bits


def parse_owner(world: World, text: str) -> tuple[int | None, int | None] | None:
    """Numbers of user and group in ``user:group``; None for what is not named, None in all if one is not known."""
    user, separator, group = text.partition(":") if ":" in text else text.partition(".")
    uid = gid = None
    if user:
        found = find_user(world, user)
        if found is None:
            return None
        uid = found.uid
        if separator and not group:
            gid = found.gid
    if group:
        number = find_group(world, group)
        if number is None:
            return None
        gid = number.gid
    return uid, gid


def list_below(world: World, path: str) -> Iterable[str]:
    """``path`` and everything below it, not through links."""
    yield path
    if world.kind(path, follow=False) == "dir":
        for name in world.names(path):
            yield from list_below(world, f"{path.rstrip('/')}/{name}")


def are_known(call: Call, arguments: Iterable[str]) -> bool:
    """Whether all ``arguments`` are known; else the call is reported."""
    if is_known(*arguments):
        return True
    call.unsure("which files these are is not known")
    return False


def _change_each(
    machine: Machine, call: Call, paths: Iterable[str], recursive: bool, fields: Callable[[str], dict[str, int] | None]
) -> Status:
    """Change ``paths``, with what is below them if ``recursive``; ``fields`` says to what, None if that is unknown."""
    world = machine.world
    status = 0
    for argument in paths:
        path = call.path(argument)
        if not world.kind(path):
            status = 1
            continue
        for each in list(list_below(world, path)) if recursive else [path]:
            if world.kind(each, follow=False) == "symlink" and each != path:
                continue
            changed = fields(each)
            if changed is None or not world.change(each, **changed):
                call.unsure("the file's content is not known, or what becomes of it")
    return status


def _chmod(machine: Machine, call: Call) -> Status:
    world = machine.world
    options, paths = split_options(tuple(f"./{a}" if re.match(r"-[rwxXst]", a) else a for a in call.arguments))
    reference = options.get("reference")
    if not reference:
        text, paths = (paths[0].removeprefix("./") if paths else ""), paths[1:]
    if not are_known(call, paths):
        return None

    def find_mode(path: str) -> dict[str, int] | None:
        if reference:
            return {"mode": world.mode(call.path(reference))}
        mode = parse_mode(text, world.mode(path), is_folder=world.kind(path) == "dir")
        return None if mode is None else {"mode": mode}

    return _change_each(machine, call, paths, bool({"R", "recursive"} & options.keys()), find_mode)


def _chown(machine: Machine, call: Call) -> Status:
    world = machine.world
    options, paths = split_options(call.arguments, "from")
    reference = options.get("reference")
    if reference:
        owner: tuple[int | None, int | None] | None = world.owner(call.path(reference))
    else:
        text, paths = (paths[0] if paths else ""), paths[1:]
        owner = parse_owner(world, f":{text}" if call.name.endswith("chgrp") else text)
    if owner is None or not are_known(call, paths):
        call.unsure("there is no such user or group")
        return 1
    fields = {name: number for name, number in zip(("uid", "gid"), owner, strict=True) if number is not None}

    def find_owner(path: str) -> dict[str, int]:
        # The kernel takes the set-user and set-group bits away; scripts call chmod afterwards for that reason.
        return fields if world.kind(path) == "dir" else {**fields, "mode": world.mode(path) & 0o1777}

    return _change_each(machine, call, paths, bool({"R", "recursive"} & options.keys()), find_owner)


COMMANDS: dict[str, Emulation] = {"chmod": _chmod, "chown": _chown, "chgrp": _chown}
