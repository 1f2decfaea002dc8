"""setcap(8): capabilities of programs, so that they need not be started as root."""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING

from layerforge.shell.calls import Call
from layerforge.shell.values import Status, is_known
from layerforge.sources.debian.scripts.calls import Emulation

if TYPE_CHECKING:
    from layerforge.sources.debian.scripts.machine import Machine

_NAMES = (
    *("chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap"),
    *("linux_immutable", "net_bind_service", "net_broadcast", "net_admin", "net_raw", "ipc_lock", "ipc_owner"),
    *("sys_module", "sys_rawio", "sys_chroot", "sys_ptrace", "sys_pacct", "sys_admin", "sys_boot", "sys_nice"),
    *("sys_resource", "sys_time", "sys_tty_config", "mknod", "lease", "audit_write", "audit_control", "setfcap"),
    *("mac_override", "mac_admin", "syslog", "wake_alarm", "block_suspend", "audit_read", "perfmon", "bpf"),
    "checkpoint_restore",
)
"""Capabilities in the order of their numbers. Source: capabilities(7), ``linux/capability.h``."""

_CLAUSE = re.compile(r"(cap_\w+(?:,cap_\w+)*)([+=])([eip]*)", re.IGNORECASE)
_REVISION = 0x02000000
_EFFECTIVE = 1


def encode_capabilities(text: str) -> bytes | None:
    """The value of ``security.capability`` for clauses such as ``cap_net_raw+ep``; None for what is not understood.

    Source: cap_from_text(3); ``struct vfs_cap_data`` of revision 2 in ``linux/capability.h``.
    """
    sets: dict[int, str] = {}
    for clause in text.split():
        match = _CLAUSE.fullmatch(clause)
        if match is None:
            return None
        for name in match[1].lower().split(","):
            if name.removeprefix("cap_") not in _NAMES:
                return None
            number = _NAMES.index(name.removeprefix("cap_"))
            sets[number] = match[3].lower() + (sets.get(number, "") if match[2] == "+" else "")
    permitted, inheritable = (sum(1 << number for number, flags in sets.items() if flag in flags) for flag in "pi")
    effective = {number for number, flags in sets.items() if "e" in flags}
    if effective and effective != {number for number, flags in sets.items() if flags}:
        return None  # a file has one effective bit for all
    low = 0xFFFFFFFF
    words = (permitted & low, inheritable & low, permitted >> 32, inheritable >> 32)
    return struct.pack("<5I", _REVISION | (_EFFECTIVE if effective else 0), *words)


def _setcap(machine: Machine, call: Call) -> Status:
    if machine.locate(call.name) == "":
        return 127
    if not is_known(*call.arguments):
        call.unsure("the file is not known")
        return None
    words = [word for word in call.arguments if word not in ("-q", "-v", "--")]
    while words:
        text, path, words = words[0], call.path(words[1]) if len(words) > 1 else "", words[2:]
        if machine.world.kind(path) != "file":
            return 1
        value = b"" if text == "-r" else encode_capabilities(text)
        if value is None or "-v" in call.arguments or not machine.world.change(path, capability=value):
            call.unsure("the file's content or the capabilities are not known")
            return None
    return 0


COMMANDS: dict[str, Emulation] = {"setcap": _setcap}
