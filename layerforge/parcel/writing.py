"""Writes a parcel: the same contents give the same bytes."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import BinaryIO

from layerforge.errors import StoreError, VerificationError
from layerforge.layers.headers import TRAILER, encode_header, padding
from layerforge.oci import encode
from layerforge.parcel.contents import LIST, MATERIALS, Contents, Entry
from layerforge.progress import Reporter, format_size
from layerforge.sinks.content import translate_output_errors
from layerforge.store import Store, translate_os_errors
from layerforge.verify import VerifiedReader

_CHUNK = 1 << 20


def export_parcel(contents: Contents, store: Store, output: Path | BinaryIO, reporter: Reporter) -> None:
    """Write ``contents`` of ``store``; a file appears whole or not at all, in place of one that was there.

    Raises:
        VerificationError: a file of the store is damaged.
        StoreError: one has vanished.
        LayerforgeError: ``output`` cannot be written.
    """
    task = f"write {output if isinstance(output, Path) else 'to standard output'}"
    reporter.start(task, contents.size)
    if not isinstance(output, Path):
        with translate_output_errors(Path("standard output")):
            _write(contents, store, output, task, reporter)
            output.flush()
    else:
        path = Path(os.path.realpath(output))
        with translate_output_errors(output):
            handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
            try:
                with os.fdopen(handle, "wb", buffering=1 << 18) as file:
                    _write(contents, store, file, task, reporter)
                Path(name).chmod(0o644)
                Path(name).replace(path)
            finally:
                Path(name).unlink(missing_ok=True)
    reporter.finish(task, format_size(contents.size))


def _write(contents: Contents, store: Store, file: BinaryIO, task: str, reporter: Reporter) -> None:
    listing = encode(contents)
    file.write(encode_header(LIST, size=len(listing)) + listing + padding(len(listing)))
    for entry in contents.files:
        file.write(encode_header(entry.path, size=entry.size))
        try:
            with _open(store, entry) as reader:
                while chunk := reader.read(_CHUNK):
                    file.write(chunk)
                    reporter.advance(task, len(chunk))
        except VerificationError as error:
            path = store.root / entry.path
            word = "`layerforge fetch`" if entry.folder == MATERIALS else "the build"
            error.hint = f"the store's copy is damaged: remove {path}, and repeat {word}"
            raise
        file.write(padding(entry.size))
    file.write(TRAILER)


def _open(store: Store, entry: Entry) -> VerifiedReader:
    path = store.root / entry.path
    with translate_os_errors(path):
        try:
            return VerifiedReader(path.open("rb", buffering=0), entry.digest, entry.size, what=str(path))
        except FileNotFoundError as error:
            raise StoreError("has just vanished", where=str(path), hint="run the command again") from error
