"""Users, groups and login shells, as base-passwd, passwd, apt and debianutils set them up on a new system."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from layerforge.errors import LayerError
from layerforge.layers.tar import EPOCH
from layerforge.sources.debian.rootstate import Entries, file_entry

SHADOW_GROUP = 42
_DAYS = EPOCH // 86_400
"""The day of the last password change: that of every file."""


def account_state(files: Mapping[str, bytes], packages: Iterable[str]) -> Entries:
    """``/etc/passwd`` and its companions from base-passwd's master files; shadow files where ``passwd`` is installed.

    Raises:
        LayerError: base-passwd is not among the packages.
    """
    names = frozenset(packages)
    try:
        users = files["usr/share/base-passwd/passwd.master"].decode().splitlines()
        groups = files["usr/share/base-passwd/group.master"].decode().splitlines()
    except KeyError as error:
        raise LayerError("no package brings the list of users (base-passwd)") from error
    if "apt" in names and not any(line.startswith("_apt:") for line in users):
        users.append("_apt:*:42:65534::/nonexistent:/usr/sbin/nologin")
    entries: Entries = {"etc/subuid": file_entry(b""), "etc/subgid": file_entry(b"")}
    if "passwd" in names:
        shadow = "".join(f"{line.split(':')[0]}:*:{_DAYS}:0:99999:7:::\n" for line in users)
        gshadow = "".join(f"{line.split(':')[0]}:*::{line.split(':')[3]}\n" for line in groups)
        entries["etc/shadow"] = file_entry(shadow, 0o640, SHADOW_GROUP)
        entries["etc/gshadow"] = file_entry(gshadow, 0o640, SHADOW_GROUP)
        users = [line.replace(":*:", ":x:", 1) for line in users]
        groups = [line.replace(":*:", ":x:", 1) for line in groups]
    entries["etc/passwd"] = file_entry("".join(f"{line}\n" for line in users))
    entries["etc/group"] = file_entry("".join(f"{line}\n" for line in groups))
    return entries | _shells(files)


def _shells(files: Mapping[str, bytes]) -> Entries:
    """``update-shells(8)``: the shells that packages declare, each also under its real path."""
    sources = sorted(path for path in files if path.startswith("usr/share/debianutils/shells"))
    declared = [line for path in sources for line in files[path].decode().splitlines()]
    if not declared:
        return {}
    shells: dict[str, None] = {}
    for line in declared:
        shell = line.partition("#")[0].strip()
        if shell:
            shells[shell] = None
            shells[shell if shell.startswith("/usr/") else f"/usr{shell}"] = None
    text = "".join(f"{shell}\n" for shell in shells)
    return {
        "etc/shells": file_entry(f"# /etc/shells: valid login shells\n{text}"),
        "var/lib/shells.state": file_entry(text),
    }
