"""Compiles bytecode with the image's own Python, on this machine, as any user.

Bytecode is what one minor version of CPython makes, and its bytes depend on the patch version, so the interpreter that
runs the builder will not do. The image's own interpreter comes as .debs anyway: a few of them are unpacked into the
store once, and it runs through the dynamic loader beside it, so neither root nor a container is needed.

The bytes depend on path, source and interpreter alone, not on what a process compiled before: ``marshal`` marks as
referable what has more than one reference, which could differ, but marks every interned string in any case
(CPython, ``Python/marshal.c``, ``w_ref``), and nothing else in a code object is shared with the rest of the process.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from layerforge.errors import LayerError, SourceError
from layerforge.lock import LockedDeb, PlatformLock
from layerforge.oci import Digest, encode
from layerforge.sources.debian.deb import DebFile, read_entries
from layerforge.sources.debian.placement import merge_path
from layerforge.store import Store, translate_os_errors

_CHUNK = 64
"""Files sent to one process at a time."""

_PACKAGES = ("libc6", "libpython{}-minimal", "python{}-minimal", "libexpat1", "zlib1g")
"""What compiling takes: the interpreter, the part of the library that it starts with, and what it is linked to."""

_LOADERS = {"amd64": "ld-linux-x86-64.so.2", "arm64": "ld-linux-aarch64.so.1", "armhf": "ld-linux-armhf.so.3"}
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64", "armv7l": "armhf"}

_PROGRAM = r"""
import sys, struct, marshal, warnings
from _imp import source_hash
from importlib._bootstrap_external import MAGIC_NUMBER, _RAW_MAGIC_NUMBER
warnings.simplefilter("ignore")
def build(path, source):
    try:
        code = compile(source, "/" + path, "exec", dont_inherit=True, optimize=0)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        return None
    return MAGIC_NUMBER + struct.pack("<I", 1) + source_hash(_RAW_MAGIC_NUMBER, source) + marshal.dumps(code)

receive, send = sys.stdin.buffer, sys.stdout.buffer
while header := receive.read(8):
    path_size, size = struct.unpack("<II", header)
    path = receive.read(path_size).decode("utf-8", "surrogateescape")
    result = build(path, receive.read(size))
    send.write(struct.pack("<i", -1) if result is None else struct.pack("<i", len(result)) + result)
    send.flush()
