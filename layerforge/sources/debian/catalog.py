"""Packages files, read fast: which names they hold and where, everything else on demand.

A stable release's index is 57 MB of text for 69,000 packages, of which a lock looks at some hundred. Reading it once
finds names, provided names and essential packages; the stanzas stay as blocks, compressed lightly, in the order of the
file. That form is kept in the store by the index's digest, so the next lock reads neither network nor 57 MB.
"""

from __future__ import annotations

import functools
import lzma
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec
from isal import isal_zlib

from layerforge.errors import VerificationError
from layerforge.sources.debian.control import Package, compare_versions, parse_package

_BLOCK = 64
"""Stanzas in a block."""
_MENTIONING = (
    *("Package", "Pre-Depends", "Depends", "Conflicts", "Breaks"),
    *("Recommends", "Suggests", "Replaces", "Enhances", "Provides"),
)
"""The fields that name packages, in the order in which apt reads them."""
_CHUNK = 1 << 20
"""Bytes of text decompressed at a time."""
_NAME = re.compile(rb"^Package: *(.*)$", re.MULTILINE)
_PROVIDES = re.compile(rb"^Provides:((?:.*)(?:\n[ \t].*)*)", re.MULTILINE)
_PROVIDED = re.compile(rb"([a-z0-9A-Z][a-zA-Z0-9.+-]*)\s*(?:\([^)]*\)|:\w+|\[[^]]*\])*\s*(?:,|$)")


class Catalog(msgspec.Struct, frozen=True):
    """One Packages file: numbers of the stanzas by name, by provided name, of the essential ones; and the stanzas."""

    names: dict[str, tuple[int, ...]]
    provided: dict[str, tuple[int, ...]]
    essential: tuple[int, ...]
    blocks: tuple[bytes, ...]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Catalog)


def encode_catalog(catalog: Catalog) -> bytes:
    """``catalog`` as msgpack."""
    return _encoder.encode(catalog)


def decode_catalog(data: bytes) -> Catalog | None:
    """The inverse of :func:`encode_catalog`; None for damaged data."""
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def read_catalog(chunks: Iterable[bytes], *, where: str = "") -> Catalog:
    """The Catalog of a Packages file that arrives as chunks of text.

    Raises:
        VerificationError: a stanza names no package.
    """
    names: dict[str, list[int]] = {}
    provided: dict[str, list[int]] = {}
    essential: list[int] = []
    blocks: list[bytes] = []
    waiting: list[bytes] = []
    for number, stanza in enumerate(_split_stanzas(chunks)):
        end = stanza.find(b"\n")
        if stanza.startswith(b"Package: ") and end > 0:
            name = stanza[9:end].decode("utf-8", "replace").strip()
        else:
            match = _NAME.search(stanza)
            if match is None:
                shown = stanza[:60].decode("utf-8", "replace").split("\n")[0]
                raise VerificationError(
                    f"malformed index: stanza {number + 1} ({shown!r}) names no package", where=where
                )
            name = match[1].decode("utf-8", "replace").strip()
        names.setdefault(name, []).append(number)
        if b"\nProvides:" in stanza:
            match = _PROVIDES.search(stanza)
            for other in dict.fromkeys(_PROVIDED.findall(match[1] if match else b"")):
                provided.setdefault(other.decode(), []).append(number)
        if b"\nEssential: yes" in stanza:
            essential.append(number)
        waiting.append(stanza)
        if len(waiting) == _BLOCK:
            blocks.append(_pack(waiting))
    if waiting:
        blocks.append(_pack(waiting))
    return Catalog(
        {name: tuple(numbers) for name, numbers in names.items()},
        {name: tuple(numbers) for name, numbers in provided.items()},
        tuple(essential),
        tuple(blocks),
    )


def _pack(stanzas: list[bytes]) -> bytes:
    block: bytes = isal_zlib.compress(b"\n\n".join(stanzas), 1)
    stanzas.clear()
    return block


def _split_stanzas(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n\n")
        for stanza in whole:
            if stanza := stanza.strip(b"\n"):
                yield stanza
    if rest := rest.strip(b"\n"):
        yield rest


def inflate_index(data: bytes, *, where: str) -> Iterator[bytes]:
    """The text of ``Packages.xz`` in chunks, inflated in a thread ahead of the reader.

    Raises:
        VerificationError: not an xz file, or cut off.
    """
    decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ)

    def advance(source: bytes) -> bytes:
        try:
            return decompressor.decompress(source, _CHUNK)
        except (lzma.LZMAError, EOFError) as error:
            raise VerificationError(f"damaged index: {error}", where=where) from error

    with ThreadPoolExecutor(1, thread_name_prefix="index") as thread:
        future = thread.submit(advance, data)
        while True:
            chunk = future.result()
            if decompressor.eof or (not chunk and decompressor.needs_input):
                break
            future = thread.submit(advance, b"")
            yield chunk
        yield chunk
    if not decompressor.eof:
        raise VerificationError("the index is cut off", where=where)


_comparable = functools.cmp_to_key(compare_versions)


