"""Programs that ask about files and the machine, and change nothing."""

from __future__ import annotations

import hashlib
import posixpath
import re
from typing import TYPE_CHECKING

from layerforge.shell.calls import Call
from layerforge.shell.patterns import matches
from layerforge.shell.values import UNKNOWN, Status, is_known
from layerforge.sources.debian.loader import TRIPLETS
from layerforge.sources.debian.scripts.calls import Emulation, done, split_options
from layerforge.sources.debian.scripts.people import groups, users
from layerforge.sources.debian.scripts.world import World

if TYPE_CHECKING:
    from layerforge.sources.debian.scripts.machine import Machine

MACHINES = {"amd64": "x86_64", "arm64": "aarch64", "armhf": "armv7l", "i386": "i686", "ppc64el": "ppc64le"}
"""What ``uname -m`` says for Debian's architectures, where that is another name."""

_KERNEL = "6.1.0"
"""What ``uname -r`` says: scripts ask whether the kernel is too old, and none that runs containers is."""


def _readlink(machine: Machine, call: Call) -> Status:
    options, paths = split_options(call.arguments)
    if not is_known(*paths):
        call.write(UNKNOWN)
        return None
    resolves = bool({"f", "e", "m", "canonicalize", "canonicalize-existing"} & options.keys())
    status = 0
    for argument in paths:
        path = call.path(argument)
        if resolves or call.name.endswith("realpath"):
            real = machine.world.real(path)
            if not machine.world.kind(posixpath.dirname(real)) or ("e" in options and not machine.world.kind(real)):
                status = 1
                continue
            call.write(real + ("" if "n" in options else "\n"))
        else:
            target = machine.world.target(path)
            if not target:
                status = 1
                continue
            call.write(target + ("" if "n" in options else "\n"))
    return status


def _stat(machine: Machine, call: Call) -> Status:
    world = machine.world
    options, paths = split_options(call.arguments, "c format printf")
    form = options.get("c", options.get("format", options.get("printf", "")))
    if not form or not is_known(*paths):
        call.write(UNKNOWN)
        return None
    status = 0
    for argument in paths:
        path = call.path(argument)
        item = world.at(path, follow=bool({"L", "dereference"} & options.keys()))
        if item is None:
            status = 1
            continue
        user = next((each.name for each in users(world) if each.uid == item.uid), "UNKNOWN")
        group = next((each.name for each in groups(world) if each.gid == item.gid), "UNKNOWN")
        size = world.size(path)
        fields = {"a": f"{item.mode & 0o7777:o}", "u": str(item.uid), "g": str(item.gid), "U": user, "G": group}
        fields |= {"n": argument, "s": UNKNOWN if size is None else str(size), "N": f"'{argument}'", "%": "%"}
        fields["F"] = {"dir": "directory", "symlink": "symbolic link"}.get(item.kind, "regular file")
        call.write(_fill(form, fields) + "\n")
    return status


def _fill(form: str, fields: dict[str, str]) -> str:
    return re.sub(r"%(.)", lambda match: fields.get(match[1], UNKNOWN), form)


def _ls(machine: Machine, call: Call) -> Status:
    options, paths = split_options(call.arguments)
    if not is_known(*paths):
        call.write(UNKNOWN)
        return None
    status = 0
    world, listed = machine.world, paths or ["."]
    folders: list[str] = []
    for argument in listed:
        kind = world.kind(call.path(argument))
        if not kind:
            status = 2
        elif "l" in options:
            call.write(UNKNOWN)
        elif kind == "dir" and "d" not in options:
            folders.append(argument)
        else:
            call.write(f"{argument}\n")
    for number, argument in enumerate(folders):
        if len(listed) > 1:
            call.write(f"{chr(10) if number or len(folders) < len(listed) else ''}{argument}:\n")
        shown = [n for n in world.names(call.path(argument)) if not n.startswith(".") or {"a", "A"} & options.keys()]
        call.write("".join(f"{name}\n" for name in shown))
    return status


def _find(machine: Machine, call: Call) -> Status:
    """Tests joined by and, with -print, -delete, -print0 or a printf; anything else is not known."""
    arguments = list(call.arguments)
    starts: list[str] = []
    while arguments and arguments[0] in ("-L", "-H", "-P"):
        arguments.pop(0)
    while arguments and not arguments[0].startswith(("-", "(", "!")):
        starts.append(arguments.pop(0))
    if not is_known(*starts):
        call.write(UNKNOWN)
        return None
    found = [(path, 0) for path in starts or ["."]]
    status = 0
    listed: list[tuple[str, int]] = []
    while found:
        path, depth = found.pop()
        kind = machine.world.kind(call.path(path), follow=False)
        if not kind:
            status = 1
            continue
        listed.append((path, depth))
        if kind == "dir" and depth < 30:
            names = machine.world.names(call.path(path))
            found += [(f"{path.rstrip('/')}/{name}", depth + 1) for name in reversed(names)]
    try:
        kept, action = _filter(machine.world, call, arguments, listed)
    except ValueError:
        call.write(UNKNOWN)
        call.unsure("this use of find is not emulated")
        return None
    if action == "-delete":
        for path, _ in reversed(kept):
            machine.world.remove(call.path(path))
    elif action == "-exec":
        return _execute(call, arguments, kept)
    else:
        call.write("".join(f"{path}\n" for path, _ in kept))
    return status


