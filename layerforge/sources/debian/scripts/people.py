"""The account files of a world: passwd(5), group(5), shadow(5) and gshadow(5)."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from layerforge.layers.headers import EPOCH
from layerforge.sources.debian.scripts.world import World

DAYS = EPOCH // 86_400
"""The day of the last password change: that of every file."""


class User(msgspec.Struct, frozen=True):
    """A line of passwd."""

    name: str
    uid: int
    gid: int
    comment: str = ""
    home: str = "/nonexistent"
    shell: str = "/usr/sbin/nologin"
    password: str = "x"

    def __str__(self) -> str:
        return f"{self.name}:{self.password}:{self.uid}:{self.gid}:{self.comment}:{self.home}:{self.shell}"


class Group(msgspec.Struct, frozen=True):
    """A line of group."""

    name: str
    gid: int
    members: tuple[str, ...] = ()
    password: str = "x"

    def __str__(self) -> str:
        return f"{self.name}:{self.password}:{self.gid}:{','.join(self.members)}"


def _lines(world: World, path: str) -> list[list[str]]:
    data = world.read(path) or b""
    return [line.split(":") for line in data.decode("utf-8", "surrogateescape").splitlines() if ":" in line]


def users(world: World) -> list[User]:
    """All users, in the file's order."""
    return [
        User(line[0], int(line[2]), int(line[3]), line[4], line[5], line[6], line[1])
        for line in _lines(world, "/etc/passwd")
        if len(line) > 6 and line[2].isdigit() and line[3].isdigit()
    ]


def groups(world: World) -> list[Group]:
    """All groups, in the file's order."""
    return [
        Group(line[0], int(line[2]), tuple(name for name in line[3].split(",") if name), line[1])
        for line in _lines(world, "/etc/group")
        if len(line) > 3 and line[2].isdigit()
    ]


def find_user(world: World, name: str) -> User | None:
    """The user of this name or number; a number without a user is one too."""
    for user in users(world):
        if name in (user.name, str(user.uid)):
            return user
    return User(name, int(name), int(name)) if name.isdigit() else None


def find_group(world: World, name: str) -> Group | None:
    """The group of this name or number."""
    for group in groups(world):
        if name in (group.name, str(group.gid)):
            return group
    return Group(name, int(name)) if name.isdigit() else None


def write_users(world: World, listed: Iterable[User]) -> None:
    """Replace the list of users; shadow follows where there is one."""
    entries = list(listed)
    shadow = {line[0]: line for line in _lines(world, "/etc/shadow")}
    world.write("/etc/passwd", _encode(entries))
    if world.kind("/etc/shadow") == "file":
        lines = [":".join(shadow.get(user.name) or [user.name, "!", str(DAYS), *[""] * 6]) for user in entries]
        world.write("/etc/shadow", _encode(lines))


def write_groups(world: World, listed: Iterable[Group], password: str = "!") -> None:
    """Replace the list of groups; gshadow follows where there is one, with ``password`` for new ones."""
    entries = list(listed)
    shadow = {line[0]: line for line in _lines(world, "/etc/gshadow")}
    world.write("/etc/group", _encode(entries))
    if world.kind("/etc/gshadow") == "file":
        lines = []
        for group in entries:
            line = shadow.get(group.name) or [group.name, password, "", ""]
            lines.append(":".join([*line[:3], ",".join(group.members)]))
        world.write("/etc/gshadow", _encode(lines))


def set_password(world: World, name: str, password: str) -> None:
    """Put a hash, ``*`` or ``!`` into shadow."""
    if world.kind("/etc/shadow") == "file":
        lines = [[line[0], password, *line[2:]] if line[0] == name else line for line in _lines(world, "/etc/shadow")]
        world.write("/etc/shadow", _encode(":".join(line) for line in lines))


def use_shadow(world: World, gid: int) -> None:
    """Move passwords to shadow files, as pwconv and grpconv do; ``gid`` is the group that may read them."""
    if world.kind("/etc/shadow") != "file":
        listed = users(world)
        lines = [f"{user.name}:{user.password}:{DAYS}:0:99999:7:::" for user in listed]
        world.write("/etc/shadow", _encode(lines), 0o640, 0, gid)
        world.write("/etc/passwd", _encode(msgspec.structs.replace(user, password="x") for user in listed))
    if world.kind("/etc/gshadow") != "file":
        known = groups(world)
        lines = [f"{group.name}:{group.password}::{','.join(group.members)}" for group in known]
        world.write("/etc/gshadow", _encode(lines), 0o640, 0, gid)
        world.write("/etc/group", _encode(msgspec.structs.replace(group, password="x") for group in known))


def free_number(taken: Iterable[int], numbers: Iterable[int]) -> int:
    """The first of ``numbers`` that is not taken.

    Raises:
        ValueError: all are taken.
    """
    used = set(taken)
    for number in numbers:
        if number not in used:
            return number
    raise ValueError("no number is free")


def _encode(lines: Iterable[object]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")
