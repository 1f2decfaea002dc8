"""Programs that make users and groups: adduser(8), useradd(8), base-passwd's update-passwd(8), and those that ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from layerforge.shell.calls import Call
from layerforge.shell.values import UNKNOWN, Status, is_known
from layerforge.sources.debian.rootstate import folder_entry
from layerforge.sources.debian.scripts.calls import Emulation, done, split_options
from layerforge.sources.debian.scripts.people import (
    Group,
    User,
    find_group,
    find_user,
    free_number,
    groups,
    set_password,
    use_shadow,
    users,
    write_groups,
    write_users,
)
from layerforge.sources.debian.scripts.world import World

if TYPE_CHECKING:
    from layerforge.sources.debian.scripts.machine import Machine

SYSTEM = range(100, 1000)
"""Numbers for system users and groups: adduser takes the lowest free one (``/etc/adduser.conf``)."""
SYSTEM_DOWN = range(999, 99, -1)
"""useradd, groupadd and systemd-sysusers take the highest free one (``/etc/login.defs``)."""
NORMAL = range(1000, 60_000)

NOGROUP = 65534


def add_group(world: World, name: str, gid: int, password: str = "!") -> Group:
    """A new group at the end of the list."""
    group = Group(name, gid)
    write_groups(world, [*groups(world), group], password)
    return group


def add_user(world: World, user: User, password: str = "!") -> None:
    """A new user at the end of the list."""
    write_users(world, [*users(world), user])
    set_password(world, user.name, password)


def add_member(world: World, user: str, names: list[str]) -> bool:
    """Make ``user`` a member of the groups; False if one of them is missing."""
    listed = groups(world)
    known = {group.name for group in listed} | {str(group.gid) for group in listed}
    changed = [
        msgspec.structs.replace(group, members=(*group.members, user))
        if (group.name in names or str(group.gid) in names) and user not in group.members
        else group
        for group in listed
    ]
    if changed != listed:
        write_groups(world, changed)
    return known.issuperset(names)


def _numbers(world: World) -> set[int]:
    return {user.uid for user in users(world)}


def _group_numbers(world: World) -> set[int]:
    return {group.gid for group in groups(world)}


_ADDUSER_VALUES = "home shell uid gid ingroup gecos comment firstuid lastuid firstgid lastgid conf G M K"


def _adduser(machine: Machine, call: Call) -> Status:
    world = machine.world
    options, names = split_options(call.arguments, _ADDUSER_VALUES)
    if not names or not is_known(*call.arguments):
        call.unsure("the user is not known")
        return None
    makes_group = call.name.endswith("addgroup") or ("group" in options and "system" not in options)
    if len(names) == 2 and not makes_group:
        return 0 if add_member(world, names[0], [names[1]]) else 1
    if makes_group:
        return _addgroup(world, names[0], options)
    return _add_account(world, names[0], options)


def _addgroup(world: World, name: str, options: dict[str, str]) -> Status:
    if any(group.name == name for group in groups(world)):
        return 0 if "system" in options else 1
    gid = options.get("gid", "")
    taken = _group_numbers(world)
    number = int(gid) if gid.isdigit() else free_number(taken, SYSTEM if "system" in options else NORMAL)
    add_group(world, name, number)
    return 0


def _add_account(world: World, name: str, options: dict[str, str]) -> Status:
    is_system = "system" in options
    if any(user.name == name for user in users(world)):
        return 0 if is_system else 1
    uid_text, numbers = options.get("uid", ""), SYSTEM if is_system else NORMAL
    own_group = "group" in options or not is_system
    gid = NOGROUP
    if "ingroup" in options or "gid" in options:
        found = find_group(world, options.get("ingroup") or options.get("gid", ""))
        if found is None:
            return 1
        gid, own_group = found.gid, False
    elif own_group and (existing := next((group for group in groups(world) if group.name == name), None)):
        gid, own_group = existing.gid, False
    taken = _numbers(world)
    if own_group:
        # adduser wants one number for both.
        uid = int(uid_text) if uid_text.isdigit() else free_number(taken | _group_numbers(world), numbers)
        gid = add_group(world, name, uid).gid
    else:
        uid = int(uid_text) if uid_text.isdigit() else free_number(taken, numbers)
    home = options.get("home") or ("/nonexistent" if is_system else f"/home/{name}")
    shell = options.get("shell") or ("/usr/sbin/nologin" if is_system else "/bin/bash")
    comment = options.get("gecos", options.get("comment", "" if is_system else ",,,"))
    add_user(world, User(name, uid, gid, comment, home, shell))
    if "no-create-home" not in options and home != "/nonexistent" and not world.kind(home):
        world.put(home, folder_entry(0o755 if is_system else 0o700, gid))
        world.change(home, uid=uid)
    return 0


def _useradd(machine: Machine, call: Call) -> Status:
    world = machine.world
    options, names = split_options(
        call.arguments,
        "u uid g gid G groups d home-dir home b base-dir c comment s shell p password K key e expiredate f inactive "
        "k skel R root P prefix",
    )
    if len(names) != 1 or not is_known(*call.arguments):
        call.unsure("the user is not known")
        return None
    name = names[0]
    if any(user.name == name for user in users(world)):
        return 9
    is_system = bool({"r", "system"} & options.keys())
    uid_text = options.get("u", options.get("uid", ""))
    numbers = SYSTEM_DOWN if is_system else NORMAL
    uid = int(uid_text) if uid_text.isdigit() else free_number(_numbers(world) | _group_numbers(world), numbers)
    group_name = options.get("g", options.get("gid", ""))
    if group_name:
        group = find_group(world, group_name)
        if group is None:
            return 6
    else:
        if any(each.name == name for each in groups(world)):
            return 9
        taken = _group_numbers(world)
        group = add_group(world, name, uid if uid not in taken else free_number(taken, numbers))
    home = options.get("d", options.get("home-dir", options.get("home", f"/home/{name}")))
    shell = options.get("s", options.get("shell", "/bin/sh"))
    add_user(world, User(name, uid, group.gid, options.get("c", options.get("comment", "")), home, shell))
    extra = options.get("G", options.get("groups", ""))
    if extra:
        add_member(world, name, extra.split(","))
    if {"m", "create-home"} & options.keys() and not world.kind(home):
        world.put(home, folder_entry(0o700, group.gid))
        world.change(home, uid=uid)
    return 0


def _groupadd(machine: Machine, call: Call) -> Status:
    world = machine.world
    options, names = split_options(call.arguments, "g gid K key p password R root P prefix U users")
    if len(names) != 1 or not is_known(*call.arguments):
        call.unsure("the group is not known")
        return None
    if any(group.name == names[0] for group in groups(world)):
        return 0 if {"f", "force"} & options.keys() else 9
    gid = options.get("g", options.get("gid", ""))
    numbers = SYSTEM_DOWN if {"r", "system"} & options.keys() else NORMAL
    add_group(world, names[0], int(gid) if gid.isdigit() else free_number(_group_numbers(world), numbers))
    return 0


def _usermod(machine: Machine, call: Call) -> Status:
    world = machine.world
    options, names = split_options(
        call.arguments,
        "u uid g gid G groups d home c comment s shell p password l login e expiredate f inactive R root P prefix",
    )
    if not names or not is_known(*call.arguments):
        call.unsure("the user is not known")
        return None
    user = next((each for each in users(world) if each.name == names[-1]), None)
    if user is None:
        return 6
    group = find_group(world, options.get("g", options.get("gid", "")) or str(user.gid))
    uid = options.get("u", options.get("uid", ""))
    changed = msgspec.structs.replace(
        user,
        uid=int(uid) if uid.isdigit() else user.uid,
        gid=group.gid if group else user.gid,
        comment=options.get("c", options.get("comment", user.comment)),
        home=options.get("d", options.get("home", user.home)),
        shell=options.get("s", options.get("shell", user.shell)),
    )
    write_users(world, [changed if each.name == user.name else each for each in users(world)])
    extra = options.get("G", options.get("groups", ""))
    if extra:
        add_member(world, user.name, extra.split(","))
    if {"L", "lock"} & options.keys():
        set_password(world, user.name, "!")
    return 0


def _chsh(machine: Machine, call: Call) -> Status:
    return _usermod(machine, call)


def _gpasswd(machine: Machine, call: Call) -> Status:
    options, names = split_options(call.arguments, "a add d delete M members")
    user = options.get("a", options.get("add"))
    return 0 if user and names and add_member(machine.world, user, [names[0]]) else 1


def _deluser(machine: Machine, call: Call) -> Status:
    world = machine.world
    _, names = split_options(call.arguments, "backup-to conf")
    if not names or not is_known(*names):
        return None
    if call.name.endswith(("delgroup", "groupdel")):
        write_groups(world, [group for group in groups(world) if group.name != names[0]])
    elif len(names) == 2:
        kept = [
            msgspec.structs.replace(group, members=tuple(m for m in group.members if m != names[0]))
            if group.name == names[1]
            else group
            for group in groups(world)
        ]
        write_groups(world, kept)
    else:
        write_users(world, [user for user in users(world) if user.name != names[0]])
    return 0


def _passwd(machine: Machine, call: Call) -> Status:
    options, names = split_options(call.arguments)
    if names and {"l", "lock", "d", "delete"} & options.keys():
        set_password(machine.world, names[0], "" if {"d", "delete"} & options.keys() else "!")
    return 0


def _getent(machine: Machine, call: Call) -> Status:
    database, *keys = [argument for argument in call.arguments if not argument.startswith("-")] or [""]
    if not is_known(*call.arguments):
        call.write(UNKNOWN)
        return None
    known = database in ("passwd", "group", "shadow", "gshadow")
    lines = (machine.world.read_text(f"/etc/{database}") or "").splitlines() if known else []
    if not keys:
        call.write("".join(f"{line}\n" for line in lines))
        return 0
    found = [line for key in keys for line in lines if key == line.split(":")[0] or key == line.split(":")[2]]
    call.write("".join(f"{line}\n" for line in found))
    return 0 if len(found) >= len(keys) else 2


def _id(machine: Machine, call: Call) -> Status:
    options, names = split_options(call.arguments)
    user = find_user(machine.world, names[0] if names else "root")
    if user is None or (names and not any(each.name == names[0] for each in users(machine.world))):
        return 1
    group = find_group(machine.world, str(user.gid))
    name = "n" in options or "name" in options
    if {"u", "user"} & options.keys():
        call.write(f"{user.name if name else user.uid}\n")
    elif {"g", "group"} & options.keys():
        call.write(f"{group.name if name and group else user.gid}\n")
    elif {"G", "groups"} & options.keys():
        extra = [each for each in groups(machine.world) if user.name in each.members]
        listed = [*([group] if group else []), *extra]
        call.write(" ".join(each.name if name else str(each.gid) for each in listed) + "\n")
    else:
        call.write(f"uid={user.uid}({user.name}) gid={user.gid}({group.name if group else ''})\n")
    return 0


def _update_passwd(machine: Machine, call: Call) -> Status:
    """base-passwd's own users and groups, where there are none yet; what a base image has stays."""
    world = machine.world
    for name in ("passwd", "group"):
        master = world.read(f"/usr/share/base-passwd/{name}.master")
        if master is None:
            call.unsure("its list of users is not known")
            return None
        path = f"/etc/{name}"
        known = world.read(path) or b""
        have = {line.split(b":")[0] for line in known.splitlines()}
        lines = [line for line in master.splitlines() if line.split(b":")[0] not in have]
        world.write(path, known + b"".join(line + b"\n" for line in lines))
    return 0


def _shadow(machine: Machine, call: Call) -> Status:
    """pwconv, grpconv and shadowconfig, which calls both."""
    if call.arguments[:1] != ("off",):
        group = find_group(machine.world, "shadow")
        use_shadow(machine.world, group.gid if group else 0)
    return 0


COMMANDS: dict[str, Emulation] = {
    "adduser": _adduser,
    "addgroup": _adduser,
    "useradd": _useradd,
    "groupadd": _groupadd,
    "usermod": _usermod,
    "chsh": _chsh,
    "chfn": done,
    "chage": done,
    "gpasswd": _gpasswd,
    "passwd": _passwd,
    "deluser": _deluser,
    "delgroup": _deluser,
    "userdel": _deluser,
    "groupdel": _deluser,
    "getent": _getent,
    "id": _id,
    "update-passwd": _update_passwd,
    "shadowconfig": _shadow,
    "pwconv": _shadow,
    "grpconv": _shadow,
}
