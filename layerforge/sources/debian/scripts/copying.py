"""Programs that give files further names, copies or other places: ln, cp, mv, install."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layerforge.shell.calls import Call
from layerforge.shell.values import Status
from layerforge.sources.debian.rootstate import folder_entry, link_entry
from layerforge.sources.debian.scripts.calls import Emulation, split_options
from layerforge.sources.debian.scripts.permissions import are_known, list_below, parse_mode, parse_owner
from layerforge.sources.debian.scripts.world import World

if TYPE_CHECKING:
    from layerforge.sources.debian.scripts.machine import Machine


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
    if not paths or not are_known(call, paths):
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
    if len(paths) < (1 if "t" in options else 2) or not are_known(call, paths):
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
        for each in list(list_below(world, start)) if kind == "dir" else [start]:
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
    if len(paths) < (1 if "t" in options else 2) or not are_known(call, paths):
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
    if not paths or not are_known(call, paths):
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


COMMANDS: dict[str, Emulation] = {"ln": _ln, "cp": _cp, "mv": _mv, "install": _install}
