"""Compiles bytecode with the image's own Python, on this machine, as any user.

Bytecode is what one minor version of CPython makes, and its bytes depend on the patch version, so the interpreter that
runs the builder will not do. The image's own comes as files anyway: what starting it takes is unpacked into the store
once, and runs from there, so neither root nor a container is needed. For an image of another processor it is the same
interpreter, from the same provider, for this machine's.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec

from layerforge.errors import LayerError, SourceError
from layerforge.lock import LockedDeb, LockedPython, PlatformLock
from layerforge.oci import Digest
from layerforge.sources.interpreters.base import use_base
from layerforge.sources.interpreters.debian import choose_packages, unpack_added, unpack_debian
from layerforge.sources.interpreters.packages import PackageRoots, Unpacking
from layerforge.sources.interpreters.standalone import unpack_standalone
from layerforge.sources.interpreters.worker import Program, Work, compile_chunks
from layerforge.store import Store

_CHUNK = 16
"""Files that a process takes at a time: few, so that all end at about the same time."""

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64", "armv7l": "armhf"}


def host_architecture() -> str:
    """Debian's name for this machine's processor.

    Raises:
        SourceError: no Debian interpreter runs here.
    """
    architecture = _find_architecture()
    if not architecture:
        hint = "build on Linux, amd64 or arm64"
        raise SourceError(f"bytecode cannot be compiled on {os.uname().sysname} {os.uname().machine}", hint=hint)
    return architecture


def _find_architecture() -> str:
    return _MACHINES.get(os.uname().machine, "") if os.uname().sysname == "Linux" else ""


class PythonSource(msgspec.Struct, frozen=True):
    """What an interpreter is unpacked from: ``python`` as a lock names it, and ``debs`` of the same platform.

    ``is_upon_base``: what these lack is in a base image.
    """

    python: LockedPython
    debs: tuple[LockedDeb, ...]
    is_upon_base: bool = False


class Interpreter:
    """The interpreter of ``lock`` made to run here; ``find`` gives a package's or archive's file by digest.

    When the lock is for another architecture than this machine's, ``find_host`` must give the same Python for this
    machine. Where the interpreter is a base image's, ``unpack_base`` gives the folder that
    :func:`layerforge.sources.base.programs.unpack_python` makes for this machine. Nothing is unpacked before the first
    use. Safe to use from several threads.
    """

    def __init__(
        self,
        store: Store,
        lock: PlatformLock,
        find: Callable[[Digest], Path],
        find_host: Callable[[], PythonSource] | None = None,
        unpack_base: Callable[[], Path] | None = None,
    ) -> None:
        self._store = store
        self._unpack_base = unpack_base
        self._lock = lock
        self._find = find
        self._find_host = find_host
        self._roots = PackageRoots(store)
        self._guard = threading.Lock()
        self._program: Program | None = None

    @property
    def minor(self) -> str:
        """The Python that bytecode is made for, as ``3.13``."""
        return self._lock.python.minor

    def compile_bytecode(self, minor: str, sources: Sequence[tuple[str, bytes]]) -> list[bytes | None]:
        """The unchecked-hash ``.pyc`` (PEP 552) of each ``(path in the image, source)``; None where compiling fails.

        Raises:
            SourceError: the interpreter cannot be had, or stops.
            LayerError: ``minor`` is not the lock's.
        """
        if minor != self._lock.python.minor:
            raise LayerError(f"the lock has Python {self._lock.python.minor}, not {minor}")
        if not sources:
            return []
        program = self._prepare()
        chunks = [sources[start : start + _CHUNK] for start in range(0, len(sources), _CHUNK)]
        work, count = Work(chunks), max(1, min(os.cpu_count() or 1, len(chunks)))
        with ThreadPoolExecutor(count, thread_name_prefix="compile") as threads:
            for share in [threads.submit(compile_chunks, program, work) for _ in range(count)]:
                share.result()
        return [item for chunk in work.compiled for item in chunk]

    def expect_packages(self, debs: Iterable[Digest]) -> AbstractContextManager[Callable[[Digest], Unpacking | None]]:
        """Announce that a layer will read ``debs``: those that compiling takes need not be read again for it.

        What is given begins to unpack the package with a digest; None where it is not needed.
        """
        wanted: set[Digest] = set()
        architecture = _find_architecture()
        if self._lock.python.provider == "debian" and self._lock.platform == f"linux/{architecture}":
            wanted.update(deb.digest for deb in choose_packages(self._lock.debs, self.minor, architecture))
        return self._roots.expect(digest for digest in debs if digest in wanted)

    def _prepare(self) -> Program:
        with self._guard:
            if self._program is None:
                self._program = self._unpack()
        return self._program

    def _unpack(self) -> Program:
        architecture = host_architecture()
        if self._lock.python.provider == "base":
            assert self._unpack_base is not None, "who builds upon a base can unpack it"
            return use_base(self._unpack_base(), self.minor, architecture)
        source = self._find_source(architecture)
        minor, archive = source.python.minor, source.python.archive
        if archive is not None:
            return unpack_standalone(self._store, archive, minor, source.debs, architecture, self._find)
        if source.is_upon_base:
            assert self._unpack_base is not None, "who builds upon a base can unpack it"
            libraries = self._unpack_base() / "libraries"
            return unpack_added(self._roots, source.debs, minor, architecture, self._find, libraries)
        return unpack_debian(self._roots, source.debs, minor, architecture, self._find)

    def _find_source(self, architecture: str) -> PythonSource:
        if self._lock.platform == f"linux/{architecture}":
            return PythonSource(self._lock.python, self._lock.debs, self._lock.image is not None)
        if self._find_host is None:
            hint = f"build the image for linux/{architecture} too, or on a machine of the image's architecture"
            raise SourceError(f"no Python {self._lock.python.minor} for this machine is in the lock", hint=hint)
        return self._find_host()