def _execute(call: Call, arguments: list[str], kept: list[tuple[str, int]]) -> Status:
    start = next(number for number, argument in enumerate(arguments) if argument.startswith("-exec"))
    command = arguments[start + 1 :]
    end = next((number for number, word in enumerate(command) if word in (";", "+")), len(command))
    words = command[:end]
    if command[end:] == ["+"]:
        paths = [path for path, _ in kept]
        return call.shell.call(words[0], (*words[1:-1], *paths)) if paths else 0
    for path, _ in kept:
        call.shell.call(words[0], tuple(word.replace("{}", path) for word in words[1:]))
    return 0


def _filter(
    world: World, call: Call, tests: list[str], listed: list[tuple[str, int]]
) -> tuple[list[tuple[str, int]], str]:
    action = "-print"
    position = 0
    negated = False
    while position < len(tests):
        test = tests[position]
        value = tests[position + 1] if position + 1 < len(tests) else ""
        position += 1
        before = listed
        if test in ("!", "-not"):
            negated = not negated
            continue
        if test in ("-print", "-delete"):
            action = test
            continue
        if test in ("-exec", "-execdir"):
            return listed, "-exec"
        if test in ("-xdev", "-depth", "-mount", "-daystart", "-noleaf", "-a", "-and"):
            continue
        position += 1
        if test == "-name":
            listed = [each for each in listed if matches([(value, False)], posixpath.basename(each[0]))]
        elif test == "-path":
            listed = [each for each in listed if matches([(value, False)], each[0])]
        elif test == "-type":
            kind = {"f": "file", "d": "dir", "l": "symlink"}.get(value, "none")
            listed = [each for each in listed if world.kind(call.path(each[0]), follow=False) == kind]
        elif test in ("-maxdepth", "-mindepth") and value.isdigit():
            listed = [e for e in listed if (e[1] <= int(value) if test == "-maxdepth" else e[1] >= int(value))]
        else:
            raise ValueError(test)
        if negated:
            kept = set(listed)
            listed = [each for each in before if each not in kept]
            negated = False
    return listed, action


def _realpath(machine: Machine, call: Call) -> Status:
    """dpkg-realpath: like readlink -e within the root."""
    _, paths = split_options(call.arguments, "root")
    for path in paths:
        call.write(f"{machine.world.real(call.path(path))}\n")
    return 0


def _compare(machine: Machine, call: Call) -> Status:
    _, paths = split_options(call.arguments)
    data = [machine.world.read(call.path(path)) for path in paths[:2]]
    if any(machine.world.kind(call.path(path)) == "" for path in paths[:2]):
        return 2
    return None if None in data else int(data[0] != data[1])


def _digest(machine: Machine, call: Call) -> Status:
    name = call.name.rpartition("/")[2].removesuffix("sum")
    _, paths = split_options(call.arguments)
    if not paths:
        text = call.read()
        data = text.encode("utf-8", "surrogateescape")
        call.write(f"{hashlib.new(name, data).hexdigest() if is_known(text) else UNKNOWN}  -\n")
    status = 0
    for path in paths:
        content = machine.world.read(call.path(path))
        if machine.world.kind(call.path(path)) != "file":
            status = 1
        else:
            call.write(f"{UNKNOWN if content is None else hashlib.new(name, content).hexdigest()}  {path}\n")
    return status


def _uname(machine: Machine, call: Call) -> Status:
    options, _ = split_options(call.arguments)
    if not options or "s" in options:
        call.write("Linux\n")
    elif "m" in options or "p" in options or "i" in options:
        call.write(f"{MACHINES.get(machine.world.architecture, machine.world.architecture)}\n")
    elif "r" in options:
        call.write(f"{_KERNEL}\n")
    else:
        call.write(f"{UNKNOWN}\n")
    return 0


def _unknown(_: Machine, call: Call) -> Status:
    """What differs from machine to machine, or from day to day."""
    call.write(f"{UNKNOWN}\n")
    return 0


def _architecture(machine: Machine, call: Call) -> Status:
    architecture = machine.world.architecture
    triplet = TRIPLETS.get(architecture, architecture)
    for argument in call.arguments:
        name = argument.removeprefix("-q")
        if "MULTIARCH" in name or "GNU_TYPE" in name:
            call.write(f"{triplet}\n")
        elif name.endswith("_ARCH"):
            call.write(f"{architecture}\n")
    return 0


def _perl(machine: Machine, call: Call) -> Status:
    """Whether perl runs is what scripts ask with an empty program; what a real one would do is not known."""
    if call.arguments[:1] == ("-e",) and not "".join(call.arguments[1:2]).strip():
        return 0 if machine.locate("perl") else 127
    return machine.run_missing(call)


def _false(_: Machine, call: Call) -> Status:
    """No: nothing is labelled in a root that is being made."""
    del call
    return 1


def _mountpoint(_: Machine, call: Call) -> Status:
    """What every container has is mounted, as far as scripts ask."""
    return 0 if call.arguments[-1:] in (("/proc",), ("/sys",), ("/dev",)) else 1


def _whoami(_: Machine, call: Call) -> Status:
    call.write("root\n")
    return 0


COMMANDS: dict[str, Emulation] = {
    "readlink": _readlink,
    "realpath": _readlink,
    "stat": _stat,
    "ls": _ls,
    "find": _find,
    "dpkg-realpath": _realpath,
    "cmp": _compare,
    "diff": _compare,
    "md5sum": _digest,
    "sha1sum": _digest,
    "sha256sum": _digest,
    "sha512sum": _digest,
    "uname": _uname,
    "dpkg-architecture": _architecture,
    # An image is assembled from outside, as in a chroot.
    "ischroot": done,
    "date": _unknown,
    "hostname": _unknown,
    "nproc": _unknown,
    "whoami": _whoami,
    "perl": _perl,
    "mountpoint": _mountpoint,
    "selinuxenabled": _false,
    "getcap": _false,
}
