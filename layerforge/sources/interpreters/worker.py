"""A Python on this machine that compiles sources for an image, in a process of its own.

What runs there is ``bytecode_program.py``. It sees to it that the bytes depend on path, source and interpreter alone,
not on what a process compiled before.
"""

from __future__ import annotations

import functools
import struct
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import IO

import msgspec

from layerforge.errors import SourceError

_FLAGS = ("-s", "-S", "-B", "-X", "utf8")  # not -I, which would pass over PYTHONHASHSEED


class Program(msgspec.Struct, frozen=True):
    """A Python that runs here: the command that starts it (a dynamic loader may come first), and its prefix."""

    command: tuple[str, ...]
    prefix: Path


Chunk = Sequence[tuple[str, bytes]]
"""Some ``(path in the image, source)``."""


class Work:
    """Chunks that several processes compile, each taking the next one when it has room: ``compiled`` by position."""

    def __init__(self, chunks: Sequence[Chunk]) -> None:
        self.compiled: list[list[bytes | None]] = [[] for _ in chunks]
        self._chunks = iter(enumerate(chunks))
        self._guard = threading.Lock()

    def take(self) -> tuple[int, Chunk] | None:
        """The next chunk and its position; None when all are taken."""
        with self._guard:
            return next(self._chunks, None)


def compile_chunks(program: Program, work: Work) -> None:
    """Fill in the unchecked-hash ``.pyc`` (PEP 552) of what is left of ``work``; None where compiling fails.

    All goes to one process, a thread writing while this one reads.

    Raises:
        SourceError: the process cannot be started, or stops.
    """
    command = (*program.command, *_FLAGS, "-c", _read_program())
    with tempfile.TemporaryFile() as complaints:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=complaints,
                env=_environment(program),
                cwd=program.prefix,
            )
        except OSError as error:
            raise SourceError(f"the image's Python cannot be started: {error.strerror}", where=command[0]) from error
        assert process.stdin is not None and process.stdout is not None
        sent: SimpleQueue[tuple[int, int] | None] = SimpleQueue()
        feeder = threading.Thread(target=_feed, args=(process.stdin, work, sent), daemon=True)
        feeder.start()
        try:
            while (taken := sent.get()) is not None:
                position, count = taken
                work.compiled[position] = [_receive(process.stdout) for _ in range(count)]
        except EOFError as error:
            complaints.seek(0)
            said = complaints.read().decode("utf-8", "replace").strip().splitlines()
            message = f"the image's Python stopped while compiling: {said[-1] if said else 'no message'}"
            raise SourceError(message, where=program.command[-1]) from error
        finally:
            process.kill()
            feeder.join()
            process.wait()
            process.stdout.close()


@functools.cache
def _read_program() -> str:
    return Path(__file__).with_name("bytecode_program.py").read_text()


def runs(program: Program) -> bool:
    """Whether the program starts on this machine at all."""
    try:
        done = subprocess.run(
            (*program.command, "-S", "-c", ""), env=_environment(program), cwd=program.prefix, capture_output=True
        )
    except OSError:  # no such loader: a machine with another C library
        return False
    return done.returncode == 0


def _environment(program: Program) -> dict[str, str]:
    return {"PYTHONHOME": str(program.prefix), "PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"}


def _feed(sink: IO[bytes], work: Work, sent: SimpleQueue[tuple[int, int] | None]) -> None:
    try:
        with sink:
            while (taken := work.take()) is not None:
                position, chunk = taken
                sent.put((position, len(chunk)))
                for path, source in chunk:
                    name = path.encode("utf-8", "surrogateescape")
                    sink.write(struct.pack("<II", len(name), len(source)) + name + source)
    except OSError:
        pass  # the process ended early: who reads from it finds out
    finally:
        sent.put(None)


def _receive(answers: IO[bytes]) -> bytes | None:
    (size,) = struct.unpack("<i", _read(answers, 4))
    return None if size < 0 else _read(answers, size)


def _read(answers: IO[bytes], size: int) -> bytes:
    data = answers.read(size)
    if len(data) != size:
        raise EOFError
    return data
