"""dpkg-divert(1): files of other packages that are to lie elsewhere.

Source: dpkg, ``src/divert/main.c`` and, for the order of its databases, ``lib/dpkg/fsys-hash.c``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from layerforge.shell.calls import Call
from layerforge.shell.patterns import matches
from layerforge.shell.values import Status, is_known
from layerforge.sources.debian.scripts.calls import Emulation, split_options
from layerforge.sources.debian.scripts.world import World

if TYPE_CHECKING:
    from layerforge.sources.debian.scripts.machine import Machine

PATH = "/var/lib/dpkg/diversions"
LOCAL = ":"
"""The owner of diversions that no package made."""

_BINS = 262139
"""How many chains dpkg's table of paths has."""


def order_nodes(paths: Iterable[str]) -> list[str]:
    """Absolute ``paths`` in the order of dpkg's table of paths, in which it writes what it knows about them."""
    return sorted(paths, key=_find_bin)


def _find_bin(path: str) -> int:
    """FNV-1a with 32 bits of the path without its first slash."""
    number = 2166136261
    for byte in path.lstrip("/").encode("utf-8", "surrogateescape"):
        number = ((number ^ byte) * 16777619) & 0xFFFFFFFF
    return number % _BINS


def diversions(world: World) -> dict[str, tuple[str, str]]:
    """Where each diverted path goes, and which package wants that. Paths are absolute, as packages ship them."""
    lines = (world.read(PATH) or b"").decode("utf-8", "surrogateescape").splitlines()
    groups = zip(lines[0::3], lines[1::3], lines[2::3], strict=False)
    return {source: (target, owner) for source, target, owner in groups}


def _write(world: World, listed: dict[str, tuple[str, str]]) -> None:
    text = "".join("\n".join((source, *listed[source], "")) for source in order_nodes(listed))
    world.write(PATH, text.encode("utf-8", "surrogateescape"))


def _divert(machine: Machine, call: Call) -> Status:
    options, words = split_options(call.arguments, "package divert admindir instdir root")
    world = machine.world
    listed = diversions(world)
    if not is_known(*call.arguments):
        call.unsure("the file is not known")
        return None
    path = words[0] if words else ""
    if "list" in options:
        for source, (target, owner) in listed.items():
            if matches([(path or "*", False)], source) or matches([(path or "*", False)], target):
                by = "local diversion" if owner == LOCAL else "diversion"
                end = "" if owner == LOCAL else f" by {owner}"
                call.write(f"{by} of {source} to {target}{end}\n")
        return 0
    if "listpackage" in options:
        found = listed.get(path or options["listpackage"])
        if found:
            call.write(f"{'LOCAL' if found[1] == LOCAL else found[1]}\n")
        return 0
    if "truename" in options:
        call.write(f"{listed.get(path, (path, ''))[0]}\n")
        return 0
    if not path:
        return 2
    owner = LOCAL if "local" in options else options.get("package", machine.package)
    if "remove" in options:
        return _remove(machine, call, listed, path, owner, "rename" in options)
    target = options.get("divert", f"{path}.distrib")
    if world.kind(path, follow=False) == "dir":
        return 2
    if listed.get(path) == (target, owner):
        return 0
    if {path, target} & {*listed, *(target for target, _ in listed.values())}:
        return 2  # two diversions that involve one path
    renames = "rename" in options and bool(world.kind(path, follow=False)) and not _ships(machine, owner, path)
    if renames and world.kind(target, follow=False):
        return 2
    _write(world, {**listed, path: (target, owner)})
    if renames and not world.rename(path, target):
        call.unsure("the content of the file is not known")
    return 0


def _remove(
    machine: Machine, call: Call, listed: dict[str, tuple[str, str]], path: str, owner: str, renames: bool
) -> Status:
    if path not in listed or (owner and listed[path][1] != owner and "package" in str(call.arguments)):
        return 0
    target, _ = listed.pop(path)
    _write(machine.world, listed)
    if renames and machine.world.kind(target, follow=False) and not machine.world.rename(target, path):
        call.unsure("the content of the file is not known")
    return 0


def _ships(machine: Machine, owner: str, path: str) -> bool:
    """Whether what lies at ``path`` is the diverting package's own."""
    own = (facts for facts in machine.world.facts.values() if facts.name == owner)
    return any(f"/{item.shipped or item.path}" == path for facts in own for item in facts.paths)


COMMANDS: dict[str, Emulation] = {"dpkg-divert": _divert}
