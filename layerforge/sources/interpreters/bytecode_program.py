"""Compiles sources to bytecode whose bytes depend on path, source and interpreter alone.

This file runs in the image's own Python, 3.10 to 3.14, as the text of ``python -c``; so it imports nothing of ours, and
only what the smallest installation has. :mod:`layerforge.sources.interpreters.worker` is its other end.

``marshal`` gives an object a number, to refer to it later, when the object has more than one reference (CPython,
``Python/marshal.c``, ``w_ref``). Who else refers to an equal string, and which of a module's equal constants the
compiler made one object, depends on what the process did before: docs/architecture.md, "Bytecode", has figures. So a
code object is written twice. Version 2 of the format knows no references: what is read back from it shares nothing but
interned strings and the interpreter's own small constants, and written again it always gives the same bytes.
"""

import gc
import marshal
import operator
import struct
import sys
import warnings
from _imp import source_hash
from importlib._bootstrap_external import MAGIC_NUMBER
from types import CodeType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MAGIC = int.from_bytes(MAGIC_NUMBER, "little")
# Strings of one character exist once in a process, and before 3.13 are interned or not by what it happened to do.
_CHARACTERS = [sys.intern(text) for text in ("", *map(chr, range(256)))]
_UNSORTED = sys.version_info < (3, 11)  # frozensets are written in the order of their table, which varies
_SLICES = sys.version_info >= (3, 14)  # slices are constants, and unknown to version 2


def build(path: str, source: bytes) -> bytes | None:
    """The unchecked-hash ``.pyc`` (PEP 552) of ``source``, or None where compiling fails.

    ``path`` is that in the image, without the slash at its front.
    """
    try:
        code = compile(source, sys.intern("/" + path), "exec", dont_inherit=True, optimize=0)
        digest = source_hash(_MAGIC, source)
        return MAGIC_NUMBER + struct.pack("<I", 1) + digest + encode(code, digest)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        return None


def encode(code: CodeType, mark: bytes) -> bytes:
    """``code`` in marshal's default version, without a trace of the state of this process.

    ``mark`` are some bytes that ``code`` does not contain.
    """
    if _UNSORTED or _SLICES:
        code = _replace_constants(code, mark)
    plain = marshal.dumps(code, 2)
    # 3.10 numbers an interned string only where it has a second reference: a second tree sees to that.
    second = marshal.loads(plain) if _UNSORTED else None
    data = marshal.dumps(marshal.loads(plain))
    del second
    standing = b"s" + struct.pack("<I", len(mark)) + mark
    if _SLICES:
        return data.replace(b")\x04" + standing, b":")
    return _restore_sets(data.split(standing)) if _UNSORTED else data


def _replace_constants(code: CodeType, mark: bytes) -> CodeType:
    """``code`` with tuples that begin with ``mark`` instead of the constants that marshal cannot be trusted with."""
    constants = _replace_all(code.co_consts, mark)
    return code if constants is code.co_consts else code.replace(co_consts=constants)


def _replace_all(values: tuple[object, ...], mark: bytes) -> tuple[object, ...]:
    replaced = tuple([_replace(value, mark) for value in values])
    return values if all(map(operator.is_, values, replaced)) else replaced


def _replace(value: object, mark: bytes) -> object:
    if isinstance(value, CodeType):
        return _replace_constants(value, mark)
    if isinstance(value, tuple):
        return _replace_all(value, mark)
    if _SLICES and isinstance(value, slice):
        return (mark, *_replace_all((value.start, value.stop, value.step), mark))
    if _UNSORTED and isinstance(value, frozenset):
        return (mark, *sorted(_replace_all(tuple(value), mark), key=_encode_plainly))
    return value


def _encode_plainly(value: "Any") -> bytes:
    return marshal.dumps(value, 2)


def _restore_sets(pieces: list[bytes]) -> bytes:
    """Undo :func:`_replace_constants`: between ``pieces`` stood the mark, as first item of a tuple."""
    for number, piece in enumerate(pieces[:-1]):
        width = 5 if piece[-1] == 0 else 2  # a tuple of 256 or more begins with "(" and four bytes of size
        size = int.from_bytes(piece[1 - width :], "little") - 1
        pieces[number] = piece[:-width] + b">" + struct.pack("<I", size)
    return b"".join(pieces)


def main() -> None:
    """Answer requests from standard input until it ends: sizes of path and source, path, source."""
    warnings.simplefilter("ignore")
    gc.disable()  # compiling leaves no cycles
    receive, send = sys.stdin.buffer, sys.stdout.buffer
    while header := receive.read(8):
        path_size, size = struct.unpack("<II", header)
        path = receive.read(path_size).decode("utf-8", "surrogateescape")
        result = build(path, receive.read(size))
        send.write(struct.pack("<i", -1) if result is None else struct.pack("<i", len(result)) + result)
        send.flush()


if __name__ == "__main__":
    main()
