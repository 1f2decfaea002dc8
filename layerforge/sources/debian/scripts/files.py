"""Programs that make, move and change files: coreutils, as far as maintainer scripts use them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from layerforge.shell.evaluate import Call
from layerforge.shell.values import UNKNOWN, Status, is_known
from layerforge.sources.debian.rootstate import folder_entry, link_entry
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


def _below(world: World, path: str) -> Iterable[str]:
    """``path`` and everything below it, not through links."""
    yield path
    if world.kind(path, follow=False) == "dir":
        for name in world.names(path):
            yield from _below(world, f"{path.rstrip('/')}/{name}")


def _known(call: Call, arguments: Iterable[str]) -> bool:
    """Whether all ``arguments`` are known; else the call is reported."""
    if is_known(*arguments):
        return True
    call.unsure("which files these are is not known")
    return False


def _mkdir(machine: Machine, call: Call) -> Status:
    options, paths = split_options(call.arguments, "m mode Z")
    if not _known(call, paths):
        return None
    mode = parse_mode(options.get("m", options.get("mode", f"{0o777 & ~call.shell.umask:o}")), 0o777)
    status = 0
    for argument in paths:
        path = call.path(argument)
        parent = path.rstrip("/").rpartition("/")[0]
        kind = machine.world.kind(path)
        makes_parents = "p" in options or "parents" in options
        if kind:
            status = status if makes_parents and kind == "dir" else 1
        elif not makes_parents and machine.world.kind(parent or "/") != "dir":
            status = 1
        else:
            machine.world.put(path, folder_entry(0o755 if mode is None else mode))
    return status


def _rmdir(machine: Machine, call: Call) -> Status:
    options, paths = split_options(call.arguments)
    if not _known(call, paths):
        return None
    status = 0
    for argument in paths:
        path = call.path(argument)
        if machine.world.kind(path, follow=False) != "dir" or machine.world.names(path):
            status = 0 if "ignore-fail-on-non-empty" in options and machine.world.kind(path) else 1
            continue
        machine.world.remove(path)
    return status


def _rm(machine: Machine, call: Call) -> Status:
    options, paths = split_options(call.arguments)
    recursive = bool({"r", "R", "recursive"} & options.keys())
    status = 0
    for argument in paths:
        if UNKNOWN in argument:
            # Names that are not known are those of temporary files, which were never made here.
            continue
        path = call.path(argument)
        kind = machine.world.kind(path, follow=False)
        if not kind or (kind == "dir" and not recursive):
            status = status if not kind and "f" in options else 1
            continue
        machine.world.remove(path)
    return status


def _target(machine: Machine, call: Call, options: dict[str, str], paths: list[str]) -> tuple[list[str], str, bool]:
    """Sources, the destination, and whether that is a folder to put them into."""
    folder = options.get("t", options.get("target-directory"))
    if folder is not None:
        return paths, call.path(folder), True
    *sources, destination = paths
    is_folder = (
        machine.world.kind(call.path(destination)) == "dir" and not {"T", "no-target-directory"} & options.keys()
    )
    return sources, call.path(destination), is_folder


def _ln(machine: Machine, call: Call) -> Status:
    options, paths = split_options(call.arguments, "t target-directory S suffix")
    if not paths or not _known(call, paths):
        return None
    world = machine.world
    if len(paths) == 1:
        paths.append(paths[0].rstrip("/").rpartition("/")[2])
    sources, destination, is_folder = _target(machine, call, options, paths)
    if is_folder and {"n", "no-dereference"} & options.keys() and world.kind(destination, follow=False) == "symlink":
        is_folder = False
    status = 0
    for source in sources:
        path = f"{destination}/{source.rstrip('/').rpartition('/')[2]}" if is_folder else destination
        kind = world.kind(path, follow=False)
        if kind == "dir" or (kind and not {"f", "force"} & options.keys()):
            status = 1
        elif "s" in options or "symbolic" in options:
            if {"r", "relative"} & options.keys():
                source = _relative(world.real(call.path(source)), world.real(path.rpartition("/")[0] or "/"))
            if world.kind(path.rpartition("/")[0] or "/") != "dir":
                return 1
            world.put(path, link_entry(source))
        elif not world.copy(call.path(source), path):
            status = 1
    return status


def _relative(target: str, folder: str) -> str:
    there, here = target.strip("/").split("/"), [part for part in folder.split("/") if part]
    common = 0
    while common < min(len(there), len(here)) and there[common] == here[common]:
        common += 1
    return "/".join([*[".."] * (len(here) - common), *there[common:]]) or "."


def _cp(machine: Machine, call: Call) -> Status:
    options, paths = split_options(call.arguments, "t target-directory S suffix")
    if len(paths) < (1 if "t" in options else 2) or not _known(call, paths):
        return None
    world = machine.world
    keeps = bool({"a", "p", "archive", "preserve"} & options.keys())
    recursive = bool({"a", "r", "R", "recursive", "archive"} & options.keys())
    sources, destination, is_folder = _target(machine, call, options, paths)
    status = 0
    for source in sources:
        path = f"{destination}/{source.rstrip('/').rpartition('/')[2]}" if is_folder else destination
        start = call.path(source)
        kind = world.kind(start, follow=not {"a", "d", "P"} & options.keys())
        if not kind or (kind == "dir" and not recursive):
            status = 1
            continue
        if {"n", "no-clobber"} & options.keys() and world.kind(path):
            continue
        for each in list(_below(world, start)) if kind == "dir" else [start]:
            goal = path + each[len(start) :]
            if not _copy_one(world, each, goal, keeps):
                call.unsure("the content of the file is not known")
    return status


def _copy_one(world: World, source: str, goal: str, keeps: bool) -> bool:
    kind = world.kind(source, follow=False)
    if kind == "dir":
        if world.kind(goal) != "dir":
            world.put(goal, folder_entry(world.mode(source)))
        return True
    if world.kind(goal) == "file" and not keeps:
        mode, (uid, gid) = world.mode(goal), world.owner(goal)
    else:
        mode, (uid, gid) = world.mode(source), world.owner(source) if keeps else (0, 0)
        mode = mode if keeps else mode & 0o777
    if not world.copy(source, goal):
        return False
    return world.kind(goal) != "file" or world.change(goal, mode=mode, uid=uid, gid=gid)


def _mv(machine: Machine, call: Call) -> Status:
    options, paths = split_options(call.arguments, "t target-directory S suffix")
    if len(paths) < (1 if "t" in options else 2) or not _known(call, paths):
        return None
    sources, destination, is_folder = _target(machine, call, options, paths)
    status = 0
    for source in sources:
        path = f"{destination}/{source.rstrip('/').rpartition('/')[2]}" if is_folder else destination
        if not machine.world.kind(call.path(source), follow=False):
            status = 1
        elif "n" in options and machine.world.kind(path):
            continue
        elif not machine.world.rename(call.path(source), path):
            call.unsure("the content of the file is not known")
    return status


def _install(machine: Machine, call: Call) -> Status:
    options, paths = split_options(call.arguments, "m mode o owner g group t target-directory S suffix")
    if not paths or not _known(call, paths):
        return None
    world = machine.world
    mode = parse_mode(options.get("m", options.get("mode", "755")), 0)
    owner = parse_owner(
        world, f"{options.get('o', options.get('owner', ''))}:{options.get('g', options.get('group', ''))}"
    )
    if mode is None or owner is None:
        call.unsure("its owner or mode is not known")
        return None
    uid, gid = owner[0] or 0, owner[1] or 0
    if {"d", "directory"} & options.keys():
        for path in paths:
            if world.kind(call.path(path)) != "dir":
                world.put(call.path(path), folder_entry())
            world.change(call.path(path), mode=mode, uid=uid, gid=gid)
        return 0
    if len(paths) < 2 and not {"t", "target-directory"} & options.keys():
        return 1
    sources, destination, is_folder = _target(machine, call, options, paths)
    for source in sources:
        goal = f"{destination}/{source.rpartition('/')[2]}" if is_folder else destination
        if source == "/dev/null":
            world.write(goal, b"", mode, uid, gid)
        elif world.kind(call.path(source)) != "file":
            return 1
        elif world.copy(call.path(source), goal):
            world.change(goal, mode=mode, uid=uid, gid=gid)
        else:
            call.unsure("the content of the file is not known")
    return 0


def _chmod(machine: Machine, call: Call) -> Status:
    world = machine.world
    options, paths = split_options(tuple(f"./{a}" if re.match(r"-[rwxXst]", a) else a for a in call.arguments))
    reference = options.get("reference")
    if not reference:
        text, paths = (paths[0].removeprefix("./") if paths else ""), paths[1:]
    if not _known(call, paths):
        return None
    status = 0
    for argument in paths:
        path = call.path(argument)
        if not world.kind(path):
            status = 1
            continue
        for each in list(_below(world, path)) if {"R", "recursive"} & options.keys() else [path]:
            if world.kind(each, follow=False) == "symlink" and each != path:
                continue
            old = world.mode(each)
            is_folder = world.kind(each) == "dir"
            mode = world.mode(call.path(reference)) if reference else parse_mode(text, old, is_folder=is_folder)
            if mode is None or not world.change(each, mode=mode):
                call.unsure("the file's content or the mode is not known")
    return status


def _chown(machine: Machine, call: Call) -> Status:
    world = machine.world
    options, paths = split_options(call.arguments, "from")
    reference = options.get("reference")
    if reference:
        owner: tuple[int | None, int | None] | None = world.owner(call.path(reference))
    else:
        text, paths = (paths[0] if paths else ""), paths[1:]
        owner = parse_owner(world, f":{text}" if call.name.endswith("chgrp") else text)
    if owner is None or not _known(call, paths):
        call.unsure("there is no such user or group")
        return 1
    fields = {name: number for name, number in zip(("uid", "gid"), owner, strict=True) if number is not None}
    status = 0
    for argument in paths:
        path = call.path(argument)
        if not world.kind(path):
            status = 1
            continue
        for each in list(_below(world, path)) if {"R", "recursive"} & options.keys() else [path]:
            if world.kind(each, follow=False) == "symlink" and each != path:
                continue
            # The kernel takes the set-user and set-group bits away; scripts call chmod afterwards for that reason.
            bits = {} if world.kind(each) == "dir" else {"mode": world.mode(each) & 0o1777}
            if not world.change(each, **fields, **bits):
                call.unsure("the file's content is not known")
    return status


def _touch(machine: Machine, call: Call) -> Status:
    _, paths = split_options(call.arguments, "r reference d date t")
    if not _known(call, paths):
        return None
    status = 0
    for argument in paths:
        if not machine.world.kind(call.path(argument)) and not machine.world.write_text(
            call.path(argument), "", 0o666 & ~call.shell.umask
        ):
            status = 1
    return status


def _mktemp(machine: Machine, call: Call) -> Status:
    options, paths = split_options(call.arguments, "p tmpdir suffix prefix m mode")
    number = machine.take_number()
    template = paths[0] if paths else "tmp.XXXXXXXXXX"
    name = re.sub(r"X{3,}", f"{number:010d}", template) if "XXX" in template else f"{template}{number}"
    folder = options.get("p") or options.get("tmpdir") or "/tmp"
    path = call.path(name) if paths and not {"t", "p", "tmpdir"} & options.keys() else f"{folder}/{name}"
    if "u" not in options:
        if {"d", "directory"} & options.keys():
            machine.world.put(path, folder_entry(0o700))
        else:
            machine.world.write(path, b"", 0o600)
    machine.temporary.append(path)
    call.write(f"{path}\n")
    return 0


def _tee(machine: Machine, call: Call) -> Status:
    options, paths = split_options(call.arguments)
    text = call.read()
    for path in paths:
        if path.startswith("/dev/"):
            continue
        before = machine.world.read_text(call.path(path)) if {"a", "append"} & options.keys() else None
        machine.world.write_text(call.path(path), (before or "") + text)
    call.write(text)
    return 0


COMMANDS: dict[str, Emulation] = {
    "mkdir": _mkdir,
    "rmdir": _rmdir,
    "rm": _rm,
    "unlink": _rm,
    "ln": _ln,
    "cp": _cp,
    "mv": _mv,
    "install": _install,
    "chmod": _chmod,
    "chown": _chown,
    "chgrp": _chown,
    "touch": _touch,
    "mktemp": _mktemp,
    "tempfile": _mktemp,
    "tee": _tee,
}
