"""Reads the scripts of all packages of a root in dpkg's order, and collects what they would do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

import msgspec

from layerforge.sources.debian.ownership import Claimant
from layerforge.sources.debian.rootstate import DebFacts
from layerforge.sources.debian.scripts.caches import CACHES, installed
from layerforge.sources.debian.scripts.machine import Machine, ScriptWarning
from layerforge.sources.debian.scripts.order import configuration_order
from layerforge.sources.debian.scripts.triggers import pending_triggers
from layerforge.sources.debian.scripts.unpacking import Unpacker
from layerforge.sources.debian.scripts.world import World
from layerforge.sources.debian.triggers import unknown_plugins


class Configured(msgspec.Struct, frozen=True):
    """A root after its packages' scripts: the world as they left it, and what could not be done.

    ``lost`` has the contested paths that packages lose after all, by record, with their owners.
    """

    world: World
    warnings: tuple[ScriptWarning, ...]
    lost: dict[str, dict[str, str]]


def configure(
    facts: Iterable[DebFacts],
    world: World,
    caches: Iterable[str] = (),
    contested: Mapping[str, tuple[Claimant, Claimant]] = MappingProxyType({}),
) -> Configured:
    """Install ``facts`` into ``world``: ``preinst install`` and the files of each, then ``postinst configure``.

    As with debootstrap and mmdebstrap, the files of the essential packages are all there before the first script.
    Triggers come last, once. ``caches`` are programs whose caches are made though no script asks, ``contested`` the
    paths that two packages ship and one may divert.

    Raises:
        LayerError: it does not.
    """
    machine = Machine(world)
    essential, others = configuration_order(facts)
    ordered = [*essential, *others]
    unpacker = Unpacker(world, ordered, contested)
    for package in essential:
        unpacker.spread(package)
    for package in ordered:
        machine.run(package, "preinst", "install")
        unpacker.unpack(package)
    for package in ordered:
        machine.run(package, "postinst", "configure", "")
    for package, names in pending_triggers(tuple(world.facts.values()), ordered, machine.activated):
        machine.run(package, "postinst", "triggered", " ".join(names))
    for path in machine.temporary:
        world.remove(path)
    for name, arguments in dict.fromkeys((*machine.caches, *((name, ()) for name in caches))):
        world.update(CACHES[name](world, arguments))
    return Configured(world, (*machine.warnings, *_missing_plugins(ordered, world)), unpacker.lost)


def _missing_plugins(packages: Iterable[DebFacts], world: World) -> Iterator[ScriptWarning]:
    unknown = frozenset(unknown_plugins(installed(world)))
    for package in packages if unknown else ():
        for item in package.paths:
            if item.path in unknown:
                name = item.path.rpartition("/")[2]
                yield ScriptWarning(package.record, "trigger", f"query {name}", "what it can do is not known")
