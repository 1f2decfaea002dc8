"""The state of a root as a whole, computed from facts about all its packages. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from layerforge.sources.debian.accounts import account_state
from layerforge.sources.debian.alternatives import alternative_state
from layerforge.sources.debian.certificates import certificate_state
from layerforge.sources.debian.dpkg import database_state
from layerforge.sources.debian.loader import loader_state
from layerforge.sources.debian.pam import pam_state
from layerforge.sources.debian.rootstate import DebFacts, Entries, file_entry, folder_entry, link_entry
from layerforge.sources.debian.slim import CONFIG_PATH, DPKG_CONFIG, is_dropped
from layerforge.sources.debian.triggers import trigger_state

_MAIL_GROUP = 8
_UTMP_GROUP = 43

_LINKS: dict[str, dict[str, tuple[str, ...]]] = {
    "bookworm": {"amd64": ("bin", "lib", "lib64", "sbin"), "": ("bin", "lib", "sbin")},
}
"""Links into ``usr`` that no package of a release ships; from trixie on, base-files does."""

_DIVERSIONS = {
    "bookworm": "/usr/share/man/man1/sh.1.gz\n/usr/share/man/man1/sh.distrib.1.gz\ndash\n"
    "/bin/sh\n/bin/sh.distrib\ndash\n",
}
"""Diversions of the essential packages. Those that trixie's preinst scripts add while moving to ``/usr`` are not
needed: they protect files of the release before it."""

_NETWORKS = "default\t\t0.0.0.0\nloopback\t127.0.0.0\nlink-local\t169.254.0.0\n\n"


def root_state(facts: tuple[DebFacts, ...], release: str, architecture: str) -> Entries:
    """Everything that the layer holds. Pure."""
    files = {path: content for package in facts for path, content in package.files.items()}
    names = [package.name for package in facts]
    return {
        **_release_links(release, architecture),
        **_base_files(files, release),
        **account_state(files, names),
        **pam_state(files),
        **certificate_state(files),
        **alternative_state(facts, is_dropped),
        **loader_state(facts, architecture),
        **trigger_state(facts),
        **database_state(facts, architecture),
        "var/lib/dpkg/diversions": file_entry(_DIVERSIONS.get(release, "")),
        CONFIG_PATH: file_entry(DPKG_CONFIG),
    }


def _release_links(release: str, architecture: str) -> Entries:
    by_architecture = _LINKS.get(release, {})
    links = by_architecture.get(architecture, by_architecture.get("", ()))
    folders = {f"usr/{name}": folder_entry() for name in links if name not in ("bin", "lib", "sbin")}
    return {**{name: link_entry(f"usr/{name}") for name in links}, **folders}


def _base_files(files: Mapping[str, bytes], release: str) -> Entries:
    """What the postinst scripts of base-files, libc-bin, netbase, readline-common, tzdata and libpam-modules make."""
    entries: Entries = {
        "etc/dpkg/origins/default": link_entry("debian"),
        "etc/environment": file_entry(b""),
        "etc/localtime": link_entry("/usr/share/zoneinfo/Etc/UTC"),
        "etc/machine-id": file_entry(b"", 0o444),
        "etc/networks": file_entry(_NETWORKS),
        "etc/security/opasswd": file_entry(b"", 0o600),
        "run/lock": folder_entry(0o1777),
        "tmp": folder_entry(0o1777),
        "usr/local/man": link_entry("share/man"),
        "usr/share/man/man1": folder_entry(),  # Java's postinst fails where manuals have no folder
        "var/lock": link_entry("/run/lock"),
        "var/log/btmp": file_entry(b"", 0o660, _UTMP_GROUP),
        "var/log/lastlog": file_entry(b"", 0o664, _UTMP_GROUP),
        "var/log/wtmp": file_entry(b"", 0o664, _UTMP_GROUP),
        "var/mail": folder_entry(0o2775, _MAIL_GROUP),
        "var/run": link_entry("/run"),
        "var/spool/mail": link_entry("../mail"),
        "var/tmp": folder_entry(0o1777),
    }
    local = ["bin", "etc", "games", "include", "lib", "sbin", "share", "share/man", "src"]
    if release == "bookworm":
        entries["etc/timezone"] = file_entry("Etc/UTC\n")
        entries["var/log/faillog"] = file_entry(b"")
    else:
        local.append("libexec")
    for path in (
        "etc/opt",
        "media",
        "mnt",
        "opt",
        "srv",
        "usr/local",
        "var/opt",
        *(f"usr/local/{name}" for name in local),
    ):
        entries[path] = folder_entry()
    entries["root"] = folder_entry(0o700)
    copies = {
        "root/.bashrc": "usr/share/base-files/dot.bashrc",
        "root/.profile": "usr/share/base-files/dot.profile",
        "etc/profile": "usr/share/base-files/profile",
        "etc/motd": "usr/share/base-files/motd",
        "etc/nsswitch.conf": "usr/share/libc-bin/nsswitch.conf",
        "etc/inputrc": "usr/share/readline/inputrc",
    }
    return entries | {path: file_entry(files[source]) for path, source in copies.items() if source in files}
