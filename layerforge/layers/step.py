"""What every layer kind has in common: a Recipe says what a layer is, a Step names it and gives it a key.

A Recipe is plain data and nothing but identity: digests of inputs, paths in the image, writer parameters. Where
the bytes come from (mirrors, indexes, folders) is not part of it; a Workbench finds them by digest. So the key of a
Step, the sha256 of its canonical encoding, is known without reading a byte of the layer.

A new kind is a new file in this package with a Recipe and a ``write`` function, and a row in ``layers/kinds.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

import msgspec

from layerforge.layers.compression import GZIP, Compression
from layerforge.layers.headers import EPOCH
from layerforge.oci import Digest, encode
from layerforge.progress import Reporter

if TYPE_CHECKING:
    from layerforge.sources.debian.rootstate import DebFacts, RootBase
    from layerforge.sources.interpreters.packages import Unpacking

FORMAT = 3
"""Raised by hand whenever the same Recipe would give other bytes. It is part of every key."""


class Recipe(msgspec.Struct, frozen=True, tag_field="kind", tag=True):
    """The base of every kind's Recipe. Subclasses set ``tag`` to their kind's name."""

    def materials(self) -> tuple[Digest, ...]:
        """The downloads that writing this layer needs, so that they can be fetched beforehand."""
        return ()


class Step(msgspec.Struct, frozen=True):
    """One layer to be: ``name`` for people (``packages/numpy``), ``recipe`` for identity.

    ``size`` is the number of bytes expected in, for progress; 0 if unknown. ``after`` names steps whose facts this one
    would otherwise have to find out: it is better made when those have been kept. Only ``recipe``, ``mtime`` and
    ``compression`` are in the key.
    """

    name: str
    recipe: Recipe
    mtime: int = EPOCH
    size: int = 0
    after: tuple[str, ...] = ()
    compression: Compression = GZIP

    @property
    def key(self) -> Digest:
        """sha256 of the canonical encoding of recipe, writer parameters and FORMAT."""
        compressor = self.compression.identity
        document = {"format": FORMAT, "compressor": compressor, "mtime": self.mtime, "recipe": self.recipe}
        return Digest.of(encode(document))


class Material(msgspec.Struct, frozen=True):
    """A file that is downloaded: digest, size in bytes (0 if unknown), name, and where it may be had, best first."""

    digest: Digest
    filename: str
    urls: tuple[str, ...]
    size: int = 0


class Workbench(Protocol):
    """What a layer kind may ask for while it writes. All methods may be called from several threads."""

    @property
    def reporter(self) -> Reporter:
        """Where news goes."""

    @property
    def compressors(self) -> Executor:
        """Threads for compression and other work that waits for nothing else."""

    def material(self, digest: Digest) -> Path:
        """The verified local file of a Material of the plan, downloaded now if it must be.

        Raises:
            SourceError: it cannot be had.
        """

    def facts(self, digest: Digest) -> DebFacts:
        """The facts about a Debian package, from the store if they were kept, else from the package.

        Raises:
            LayerError: the package is damaged or unsafe.
            SourceError: it cannot be had.
        """

    def keep_facts(self, digest: Digest, facts: DebFacts) -> None:
        """Keep the facts about a Debian package that has just been read whole, for :meth:`facts`."""

    def expect_packages(self, debs: Sequence[Digest]) -> AbstractContextManager[Callable[[Digest], Unpacking | None]]:
        """Say that a layer is about to read ``debs``; what is given says for each whether to unpack it on the way."""

    def base_root(self) -> RootBase:
        """What the image at the bottom holds; its layers are read at most once.

        Raises:
            RegistryError: a layer cannot be had.
            LayerError: a layer is damaged.
        """

    def base_files(self, paths: Collection[str]) -> dict[str, bytes]:
        """The contents of files of the image at the bottom.

        Raises:
            RegistryError: a layer cannot be had.
            LayerError: a layer is damaged.
        """

    def project_path(self, path: str) -> Path:
        """Where a file of the project lies on this machine."""

    def open_project_file(self, path: str, digest: Digest) -> BinaryIO:
        """A file of the project (or of the bundled runtime) for reading; reading to its end verifies the digest.

        Raises:
            SourceError: it is gone, or no longer has this digest.
        """

    def compile_bytecode(self, minor: str, sources: Sequence[tuple[str, bytes]]) -> list[bytes | None]:
        """The unchecked-hash ``.pyc`` (PEP 552) of each ``(path in the image, source)``; None where compiling fails.

        ``minor`` is the image's Python, as ``3.13``.
        """

    def find_bytecode(self, minor: str, wheel: Digest) -> Mapping[str, bytes | None]:
        """What was kept of the bytecode of ``wheel``, by the paths of its sources; empty for nothing."""

    def keep_bytecode(self, minor: str, wheel: Digest, compiled: Mapping[str, bytes | None]) -> None:
        """Keep bytecode of ``wheel``, for :meth:`find_bytecode`."""
