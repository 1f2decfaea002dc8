"""Caches over the whole root, which many scripts ask for and which are made once, when all of them have been read.

The one place to register such a command: a row in :data:`CACHES`. A maker gets the world as the scripts left it and
the arguments of the call, and returns what the program would have written. It runs once for each distinct call,
in the order of the first ones. Which packages' scripts or triggers asked for it does not matter to it: a trigger
comes to a package's ``postinst triggered``, which is a script and is read like the others.
"""

from __future__ import annotations

from collections.abc import Callable

from layerforge.sources.debian.certificates import BUNDLES, FOLDER, LOCAL, certificate_state
from layerforge.sources.debian.loader import CACHE, loader_state, name_writer
from layerforge.sources.debian.loader_cache import decode_cache
from layerforge.sources.debian.pam import pam_state
from layerforge.sources.debian.placement import merge
from layerforge.sources.debian.rootstate import Entries
from layerforge.sources.debian.scripts.world import World
from layerforge.sources.debian.soname import read_soname
from layerforge.sources.debian.triggers import FOLDERS, TRIGGERS, Installed, trusted_by_java

Maker = Callable[[World, tuple[str, ...]], Entries]


def contents(world: World, *folders: str) -> dict[str, bytes]:
    """The known contents of the files below ``folders`` (relative to the root), by path."""
    found: dict[str, bytes] = {}
    for folder in folders:
        for path in world.paths(folder):
            data = world.read(path) if world.kind(path) == "file" else None
            if data is not None:
                found[path] = data
    return found


def _loader(world: World, arguments: tuple[str, ...]) -> Entries:
    del arguments
    named = {
        (record, f"{library.folder}/{library.filename}"): library.soname
        for record, package in world.facts.items()
        for library in package.libraries
    }

    def find_soname(path: str) -> str | None:
        origin = world.origin(path)
        if origin is not None:
            return named.get((origin.record, merge(origin.path)))
        return read_soname(world.read(path) or b"", path, world.architecture)

    version = next((package.fields["Version"] for package in world.facts.values() if package.name == "libc-bin"), "")
    known = decode_cache(world.read(CACHE) or b"")
    return loader_state(world, find_soname, world.architecture, known=known, writer=name_writer(version))


def _certificates(world: World, arguments: tuple[str, ...]) -> Entries:
    """Those that ``/etc/ca-certificates.conf`` names. Where a base image's are not known, its bundle is added to.

    A base without that package may have a bundle all the same, copied there or made by another distribution's program.
    """
    del arguments
    listed = (world.read_text("/etc/ca-certificates.conf") or "").splitlines()
    names = [f"{FOLDER}{line}" for line in listed if line and not line.startswith(("#", "!"))]
    found = contents(world, FOLDER, LOCAL)
    local = {path: data for path, data in found.items() if path.startswith(LOCAL)}
    if not names or not all(name in found for name in names):
        links = {
            path: world.target(path)
            for path in world.paths("etc/ssl/certs")
            if world.kind(path, follow=False) == "symlink"
        }
        bundle = next((data for path in BUNDLES if (data := world.read(path))), b"")
        return certificate_state(local, bundle=bundle, links=links)
    trusted = {**local, **{name: found[name] for name in names}}
    return certificate_state(trusted) | trusted_by_java(installed(world), trusted)


def _pam(world: World, arguments: tuple[str, ...]) -> Entries:
    del arguments
    return pam_state(contents(world, "usr/share/pam", "usr/share/pam-configs"))


def installed(world: World) -> Installed:
    """What makers of caches look at."""
    paths = [path for folder in FOLDERS for path in world.paths(folder) if world.kind(path) == "file"]
    versions = {package.name: package.fields["Version"] for package in world.facts.values()}
    return Installed({path: world.read(path) for path in paths}, versions)


def _trigger(make: Callable[[Installed], Entries]) -> Maker:
    return lambda world, _: make(installed(world))


CACHES: dict[str, Maker] = {
    **{name: _trigger(make) for name, make in TRIGGERS.items()},
    "ldconfig": _loader,
    "pam-auth-update": _pam,
    "update-ca-certificates": _certificates,
}
"""Makers by the name of the program."""
