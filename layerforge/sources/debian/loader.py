"""The dynamic loader's cache, ``/etc/ld.so.cache``, as ldconfig would write it.

The loader finds Debian's libraries without it, but ``ldconfig -p``, which ``ctypes.util.find_library`` asks, does not,
and folders named in ``/etc/ld.so.conf.d`` are found only through it. Format: glibc, ``sysdeps/generic/dl-cache.h``,
``cache_file_new``; order: ``elf/cache.c``, ``compare``.
"""

from __future__ import annotations

import functools
import re
import struct
from collections.abc import Iterable, Mapping

from layerforge.sources.debian.rootstate import DebFacts, Entries, Library, file_entry

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

_FLAGS = {"amd64": 0x303, "arm64": 0xA03, "armhf": 0x903, "i386": 0x803, "ppc64el": 0x503, "s390x": 0x403}
_FLAGS["riscv64"] = 0x1003
_MAGIC = b"glibc-ld.so.cache1.1"
_HEADER = struct.Struct("<20sIIB3xI12x")
_ENTRY = struct.Struct("<iIIIQ")
_SECTION = struct.Struct("<IIIIII")
_EXTENSION_MAGIC = 0xEAA42174
_LITTLE_ENDIAN = 2


CACHE = "etc/ld.so.cache"


def loader_state(
    facts: Iterable[DebFacts],
    architecture: str,
    files: Mapping[str, bytes] | None = None,
    known: Mapping[str, str] | None = None,
) -> Entries:
    """The cache over all packages. ldconfig would also make missing links; Policy 8.1 has packages ship them.

    ``files`` are the contents below ``etc`` where packages' own are not all; ``known`` are the paths by soname of a
    cache that is added to, as :func:`decode_cache` reads it.
    """
    packages = tuple(facts)
    if files is None:
        files = {path: data for package in packages for path, data in package.files.items()}
    folders = _configured_folders(files)
    folders += [f"/lib/{TRIPLETS[architecture]}", f"/usr/lib/{TRIPLETS[architecture]}", "/lib", "/usr/lib"]
    found: dict[str, str] = {}
    by_folder: dict[str, list[Library]] = {}
    for package in packages:
        for library in package.libraries:
            by_folder.setdefault(library.folder, []).append(library)
    seen: set[str] = set()
    for folder in (*folders, "/lib64", "/usr/lib64"):
        real = _real(folder)
        if real in seen:
            continue
        seen.add(real)
        for library in sorted(by_folder.get(real, ()), key=lambda item: item.filename):
            found.setdefault(library.soname, f"{folder}/{library.soname}")
    ranks = {folder: rank for rank, folder in enumerate(folders)}
    for soname, path in (known or {}).items():
        rank = ranks.get(path.rpartition("/")[0], len(ranks))
        if soname not in found or rank < ranks.get(found[soname].rpartition("/")[0], len(ranks)):
            found[soname] = path
    return {CACHE: file_entry(encode_cache(found, _FLAGS[architecture], _name_writer(packages)))}


def _name_writer(packages: Iterable[DebFacts]) -> str:
    """What ldconfig writes at the cache's end about itself: ``PKGVERSION`` and ``RELEASE`` of Debian's glibc."""
    version = next((package.fields["Version"] for package in packages if package.name == "libc-bin"), "")
    return f"ldconfig (Debian GLIBC {version}) stable release version {version.partition('-')[0]}" if version else ""


def _configured_folders(files: Mapping[str, bytes]) -> list[str]:
    """Folders of ``/etc/ld.so.conf.d/*.conf``, in the order in which ldconfig reads them."""
    folders: list[str] = []
    for path in sorted(files):
        if re.fullmatch(r"etc/ld\.so\.conf\.d/[^/]+\.conf", path):
            lines = (line.partition("#")[0].strip() for line in files[path].decode("utf-8", "replace").splitlines())
            folders += [line.rstrip("/") for line in lines if line.startswith("/")]
    return folders


def _real(folder: str) -> str:
    return folder.lstrip("/") if folder.startswith("/usr/") else f"usr{folder}"


def encode_cache(libraries: Mapping[str, str], flags: int, writer: str = "") -> bytes:
    """The cache that maps each soname to its path. ``writer`` is what made it, for people to read."""
    names = sorted(libraries, key=functools.cmp_to_key(_compare), reverse=True)
    start = _HEADER.size + _ENTRY.size * len(names)
    strings, offsets = _pack_strings({*names, *libraries.values()})
    entries = [_ENTRY.pack(flags, start + offsets[name], start + offsets[libraries[name]], 0, 0) for name in names]
    body = b"".join(entries) + strings
    if not writer:
        return _HEADER.pack(_MAGIC, len(names), len(strings), _LITTLE_ENDIAN, 0) + body
    body += bytes(-(_HEADER.size + len(body)) % 4)
    extension = _HEADER.size + len(body)
    text = writer.encode()
    section = _SECTION.pack(_EXTENSION_MAGIC, 1, 0, 0, extension + _SECTION.size, len(text))
    return _HEADER.pack(_MAGIC, len(names), len(strings), _LITTLE_ENDIAN, extension) + body + section + text


def _pack_strings(strings: Iterable[str]) -> tuple[bytes, dict[str, int]]:
    """The strings, each once, and where each begins; one that ends another is found in it (``elf/stringtable.c``)."""
    packed = bytearray()
    offsets: dict[str, int] = {}
    before = ""
    for text in sorted(strings, key=lambda text: text[::-1], reverse=True):
        if before.endswith(text):
            offsets[text] = offsets[before] + len(before.encode()) - len(text.encode())
            continue
        offsets[text] = len(packed)
        packed += text.encode() + b"\0"
        before = text
    return bytes(packed), offsets


def decode_cache(data: bytes, architecture: str) -> dict[str, str]:
    """The path of each soname in a cache, those for processors with special abilities left out; empty if it is none."""
    start = data.find(_MAGIC)
    if start < 0 or len(data) < start + _HEADER.size:
        return {}
    body = data[start:]
    count = _HEADER.unpack_from(body)[1]
    found: dict[str, str] = {}
    for number in range(min(count, (len(body) - _HEADER.size) // _ENTRY.size)):
        flags, key, value, _, special = _ENTRY.unpack_from(body, _HEADER.size + number * _ENTRY.size)
        if flags == _FLAGS[architecture] and not special:
            name, path = (body[at : body.find(b"\0", at)].decode("utf-8", "replace") for at in (key, value))
            found.setdefault(name, path)
    return found


def _compare(left: str, right: str) -> int:
    """glibc's ``_dl_cache_libcmp``: numbers inside names compare as numbers, and above other characters."""
    first, second = _pieces(left), _pieces(right)
    for a, b in zip(first, second, strict=False):
        if a == b:
            continue
        if isinstance(a, int) and isinstance(b, int):
            return -1 if a < b else 1
        if isinstance(a, int):
            return 1
        if isinstance(b, int):
            return -1
        return -1 if a < b else 1
    return (len(first) > len(second)) - (len(first) < len(second))


def _pieces(name: str) -> list[int | str]:
    return [int(piece) if piece.isdigit() else piece for piece in re.findall(r"\d+|\D", name)]
