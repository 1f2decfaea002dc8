"""The state of a root as a whole, computed from facts about all its packages. Pure.

Nearly all of it is what the packages' own scripts would do, read and not run (``sources/debian/scripts``). Here is
what no script does: the links of a usr-merged root where no package ships them, dpkg's database, the site's
certificates, and what is left out.
"""

from __future__ import annotations

import msgspec

from layerforge.sources.debian.certificates import BUNDLE, LOCAL, count_certificates
from layerforge.sources.debian.dpkg import database_state
from layerforge.sources.debian.ownership import Settlement
from layerforge.sources.debian.rootstate import Entries, RootBase, file_entry, folder_entry, link_entry
from layerforge.sources.debian.scripts.configure import configure
from layerforge.sources.debian.scripts.installed import installed_packages
from layerforge.sources.debian.scripts.machine import ScriptWarning
from layerforge.sources.debian.scripts.world import World
from layerforge.sources.debian.slim import CONFIG_PATH, DPKG_CONFIG, is_dropped

_LINKS: dict[str, dict[str, tuple[str, ...]]] = {
    "bookworm": {"amd64": ("bin", "lib", "lib64", "sbin"), "": ("bin", "lib", "sbin")},
}
"""Links into ``usr`` that no package of a release ships; from trixie on, base-files does."""

_LEFT_OUT = frozenset(("etc/hostname", "etc/hosts", "etc/resolv.conf"))
"""What every engine provides for each container."""


_MANUALS = "usr/share/man/man1"
"""Java's postinst fails where manuals have no folder, so that it could not be installed on top."""


class RootState(msgspec.Struct, frozen=True):
    """The entries of the layer by path, and what packages' scripts would have done besides.

    ``settlement`` is the one that was given, less what packages have lost when scripts diverted nothing.
    ``trusts_site_alone`` says whether no certificates are trusted but the site's.
    """

    entries: Entries
    warnings: tuple[ScriptWarning, ...] = ()
    settlement: Settlement = Settlement((), {})
    trusts_site_alone: bool = False


def root_state(
    settlement: Settlement,
    release: str,
    architecture: str,
    *,
    base: RootBase | None = None,
    certificates: tuple[str, ...] = (),
) -> RootState:
    """Everything that the layer holds. Pure.

    ``settlement`` has the facts about the packages that are added: to nothing, or to ``base``, of which nothing changes
    where none are. ``certificates`` are the site's, each as PEM text.

    Raises:
        LayerError: a certificate is damaged, or packages ship the same file.
    """
    facts = settlement.facts
    if not facts and not certificates:
        return RootState({})
    world = World(architecture, release, base)
    if base is None:
        world.update(_new_root(release, architecture))
    else:
        world.facts.update((package.record, package) for package in installed_packages(base))
    for number, text in enumerate(certificates, 1):
        world.put(f"{LOCAL}layerforge-{number}.crt", file_entry(text))
    caches = [*(["ldconfig"] if facts else []), *(["update-ca-certificates"] if certificates else [])]
    if any(package.name == "ca-certificates-java" for package in facts):
        caches.append("update-ca-certificates")  # its postinst has Java make a key store of them
    configured = configure(facts, world, caches, settlement.contested)
    settled = settlement.without(configured.lost)
    if facts:
        world.add(database_state(settled.facts, architecture, base.contents if base else None))
    kept = {
        path: entry
        for path, entry in world.entries().items()
        if path == _MANUALS or (path not in _LEFT_OUT and not is_dropped(path, entry.kind))
    }
    lost = {path for paths in configured.lost.values() for path in paths}
    for path in settlement.contested.keys() - lost:  # whichever layer of the two packages is above the other
        if (entry := world.entry(path)) is not None:
            kept.setdefault(path, entry)
    trusted = count_certificates(world.read(BUNDLE) or b"") if certificates else 0
    site = sum(count_certificates(text.encode()) for text in certificates)
    return RootState(kept, configured.warnings, settled, trusts_site_alone=0 < trusted <= site)


def _new_root(release: str, architecture: str) -> Entries:
    by_architecture = _LINKS.get(release, {})
    links = by_architecture.get(architecture, by_architecture.get("", ()))
    return {
        **{f"usr/{name}": folder_entry() for name in links},
        **{name: link_entry(f"usr/{name}") for name in links},
        "etc/machine-id": file_entry(b"", 0o444),
        _MANUALS: folder_entry(),
        CONFIG_PATH: file_entry(DPKG_CONFIG),
    }