"""

_FLAGS = ("-s", "-S", "-B", "-X", "utf8", "-c", _PROGRAM)
"""Not ``-I``, which would pass over PYTHONHASHSEED."""


def host_architecture() -> str:
    """Debian's name for this machine's processor.

    Raises:
        SourceError: no Debian interpreter runs here.
    """
    machine = os.uname().machine
    if os.uname().sysname != "Linux" or machine not in _MACHINES:
        hint = "build on Linux, amd64 or arm64"
        raise SourceError(f"bytecode cannot be compiled on {os.uname().sysname} {machine}", hint=hint)
    return _MACHINES[machine]


class Interpreter:
    """The interpreter of ``lock`` made to run here; ``find`` gives a package's file by digest.

    When the lock is for another architecture than this machine's, ``find_host`` must give the packages of the same
    release for this machine. Where the interpreter is a base image's, ``unpack_base`` gives the folder that
    :func:`layerforge.sources.base.programs.unpack_python` makes for this machine. Nothing is unpacked before the first
    use. Safe to use from several threads.
    """

    def __init__(
        self,
        store: Store,
        lock: PlatformLock,
        find: Callable[[Digest], Path],
        find_host: Callable[[], Iterable[LockedDeb]] | None = None,
        unpack_base: Callable[[], Path] | None = None,
    ) -> None:
        self._store = store
        self._unpack_base = unpack_base
        self._lock = lock
        self._find = find
        self._find_host = find_host
        self._guard = threading.Lock()
        self._command: tuple[str, ...] = ()

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
        command = self._prepare()
        chunks = [sources[start : start + _CHUNK] for start in range(0, len(sources), _CHUNK)]
        workers = max(1, min(os.cpu_count() or 1, len(chunks)))
        with ThreadPoolExecutor(workers, thread_name_prefix="compile") as threads:
            shares = [threads.submit(_compile, command, chunks[first::workers]) for first in range(workers)]
            compiled: list[list[bytes | None]] = [[] for _ in chunks]
            for first, share in enumerate(shares):
                compiled[first::workers] = share.result()
        return [item for chunk in compiled for item in chunk]

    def _prepare(self) -> tuple[str, ...]:
        with self._guard:
            if not self._command:
                self._command = self._unpack()
        return self._command

    def _unpack(self) -> tuple[str, ...]:
        minor = self._lock.python.minor
        architecture = host_architecture()
        if self._lock.python.provider == "base":
            assert self._unpack_base is not None
            return _base_command(self._unpack_base(), minor, architecture)
        debs = _choose(self._host_debs(architecture), minor, architecture)
        key = Digest.of(encode([str(deb.digest) for deb in debs]))
        root = self._store.root / "roots" / f"python-{minor}-{key.short}"
        if not root.is_dir():
            fresh = Path(tempfile.mkdtemp(dir=self._store.scratch))
            with translate_os_errors(root):
                for deb in debs:
                    _extract(self._find(deb.digest), fresh, deb.name)
                try:
                    fresh.rename(root)
                except OSError:  # another process was faster
                    if not root.is_dir():
                        raise
                    shutil.rmtree(fresh, ignore_errors=True)
        return _command(root, minor, architecture)

    def _host_debs(self, architecture: str) -> Iterable[LockedDeb]:
        own = (*self._lock.base, *self._lock.interpreter)
        if any(deb.name == "libc6" and deb.architecture == architecture for deb in own):
            return own
        if self._find_host is None:
            hint = f"build the image for linux/{architecture} too, or on a machine of the image's architecture"
            raise SourceError(f"no Python {self._lock.python.minor} for this machine is in the lock", hint=hint)
        return self._find_host()


def _choose(debs: Iterable[LockedDeb], minor: str, architecture: str) -> list[LockedDeb]:
    by_name = {deb.name: deb for deb in debs if deb.architecture in (architecture, "all")}
    names = [name.format(minor) for name in _PACKAGES]
    missing = [name for name in names if name not in by_name]
    if missing:
        raise SourceError(f"the lock lacks {', '.join(missing)}, without which bytecode cannot be compiled")
    return [by_name[name] for name in names]


def _extract(path: Path, root: Path, name: str) -> None:
    """Unpack what running needs: programs and libraries. Links are kept, for file names contain the versions."""
    with DebFile(path, where=f"package {name}") as deb:
        for entry, content in read_entries(deb.data_chunks(), where=f"package {name}"):
            target = root / merge_path(entry)
            if not merge_path(entry).startswith(("usr/bin/", "usr/lib/", "usr/lib64/")):
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            if entry.kind == "dir":
                target.mkdir(exist_ok=True)
            elif entry.kind == "symlink":
                if not entry.target.startswith("/"):
                    target.symlink_to(entry.target)
            elif entry.kind == "file":
                with target.open("xb") as file:
                    for chunk in content:
                        file.write(chunk)
                target.chmod(0o755 if entry.mode & 0o111 else 0o644)


def _command(root: Path, minor: str, architecture: str) -> tuple[str, ...]:
    """The command line that runs Python from ``root`` through its own loader."""
    loader = next(root.glob(f"usr/lib*/{_LOADERS[architecture]}"), None)
    loader = loader or next(root.glob(f"usr/lib/*/{_LOADERS[architecture]}"), None)
    program = root / f"usr/bin/python{minor}"
    if loader is None or not program.exists():
        raise SourceError(f"Debian's packages hold no Python {minor} that runs here", where=str(root))
    folders = ":".join(str(path) for path in sorted(root.glob("usr/lib/*-linux-gnu*")))
    return str(loader), "--library-path", folders, str(program), *_FLAGS


def _base_command(folder: Path, minor: str, architecture: str) -> tuple[str, ...]:
    """The same for the Python of a base image, taken out of its layers."""
    loader, program = folder / "libraries" / _LOADERS[architecture], folder / f"prefix/bin/python{minor}"
    if not loader.exists() or not program.exists():
        raise SourceError(f"the base holds no Python {minor} that runs here", where=str(folder))
    return str(loader), "--library-path", str(folder / "libraries"), str(program), *_FLAGS


def _compile(command: tuple[str, ...], chunks: Sequence[Sequence[tuple[str, bytes]]]) -> list[list[bytes | None]]:
    """Send every chunk to one process, a thread writing while this one reads."""
    program = Path(command[3])
    prefix = program.parents[1]
    environment = {"PYTHONHOME": str(prefix), "PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"}
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints, env=environment, cwd=prefix
        )
        assert process.stdin is not None and process.stdout is not None
        feeder = threading.Thread(target=_feed, args=(process.stdin, chunks), daemon=True)
        feeder.start()
        try:
            return [[_receive(process.stdout) for _ in chunk] for chunk in chunks]
        except EOFError as error:
            complaints.seek(0)
            said = complaints.read().decode("utf-8", "replace").strip().splitlines()
            message = f"the image's Python stopped while compiling: {said[-1] if said else 'no message'}"
            raise SourceError(message, where=command[3]) from error
        finally:
            process.kill()
            feeder.join()
            process.wait()
            process.stdout.close()


def _feed(sink: IO[bytes], chunks: Sequence[Sequence[tuple[str, bytes]]]) -> None:
    try:
        with sink:
            for chunk in chunks:
                for path, source in chunk:
                    name = path.encode("utf-8", "surrogateescape")
                    sink.write(struct.pack("<II", len(name), len(source)) + name + source)
    except OSError:
        pass  # the process ended early: who reads from it finds out


def _receive(answers: IO[bytes]) -> bytes | None:
    (size,) = struct.unpack("<i", _read(answers, 4))
    return None if size < 0 else _read(answers, size)


def _read(answers: IO[bytes], size: int) -> bytes:
    data = answers.read(size)
    if len(data) != size:
        raise EOFError
    return data
