"""Debian packages that are added to a base image: from its own release, upon what is installed there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from layerforge.errors import ResolveError
from layerforge.lock import LockedDeb
from layerforge.oci import Platform
from layerforge.progress import SILENCE, Reporter
from layerforge.sources.base.facts import BaseFacts
from layerforge.sources.base.root import BaseRoot
from layerforge.sources.debian.archive import architecture_of, open_index
from layerforge.sources.debian.catalog import PackageIndex
from layerforge.sources.debian.control import Package
from layerforge.sources.debian.installed import parse_status
from layerforge.sources.debian.keeping import keep_versions, read_locked, take_locked
from layerforge.sources.debian.locking import lock_packages
from layerforge.sources.debian.mirrors import Mirrors, SourceEntry, read_entries
from layerforge.sources.debian.resolve import resolve
from layerforge.sources.debian.wishes import Locate, placing_errors, settle_names
from layerforge.store import Store

_ALWAYS = {"debian": ("main",), "ubuntu": ("main", "universe")}
_KNOWN = {
    "debian": ("main", "contrib", "non-free", "non-free-firmware"),
    "ubuntu": ("main", "restricted", "universe", "multiverse"),
}
"""The components of each distribution, in their own order."""


def lock_upon(
    names: Sequence[str],
    facts: BaseFacts,
    root: BaseRoot,
    platform: Platform,
    store: Store,
    reporter: Reporter = SILENCE,
    *,
    locate: Locate = lambda _: ("system_packages", 0),
    mirrors: Mirrors | None = None,
    interpreter: str = "",
    keep: Sequence[LockedDeb] = (),
) -> tuple[tuple[LockedDeb, ...], tuple[LockedDeb, ...]]:
    """What the package ``interpreter``, and then ``names``, add to the base or replace in it, each sorted by name.

    ``locate`` tells where each of the names stands. Packages of ``keep`` stay at that version where they fit.

    Raises:
        ConfigError: names are unknown, and nothing replaces them.
        ResolveError: the base has no package manager that is known here, or the packages do not fit.
        SourceError: a mirror cannot be reached, or none is configured.
        VerificationError: a signature, digest or date is wrong.
    """
    check_dpkg(facts)
    index = open_release(facts, root, platform, store, reporter, mirrors=mirrors)
    installed = {(package.name, package.architecture): package for package in list_installed(root)}
    first = resolve(index, [interpreter], installed=tuple(installed.values())) if interpreter else ()
    installed |= {(package.name, package.architecture): package for package in first}
    settled = settle_names(index, names, locate, reporter)
    with placing_errors(names, locate):
        second = resolve(index, settled, installed=tuple(installed.values())) if names else ()
    replaced = {package.name for package in second}
    first = tuple(package for package in first if package.name not in replaced)
    if keep:
        kept = tuple(read_locked(keep, index, store, reporter, mirrors))
        chosen = keep_versions((*first, *second), kept, tuple(installed.values()))
        by_name = {(each.name, each.architecture): each for each in chosen}
        first, second = (tuple(by_name[each.name, each.architecture] for each in part) for part in (first, second))
    return take_locked(lock_packages(first), keep), take_locked(lock_packages(second), keep)


def open_release(
    facts: BaseFacts,
    root: BaseRoot,
    platform: Platform,
    store: Store,
    reporter: Reporter = SILENCE,
    *,
    mirrors: Mirrors | None = None,
) -> PackageIndex:
    """The packages of the base's own release.

    Raises:
        SourceError: a mirror cannot be reached, or none is configured.
        VerificationError: a signature, digest or date is wrong.
    """
    return open_index(
        facts.release,
        architecture_of(platform),
        store,
        reporter,
        mirrors=mirrors,
        distribution=facts.distribution,
        components=list_components(root, facts),
    )


def check_dpkg(facts: BaseFacts) -> None:
    """See that packages can be added to the base.

    Raises:
        ResolveError: they cannot, and why.
    """
    hint = "leave system_packages out, or choose a base on Debian or Ubuntu"
    if not facts.distribution or not facts.release:
        raise ResolveError(f"system_packages come from Debian or Ubuntu; the base is {facts.name}", hint=hint)
    if not facts.has_dpkg:
        message = f"the base ({facts.name}) has no list of installed packages (/var/lib/dpkg/status) to add to"
        raise ResolveError(message, hint=hint)


def list_installed(root: BaseRoot) -> tuple[Package, ...]:
    """The packages of dpkg's status that are installed.

    Raises:
        VerificationError: it is malformed.
    """
    text = (root.read("var/lib/dpkg/status") or b"").decode("utf-8", "replace")
    return parse_status(text, where="the base's /var/lib/dpkg/status")


def list_components(root: BaseRoot, facts: BaseFacts) -> tuple[str, ...]:
    """The components that the base's own apt sources enable, in the distribution's order; never fewer than usual."""
    enabled = set(_ALWAYS[facts.distribution])
    for entry in _list_sources(root):
        if any(suite.partition("-")[0] == facts.release for suite in entry.suites):
            enabled |= set(entry.components)
    return tuple(name for name in _KNOWN[facts.distribution] if name in enabled)


def _list_sources(root: BaseRoot) -> Iterable[SourceEntry]:
    names = [path for path in sorted(root.contents) if path.startswith("etc/apt/sources.list")]
    for name in names:
        yield from read_entries(name, root.contents[name].decode("utf-8", "replace"))
