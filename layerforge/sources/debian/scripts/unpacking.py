"""Puts packages into the world one after another, and decides about the paths that two of them contest as dpkg does.

Source: dpkg, ``src/main/archives.c`` (``tarobject``): a path that one of the two diverts is no conflict, and else the
one that replaces the other has it. A diversion counts from the script that makes it on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from layerforge.sources.debian.dpkg import known_conffiles
from layerforge.sources.debian.ownership import Claimant, refuse_sharing, without_paths
from layerforge.sources.debian.placement import merge
from layerforge.sources.debian.rootstate import DebFacts
from layerforge.sources.debian.scripts.conffiles import restore_conffiles
from layerforge.sources.debian.scripts.diversions import diversions
from layerforge.sources.debian.scripts.world import World


class Unpacker:
    """Unpacks ``packages`` into ``world``. ``contested`` has the two packages of each path that both keep so far.

    ``lost`` has the paths that packages lose after all, by record, with their owners.
    """

    def __init__(
        self, world: World, packages: Iterable[DebFacts], contested: Mapping[str, tuple[Claimant, Claimant]]
    ) -> None:
        self.lost: dict[str, dict[str, str]] = {}
        self._world = world
        self._present: set[str] = set()
        self._contested = contested
        known: dict[str, str] = {}
        for installed in world.facts.values():
            known |= known_conffiles(installed.fields)
        self._restored = {package.record: restore_conffiles(package, world, known) for package in packages}

    def unpack(self, package: DebFacts) -> None:
        """Unpack ``package``, whose ``preinst`` has been read.

        Raises:
            LayerError: it ships a file of a package that is there already, and neither diverts or replaces the other.
        """
        listed = diversions(self._world)
        diverters = {merge(source.lstrip("/")): owner for source, (_, owner) in listed.items()}
        for path, pair in self._contested.items():
            own, rival = pair if pair[0].record == package.record else pair[::-1]
            is_first = own.record != package.record or rival.record not in self._present
            if not is_first and diverters.get(path) not in (own.name, rival.name):
                self._settle(path, own, rival)
        self._present.add(package.record)
        facts = without_paths(package, self.lost.get(package.record, ()))
        self.spread(facts, {path: target for path, (target, owner) in listed.items() if owner != package.name})

    def spread(self, package: DebFacts, diverted: Mapping[str, str] = MappingProxyType({})) -> None:
        """Put its files where they belong, but for configuration files that people changed."""
        self._world.unpack(package, diverted)
        for path, entry in self._restored[package.record].items():
            if entry is None:
                self._world.remove(path)
            else:
                self._world.put(path, entry)

    def _settle(self, path: str, own: Claimant, rival: Claimant) -> None:
        if rival.does_replace(own):
            loser, winner = own, rival
        elif own.does_replace(rival):
            loser, winner = rival, own
        else:
            raise refuse_sharing(path, own, rival)
        self.lost.setdefault(loser.record, {})[path] = winner.record
