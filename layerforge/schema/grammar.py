"""Source text to syntax tree, in the grammar of the model's Python and not of the one that runs Layerforge.

``ast`` knows the grammar of its own Python. Asked for an older one it refuses what came later; a newer one is rewritten
by :mod:`layerforge.schema.newer` to what it knows.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
import warnings

from layerforge.errors import SchemaError

MAX_BYTES = 1 << 20
"""Larger files are not parsed: the syntax tree of one takes seconds and hundreds of megabytes."""

NEWEST = (3, 14)
"""The grammar that is read where the model's version is not known."""

_HOST = sys.version_info[:2]
_OLDEST = (3, 7)
_ALONE = (3, 12)
"""The grammar whose f-strings ``feature_version`` does not tell from older ones (PEP 701)."""


def parse_source(data: bytes, path: str, python: tuple[int, int] = NEWEST) -> ast.Module:
    """The syntax tree of a file's bytes, in the encoding it declares and the grammar of ``python``.

    Raises:
        SchemaError: with line and caret, the text is not Python of that version.
    """
    if len(data) > MAX_BYTES:
        hint = "move the model's class into a file of its own"
        raise SchemaError(f"{len(data):,} bytes are too many to read a signature from", where=path, hint=hint)
    try:
        tree = _parse(data, path, python)
    except SyntaxError as error:
        if python <= _HOST:
            raise _not_python(error, data, path, python) from None
        tree = _parse_newer(data, path, python, error)
    except (ValueError, RecursionError, MemoryError) as error:
        message = f"not Python: {error}" if isinstance(error, ValueError) else "nested too deeply to parse"
        raise SchemaError(message, where=path, hint="write it with fewer nested brackets") from None
    if python < _ALONE <= _HOST:
        _refuse_newer(data, path, python)
    return tree


def _parse(source: bytes | str, path: str, python: tuple[int, int]) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if _OLDEST <= python < _HOST:
            return ast.parse(source, filename=path, feature_version=python)
        return ast.parse(source, filename=path)


def _parse_newer(data: bytes, path: str, python: tuple[int, int], first: SyntaxError) -> ast.Module:
    from layerforge.schema.newer import rewrite  # few files need it

    text = _decode(data)
    if text is None:
        raise _not_python(first, data, path, python)
    try:
        rewritten = rewrite(text, _HOST, python)
        return rewritten.restore(_parse(rewritten.text, path, NEWEST))
    except SyntaxError as error:
        raise _not_python(error, data, path, python) from None
    except (ValueError, RecursionError, MemoryError):
        raise SchemaError("nested too deeply to parse", where=path, hint="write it in a simpler way") from None


def _refuse_newer(data: bytes, path: str, python: tuple[int, int]) -> None:
    if b'f"' not in data and b"f'" not in data:
        return
    from layerforge.schema.newer import rewrite

    text = _decode(data)
    if text is None:
        return
    rewritten = rewrite(text, (3, 11))
    if rewritten.fields:
        message = f"not Python {_shown(python)}: an f-string as only Python 3.12 reads it (quotes inside its braces)"
        hint = "use other quotes inside the braces, or set build.python_version to 3.12"
        raise SchemaError(message, where=f"{path}:{rewritten.fields[0].lineno}", hint=hint)


def _decode(data: bytes) -> str | None:
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        text = data.decode(encoding)
    except (SyntaxError, UnicodeError, LookupError):
        return None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _not_python(error: SyntaxError, data: bytes, path: str, python: tuple[int, int]) -> SchemaError:
    where = f"{path}:{error.lineno}" if error.lineno else path
    message = f"not Python{'' if python == NEWEST else ' ' + _shown(python)}: {error.msg}"
    line = _line(data, error.lineno) or (error.text or "").rstrip("\n")
    if line.strip() and error.offset and error.offset > 0 and len(line) < 300:
        shown = line.lstrip()
        column = min(max(error.offset - 1 - (len(line) - len(shown)), 0), len(shown))
        message += f"\n    {shown}\n    {' ' * column}^"
    hint = "mend the line, or set build.python_version in cog.yaml to the Python that the model is written for"
    return SchemaError(message, where=where, hint=hint)


def _line(data: bytes, number: int | None) -> str:
    text = _decode(data)
    lines = text.split("\n") if text is not None and number else []
    return lines[number - 1] if number and 0 < number <= len(lines) else ""


def _shown(python: tuple[int, int]) -> str:
    return f"{python[0]}.{python[1]}"
