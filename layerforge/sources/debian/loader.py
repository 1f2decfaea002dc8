"""The dynamic loader's cache, ``/etc/ld.so.cache``, and the links to libraries, as ldconfig would make them.

The loader finds Debian's libraries without it, but ``ldconfig -p``, which ``ctypes.util.find_library`` asks, does not,
and folders named in ``/etc/ld.so.conf.d`` are found only through it. Source: glibc, ``elf/ldconfig.c``: ``search_dir``,
``create_links``, ``add_dir_1``, ``parse_conf``.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator
from typing import Protocol

import msgspec

from layerforge.sources.debian.loader_cache import CacheEntry, LoaderCache, compare_names, encode_cache
from layerforge.sources.debian.rootstate import Entries, file_entry, link_entry

TRIPLETS = {
    "amd64": "x86_64-linux-gnu",
    "arm64": "aarch64-linux-gnu",
    "armhf": "arm-linux-gnueabihf",
    "i386": "i386-linux-gnu",
    "ppc64el": "powerpc64le-linux-gnu",
    "riscv64": "riscv64-linux-gnu",
    "s390x": "s390x-linux-gnu",
}
"""The multiarch triplet of each architecture (https://wiki.debian.org/Multiarch/Tuples)."""

FLAGS = {"amd64": 0x303, "arm64": 0xA03, "armhf": 0x903, "i386": 0x003, "ppc64el": 0x503, "s390x": 0x403}
"""How a cache marks libraries of each architecture (glibc, ``sysdeps/generic/ldconfig.h``)."""
FLAGS["riscv64"] = 0x1003

CACHE = "etc/ld.so.cache"
_CONFIGURATION = "/etc/ld.so.conf"
_HWCAPS = "glibc-hwcaps"
_DEPTH = 8
"""How deep configuration files may include each other; ldconfig itself goes on until it has no more files."""


class Root(Protocol):
    """What is looked at of a root; paths are absolute or relative to it, and links in them are followed."""

    def names(self, folder: str) -> list[str]:
        """The names in a folder, sorted."""

    def kind(self, path: str, *, follow: bool = True) -> str | None:
        """``file``, ``dir``, ``symlink`` or nothing."""

    def real(self, path: str) -> str:
        """``path`` with every link resolved, absolute."""

    def read(self, path: str) -> bytes | None:
        """A file's content; None if there is no such file or its content is not known."""


Sonames = Callable[[str], str | None]
"""The DT_SONAME of the library at a resolved, absolute path; empty if it has none, None if it is no library."""


class _Folder(msgspec.Struct, frozen=True):
    path: str
    hwcaps: str = ""


class _Library(msgspec.Struct, frozen=True):
    """What a folder has for one name: ``filename``, and whether that is a link made for that name."""

    filename: str
    is_link: bool


def loader_state(root: Root, sonames: Sonames, architecture: str, *, known: LoaderCache, writer: str = "") -> Entries:
    """The cache of ``root`` and the links that it lacks.

    ``known`` is the cache that a base image has: libraries that ``sonames`` says nothing about are what it says they
    are. ``writer`` is what ldconfig writes about itself (:func:`name_writer`); empty: as in ``known``.
    """
    named = {root.real(entry.path): entry.soname for entry in known.entries}
    flags = FLAGS[architecture]

    def find_soname(path: str) -> str | None:
        found = sonames(path)
        return named.get(path) if found is None else found

    entries: Entries = {}
    listed: dict[CacheEntry, None] = {}
    for folder in _folders(root, architecture):
        for soname, library in _search(root, folder, find_soname).items():
            filename = library.filename if folder.hwcaps else soname
            listed[CacheEntry(soname, f"{folder.path}/{filename}", flags, folder.hwcaps)] = None
            if not folder.hwcaps and not library.is_link and _lacks_link(root, folder.path, library.filename, soname):
                entries[f"{root.real(folder.path)}/{soname}".lstrip("/")] = link_entry(library.filename)
    for entry in known.entries:
        if root.kind(entry.path) == "file":
            listed.setdefault(entry)
    entries[CACHE] = file_entry(encode_cache(LoaderCache(tuple(listed), writer or known.writer)))
    return entries


def name_writer(version: str) -> str:
    """What ldconfig writes about itself: ``PKGVERSION`` and ``RELEASE`` of Debian's glibc with this version."""
    return f"ldconfig (Debian GLIBC {version}) stable release version {version.partition('-')[0]}" if version else ""


def is_library_name(name: str) -> bool:
    """Whether ldconfig looks at a file of this name (``sysdeps/generic/dl-is_dso.h``)."""
    return ".so" in name and name.startswith(("lib", "ld-", "ld.so.", "ld64.so."))


def _search(root: Root, folder: _Folder, find_soname: Sonames) -> dict[str, _Library]:
    """The libraries in a folder by the name that programs ask for: the newest file for each, else a link."""
    found: dict[str, _Library] = {}
    for name in root.names(folder.path):
        path = f"{folder.path}/{name}"
        if not is_library_name(name) or root.kind(path) != "file":
            continue
        soname = find_soname(root.real(path))
        if soname is None:
            continue
        soname = soname or name
        is_link = root.kind(path, follow=False) == "symlink"
        # libx.so is for the linker where libx.so.1 is its soname; any other link is as good as the file.
        is_link = is_link and (name == soname or (name.endswith(".so") and soname.startswith(name)))
        library = _Library(name, is_link)
        soname = name if is_link else soname
        other = found.get(soname)
        if other is None or (
            compare_names(other.filename, name) < 0 if is_link == other.is_link else other.is_link and not is_link
        ):
            found[soname] = library
    return found


def _lacks_link(root: Root, folder: str, filename: str, soname: str) -> bool:
    """Whether there is to be a link to ``filename`` under the name ``soname``."""
    link = f"{folder}/{soname}"
    if root.real(link) == root.real(f"{folder}/{filename}"):
        return False
    if soname.startswith(("ld-", "ld.so.", "ld64.so.")) and root.kind(link):
        return False  # the loader itself is never replaced
    return root.kind(link, follow=False) in ("", "symlink")


def _folders(root: Root, architecture: str) -> Iterator[_Folder]:
    """Where ldconfig looks: each folder once, in its order, under the first of its names."""
    triplet = TRIPLETS[architecture]
    system = (f"/lib/{triplet}", f"/usr/lib/{triplet}", "/lib", "/usr/lib")  # of Debian's ldconfig: no /lib64
    seen: set[str] = set()
    for folder in (*_configured(root, _CONFIGURATION, 0), *system):
        real = root.real(folder)
        if root.kind(folder) != "dir" or real in seen:
            continue
        seen.add(real)
        yield _Folder(folder)
        for name in root.names(f"{folder}/{_HWCAPS}"):
            path = f"{folder}/{_HWCAPS}/{name}"
            if root.kind(path) == "dir" and not name.startswith(".") and ":" not in name:
                seen.add(root.real(path))
                yield _Folder(path, name)


def _configured(root: Root, path: str, depth: int) -> Iterator[str]:
    """The folders that a configuration file names, and those that it includes."""
    text = (root.read(path) or b"").decode("utf-8", "replace")
    for line in text.splitlines():
        words = line.partition("#")[0].strip()
        first, _, rest = words.partition(" ")
        if first == "include" and depth < _DEPTH:
            for pattern in rest.split():
                folder, _, name = pattern.rpartition("/")
                folder = folder if pattern.startswith("/") else f"{path.rpartition('/')[0]}/{folder}".rstrip("/")
                for found in fnmatch.filter(root.names(folder), name):
                    yield from _configured(root, f"{folder}/{found}", depth + 1)
        elif words.startswith("/"):
            yield words.partition("=")[0].rstrip().rstrip("/")
