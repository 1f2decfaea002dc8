"""dpkg and its companions, as scripts call them while their packages are being installed for the first time."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from layerforge.shell.calls import Call
from layerforge.shell.patterns import matches
from layerforge.shell.values import UNKNOWN, Status, is_known, status_of
from layerforge.sources.debian.control import compare_versions
from layerforge.sources.debian.rootstate import DebFacts
from layerforge.sources.debian.scripts.calls import Emulation, done, split_options
from layerforge.sources.debian.scripts.diversions import order_nodes
from layerforge.sources.debian.scripts.permissions import parse_mode, parse_owner

if TYPE_CHECKING:
    from layerforge.sources.debian.scripts.machine import Machine

_OPERATORS: dict[str, Callable[[int], bool]] = {
    "lt": lambda order: order < 0,
    "le": lambda order: order <= 0,
    "eq": lambda order: order == 0,
    "ne": lambda order: order != 0,
    "ge": lambda order: order >= 0,
    "gt": lambda order: order > 0,
}
_SYMBOLS = {"<<": "lt", "<": "le", "<=": "le", "=": "eq", ">=": "ge", ">": "ge", ">>": "gt"}


def compare(left: str, operator: str, right: str) -> bool | None:
    """``dpkg --compare-versions``: no version is before every version, after every one with ``-nl`` operators."""
    if not is_known(left, operator, right):
        return None
    name = _SYMBOLS.get(operator, operator)
    if name.removesuffix("-nl") not in _OPERATORS:
        return None
    if left and right:
        try:
            order = compare_versions(left, right)
        except ValueError:
            return None
    else:
        order = (bool(left) - bool(right)) * (-1 if name.endswith("-nl") else 1)
    return _OPERATORS[name.removesuffix("-nl")](order)


def _dpkg(machine: Machine, call: Call) -> Status:
    arguments = list(call.arguments)
    while arguments and arguments[0] in ("--quiet", "--no-pager"):
        arguments.pop(0)
    action = arguments[0] if arguments else ""
    if action == "--compare-versions":
        left, operator, right, *_ = (*arguments[1:], "", "", "")
        return status_of(compare(left, operator, right))
    if action in ("--print-architecture", "--print-installation-architecture"):
        call.write(f"{machine.world.architecture}\n")
        return 0
    if action == "--print-foreign-architectures" or action.startswith(("--assert-", "--validate-")):
        return 0
    if action in ("-s", "--status", "-l", "--list", "-L", "--listfiles", "-S", "--search", "-W", "--show"):
        return _query(machine, call)
    call.unsure("this use of dpkg is not emulated")
    return None


def _find(machine: Machine, name: str) -> list[DebFacts]:
    base, _, architecture = name.partition(":")
    return [
        facts
        for facts in machine.world.facts.values()
        if matches([(base, False)], facts.name)
        and architecture in ("", "any", facts.fields.get("Architecture", ""), machine.world.architecture)
    ]


def _query(machine: Machine, call: Call) -> Status:
    options, names = split_options(call.arguments, "f showformat admindir root")
    form = options.get("f", options.get("showformat", "${Package}\t${Version}\n"))
    if not is_known(*names):
        call.write(UNKNOWN)
        return None
    if {"S", "search"} & options.keys():
        return _search(machine, call, names)
    status = 0
    found: list[DebFacts] = []
    for name in names or ["*"]:
        listed = _find(machine, name)
        status = status if listed else 1
        found += listed
    if {"W", "show"} & options.keys():
        call.write("".join(_format(form, facts) for facts in found))
    elif {"s", "status"} & options.keys():
        call.write("".join(_format("Package: ${Package}\nStatus: ${Status}\nVersion: ${Version}\n", f) for f in found))
    elif {"L", "listfiles"} & options.keys():
        call.write("".join(f"/{item.shipped or item.path}\n" for facts in found for item in facts.paths))
    elif {"c", "control-path"} & options.keys():
        return 1
    else:
        call.write("".join(_format("ii  ${Package} ${Version} ${Architecture}\n", facts) for facts in found))
    return status


def _search(machine: Machine, call: Call, names: list[str]) -> Status:
    status: Status = 0
    for name in names:
        pattern = name if re.search(r"[*?\[]", name) or name.startswith("/") else f"*{name}*"
        owners: list[str] = []
        for facts in machine.world.facts.values():
            for item in facts.paths:
                if matches([(pattern, False)], f"/{item.shipped or item.path}"):
                    owners.append(f"{facts.record}: /{item.shipped or item.path}\n")
        call.write("".join(owners))
        status = status if owners else 1
    return status


def _format(form: str, facts: DebFacts) -> str:
    fields = {**facts.fields, "Status": "install ok installed", "db:Status-Status": "installed"}
    fields |= {"db:Status-Abbrev": "ii ", "db:Status-Want": "install", "binary:Package": facts.record}
    fields["Conffiles"] = "".join(f"\n /{path} {digest}" for path, digest in facts.conffiles)
    fields.setdefault("Source", facts.name)
    fields |= {"source:Package": fields["Source"].split()[0], "source:Version": fields["Version"]}
    text = form.replace("\\n", "\n").replace("\\t", "\t")
    return re.sub(r"\$\{([\w:-]+)(?:;-?\d+)?\}", lambda match: fields.get(match[1], ""), text)


def _trigger(machine: Machine, call: Call) -> Status:
    _, names = split_options(call.arguments, "by-package admindir")
    for name in names:
        machine.activated[name] = None
    return 0


def _statoverride(machine: Machine, call: Call) -> Status:
    world = machine.world
    options, words = split_options(call.arguments, "admindir instdir root")
    path = "/var/lib/dpkg/statoverride"
    lines = (world.read(path) or b"").decode().splitlines()
    if "list" in options:
        pattern = words[0] if words else "*"
        found = [line for line in lines if matches([(pattern, False)], line.split(" ", 3)[-1])]
        call.write("".join(f"{line}\n" for line in found))
        return 0 if found else 1
    if not is_known(*words):
        call.unsure("the file is not known")
        return None
    if "remove" in options:
        kept = [line for line in lines if line.split(" ", 3)[-1] != words[0]]
        world.write(path, "".join(f"{line}\n" for line in kept).encode())
        return 0 if len(kept) < len(lines) else 2
    if len(words) < 4:
        return 2
    user, group, mode_text, target = words[:4]
    if any(line.split(" ", 3)[-1] == target for line in lines) and not any(o.startswith("force") for o in options):
        return 2
    kept = [line for line in lines if line.split(" ", 3)[-1] != target]
    mode = parse_mode(mode_text, 0)
    owner = parse_owner(world, f"{user.removeprefix('#')}:{group.removeprefix('#')}")
    if mode is None or owner is None:
        call.unsure("there is no such user or group")
        return 2
    kept.append(f"{user} {group} {mode:o} {target}")
    by_path = {line.split(" ", 3)[-1]: line for line in kept}
    world.write(path, "".join(f"{by_path[each]}\n" for each in order_nodes(by_path)).encode())
    if "update" in options and world.kind(target):
        uid, gid = owner
        if not world.change(target, mode=mode, uid=uid or 0, gid=gid or 0):
            call.unsure("the content of the file is not known")
    return 0


COMMANDS: dict[str, Emulation] = {
    "dpkg": _dpkg,
    "dpkg-query": _query,
    "dpkg-trigger": _trigger,
    # It moves what an older version of the package left behind: there is none.
    "dpkg-maintscript-helper": done,
    "dpkg-statoverride": _statoverride,
}
