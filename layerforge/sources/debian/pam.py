"""The PAM stacks ``/etc/pam.d/common-*`` that libpam-runtime's ``pam-auth-update`` makes from packages' profiles.

Source: pam-auth-update(8) and the profile format at https://wiki.ubuntu.com/PAMConfigFrameworkSpec.
"""

from __future__ import annotations

from collections.abc import Mapping

from layerforge.sources.debian.rootstate import Entries, file_entry

_STACKS = {"auth": "Auth", "account": "Account", "password": "Password", "session": "Session"}
_STACKS["session-noninteractive"] = "Session"
_PLACES = {"session-noninteractive": "session_nonint"}
"""What a stack is called in its template, where that is not its name."""

_PROFILE = "(file name)"
"""Where a parsed profile keeps its file's name: no field can be called so."""

_FILLER = "[default=1]\t\t\tpam_permit.so"
"""The primary block of a stack for which no profile has a primary rule."""


def pam_state(files: Mapping[str, bytes]) -> Entries:
    """The stacks from the templates and the profiles that are on by default; nothing without libpam-runtime."""
    profiles = {}
    for path in sorted(files):
        if path.startswith("usr/share/pam-configs/"):
            name = path.rpartition("/")[2]
            profiles[name] = {**_parse_profile(files[path].decode("utf-8", "replace")), _PROFILE: name}
    ranked = sorted(profiles, key=lambda name: (-int(profiles[name].get("Priority", "0") or 0), name))
    enabled = [name for name in ranked if profiles[name].get("Default") == "yes"]
    entries: Entries = {}
    for stack, section in _STACKS.items():
        template = files.get(f"usr/share/pam/common-{stack}")
        if template is None:
            return {}
        chosen = [profiles[name] for name in enabled if section in profiles[name]]
        if stack == "session-noninteractive":
            chosen = [profile for profile in chosen if profile.get("Session-Interactive-Only") != "yes"]
        kind = stack.partition("-")[0]
        text = template.decode()
        record: list[str] = []
        for block in ("Primary", "Additional"):
            members = [profile for profile in chosen if profile.get(f"{section}-Type", "Primary") == block]
            place = f"${_PLACES.get(stack, kind)}_{block.lower()}\n"
            text = text.replace(place, _block(members, block, section, kind))
            record += _record(members, block, section)
        entries[f"etc/pam.d/common-{stack}"] = file_entry(text)
        entries[f"var/lib/pam/{stack}"] = file_entry("".join(f"{line}\n" for line in record))
    entries["var/lib/pam/seen"] = file_entry("".join(f"{name}\n" for name in ranked))
    return entries


def _parse_profile(text: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if line[:1] in (" ", "\t"):
            fields[name] = f"{fields[name]}\n{line.strip()}".strip("\n")
        elif ":" in line:
            name, _, value = line.partition(":")
            fields[name] = value.strip()
    return fields


def _block(members: list[dict[str, str]], block: str, section: str, kind: str) -> str:
    """The lines of one block. ``end`` in a rule means: jump over the rest of the block and the fallback behind it."""
    lines = _rules(members, section)
    if not lines and block == "Primary":
        lines = [_FILLER]
    count = len(lines)
    jumps = (line.replace("=end", f"={count - n}") for n, line in enumerate(lines))
    return "".join(f"{kind}\t{_pad(line)}\n" for line in jumps)


def _record(members: list[dict[str, str]], block: str, section: str) -> list[str]:
    """What ``/var/lib/pam`` keeps of a block, by which pam-auth-update tells its own lines from local changes."""
    if not members and block == "Primary":
        return ["Module: null", _FILLER]
    lines: list[str] = []
    for position, profile in enumerate(members):
        body = profile.get(f"{section}-Initial") if position == 0 else None
        lines += [f"Module: {profile[_PROFILE]}", *(body if body is not None else profile[section]).splitlines()]
    return lines


def _rules(members: list[dict[str, str]], section: str) -> list[str]:
    """The rules of a block as the profiles have them; the first of a stack may differ from the others."""
    lines: list[str] = []
    for position, profile in enumerate(members):
        body = profile.get(f"{section}-Initial") if position == 0 else None
        lines += (body if body is not None else profile[section]).splitlines()
    return lines


def _pad(line: str) -> str:
    """The original leaves a blank where a module has no arguments; so do we, or it would see a local change."""
    return f"{line} " if line.endswith(".so") and line != _FILLER else line
