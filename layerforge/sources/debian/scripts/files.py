"""Programs that make and remove files and folders: coreutils, as far as maintainer scripts use them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from layerforge.shell.calls import Call
from layerforge.shell.values import UNKNOWN, Status
from layerforge.sources.debian.rootstate import folder_entry
from layerforge.sources.debian.scripts.calls import Emulation, split_options
from layerforge.sources.debian.scripts.permissions import are_known, parse_mode

if TYPE_CHECKING:
    from layerforge.sources.debian.scripts.machine import Machine


def _mkdir(machine: Machine, call: Call) -> Status:
    options, paths = split_options(call.arguments, "m mode Z")
    if not are_known(call, paths):
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
    if not are_known(call, paths):
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


def _touch(machine: Machine, call: Call) -> Status:
    _, paths = split_options(call.arguments, "r reference d date t")
    if not are_known(call, paths):
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
    "touch": _touch,
    "mktemp": _mktemp,
    "tempfile": _mktemp,
    "tee": _tee,
}