class PackageIndex:
    """The packages of several suites as one: ``catalogs`` with the archive that each one's paths belong to.

    ``suites`` names the suite of each. Not safe for use from several threads.
    """

    def __init__(
        self,
        catalogs: Sequence[tuple[Catalog, str]],
        *,
        suites: Sequence[str] = (),
        architecture: str = "amd64",
    ) -> None:
        self._catalogs = tuple(catalogs)
        self._suites = tuple(suites) or tuple("" for _ in self._catalogs)
        self.suites = tuple(dict.fromkeys(suites))
        self.architecture = architecture
        self._blocks: dict[tuple[int, int], list[str]] = {}
        self._packages: dict[tuple[int, int], Package] = {}
        self._candidates: dict[str, Package | None] = {}
        self._names: frozenset[str] | None = None
        self._mentions: dict[bytes, tuple[int, ...]] = {}

    def candidate(self, name: str) -> Package | None:
        """The highest version of ``name`` in any suite; of equal ones that of the first suite."""
        if name not in self._candidates:
            self._candidates[name] = next(iter(self.versions(name)), None)
        return self._candidates[name]

    def versions(self, name: str) -> tuple[Package, ...]:
        """Every version of ``name``, the highest first; of equal ones that of the first suite."""
        found: list[Package] = []
        for package in self._find(lambda catalog: catalog.names.get(name, ())):
            if all(package.version != other.version for other in found):
                found.append(package)
        if len(found) > 1:
            found.sort(key=lambda package: _comparable(package.version), reverse=True)
        return tuple(found)

    def in_suite(self, name: str, suite: str) -> Package | None:
        """The highest version of ``name`` in one of :attr:`suites`."""
        versions = [
            self._read(position, number)
            for position, (catalog, _) in enumerate(self._catalogs)
            if self._suites[position] == suite
            for number in catalog.names.get(name, ())
        ]
        return max(versions, key=lambda package: _comparable(package.version), default=None)

    def providers(self, name: str) -> tuple[Package, ...]:
        """The candidates, each once, that provide ``name``, whatever the version; not the package ``name`` itself."""
        found: dict[str, Package] = {}
        for package in self._find(lambda catalog: catalog.provided.get(name, ())):
            candidate = self.candidate(package.name)
            if candidate is not None and any(relation.name == name for relation in candidate.provides):
                found.setdefault(candidate.name, candidate)
        return tuple(found.values())

    def essential(self) -> tuple[Package, ...]:
        """The candidates with ``Essential: yes``, by name."""
        names = {package.name for package in self._find(lambda catalog: catalog.essential)}
        candidates = (self.candidate(name) for name in sorted(names))
        return tuple(package for package in candidates if package is not None and package.essential)

    def names(self) -> frozenset[str]:
        """Every name that is a package or provided by one."""
        if self._names is None:
            self._names = frozenset().union(*((*catalog.names, *catalog.provided) for catalog, _ in self._catalogs))
        return self._names

    def _find(self, select: Callable[[Catalog], tuple[int, ...]]) -> Iterator[Package]:
        for position, (catalog, _) in enumerate(self._catalogs):
            for number in select(catalog):
                yield self._read(position, number)

    def _read(self, position: int, number: int) -> Package:
        if (position, number) not in self._packages:
            catalog, archive = self._catalogs[position]
            block, offset = divmod(number, _BLOCK)
            if (position, block) not in self._blocks:
                text: str = isal_zlib.decompress(catalog.blocks[block]).decode("utf-8", "replace")
                self._blocks[position, block] = text.split("\n\n")
            self._packages[position, number] = parse_package(self._blocks[position, block][offset], archive=archive)
        return self._packages[position, number]

    def first_mentions(self, names: Iterable[str]) -> dict[str, tuple[int, ...]]:
        """Where each of ``names`` is first spoken of, as a package or in a relation: apt numbers packages so.

        Reads the whole text in the worst case, a quarter of a second. Nearly nothing depends on it.
        """
        asked = tuple(names)
        wanted = {name.encode() for name in asked} - self._mentions.keys()
        for position, (catalog, _) in enumerate(self._catalogs):
            for number, block in enumerate(catalog.blocks):
                if not wanted:
                    break
                text = isal_zlib.decompress(block)
                for name in [name for name in wanted if name in text]:
                    places = list(_find_mentions(text, name))
                    if places:
                        self._mentions[name] = (position, number, *min(places))
                        wanted.discard(name)
        return {name: self._mentions[name.encode()] for name in asked if name.encode() in self._mentions}


def _find_mentions(text: bytes, name: bytes) -> Iterator[tuple[int, int, int]]:
    """The places of ``name`` in the first stanza that speaks of it: its start, the number of the field, the offset."""
    stanza = -1
    for match in re.finditer(rb"(?<![\w.+:-])" + re.escape(name) + rb"(?![\w.+-])", text):
        start = text.rfind(b"\n", 0, match.start()) + 1
        field = text[start : text.find(b":", start)].decode("ascii", "replace")
        if field not in _MENTIONING:
            continue
        first = text.rfind(b"\n\n", 0, start)
        if stanza not in (-1, first):
            return
        stanza = first
        yield first, _MENTIONING.index(field), match.start()
