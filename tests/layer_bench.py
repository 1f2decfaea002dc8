"""A Workbench over files at hand, and finished layers taken apart, for the tests of layers made of wheels."""

from __future__ import annotations

import gzip
import importlib._bootstrap_external as bootstrap  # type: ignore[import-not-found]
import importlib.util
import io
import sys
import tarfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import BinaryIO

from layerforge.layers.tar import Layer
from layerforge.oci import Digest

MINOR = f"3.{sys.version_info.minor}"
TAG = f"cpython-3{sys.version_info.minor}"
SITE = f"usr/local/lib/python{MINOR}/site-packages"


class FakeBench:
    """A Workbench over files at hand; compiles with the Python that runs the tests, and keeps what it was told."""

    def __init__(self, files: dict[Digest, Path], executor: Executor) -> None:
        self.compressors = executor
        self.files = files
        self.batches: list[int] = []
        self.kept: dict[Digest, Mapping[str, bytes | None]] = {}

    def material(self, digest: Digest) -> Path:
        return self.files[digest]

    def open_project_file(self, path: str, digest: Digest) -> BinaryIO:
        raise AssertionError("a wheel needs nothing of the project")

    def compile_bytecode(self, minor: str, sources: Sequence[tuple[str, bytes]]) -> list[bytes | None]:
        assert minor == MINOR
        self.batches.append(sum(len(source) for _, source in sources))
        return [self._compile(path, source) for path, source in sources]

    def find_bytecode(self, minor: str, wheel: Digest) -> Mapping[str, bytes | None]:
        return self.kept.get(wheel, {})

    def keep_bytecode(self, minor: str, wheel: Digest, compiled: Mapping[str, bytes | None]) -> None:
        self.kept[wheel] = compiled

    def _compile(self, path: str, source: bytes) -> bytes | None:
        try:
            code = compile(source, path, "exec", dont_inherit=True)
        except (SyntaxError, ValueError):
            return None
        return bytes(bootstrap._code_to_hash_pyc(code, importlib.util.source_hash(source), False))


class Made:
    """A finished layer, taken apart."""

    def __init__(self, data: bytes, layer: Layer, bench: FakeBench) -> None:
        self.data = data
        self.layer = layer
        self.bench = bench
        self.members: dict[str, tarfile.TarInfo] = {}
        self.files: dict[str, bytes] = {}
        with tarfile.open(fileobj=io.BytesIO(gzip.decompress(data))) as archive:
            for member in archive:
                self.members[member.name] = member
                if member.isfile():
                    self.files[member.name] = archive.extractfile(member).read()  # type: ignore[union-attr]


Make = Callable[..., Made]
