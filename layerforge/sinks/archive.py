"""``--output tar:PATH``: an OCI archive, which is an image layout in a tar file.

It also has the ``manifest.json`` of ``docker save``, by which older engines load it; ``image-layout.md`` allows that.
Everything in it comes from the image and its name, so the same image gives the same bytes.
"""

from __future__ import annotations

import json
import os
import tarfile
import tempfile
from pathlib import Path

from layerforge.blobs import list_blobs, require_blobs
from layerforge.errors import LayerforgeError
from layerforge.layers.headers import TRAILER, encode_header, padding
from layerforge.layers.tar import Writable
from layerforge.oci import DOCKER_INDEX, INDEX, Descriptor, Index, Manifest, decode, encode
from layerforge.progress import SILENCE, Reporter, format_size
from layerforge.reference import Reference
from layerforge.sinks.content import (
    LAYOUT,
    copy_blob,
    format_name,
    name_manifest,
    parse_name,
    translate_output_errors,
)
from layerforge.store import Store


class ArchiveSink:
    """A file at ``path``, which appears whole or not at all, in place of a file that was there."""

    def __init__(self, path: Path, reporter: Reporter = SILENCE) -> None:
        self._path = path
        self._reporter = reporter

    def check(self, name: str) -> None:
        """See that a file can be at ``path``.

        Raises:
            LayerforgeError: something else is there.
            InvalidReference: ``name`` is malformed.
        """
        parse_name(name)
        if self._path.exists() and not self._path.is_file():
            hint = "give the path of a new file; dir:PATH writes a folder"
            raise LayerforgeError("is not a regular file", where=str(self._path), hint=hint)

    def deliver(self, store: Store, manifest: Descriptor, name: str) -> Descriptor:
        """Write the archive beside ``path`` and rename it."""
        self.check(name)
        reference = parse_name(name)
        blobs = list_blobs(store, manifest)
        require_blobs(store, blobs, self._reporter)
        task = f"write {self._path}"
        self._reporter.start(task, sum(blob.size for blob in blobs))
        path = Path(os.path.realpath(self._path))
        with translate_output_errors(self._path):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
            try:
                with os.fdopen(handle, "wb", buffering=1 << 16) as file:
                    self._write(file, store, blobs, manifest, reference, task)
                    size = file.tell()
                Path(temporary).chmod(0o644)
                Path(temporary).replace(path)
            finally:
                Path(temporary).unlink(missing_ok=True)
        self._reporter.finish(task, format_size(size))
        return manifest

    def _write(
        self,
        file: Writable,
        store: Store,
        blobs: tuple[Descriptor, ...],
        manifest: Descriptor,
        reference: Reference,
        task: str,
    ) -> None:
        _add_file(file, "oci-layout", LAYOUT)
        _add_file(file, "index.json", encode(Index(2, INDEX, (name_manifest(manifest, reference),))))
        if manifest.media_type not in (INDEX, DOCKER_INDEX):
            _add_file(file, "manifest.json", _encode_docker_manifest(store, manifest, reference))
        for folder in ("blobs", "blobs/sha256"):
            file.write(encode_header(folder, kind=tarfile.DIRTYPE, mode=0o755))

        def write(data: memoryview) -> None:
            file.write(data)  # type: ignore[arg-type]
            self._reporter.advance(task, len(data))

        for blob in blobs:
            file.write(encode_header(f"blobs/sha256/{blob.digest.hex}", size=blob.size))
            copy_blob(store, blob, write)
            file.write(padding(blob.size))
        file.write(TRAILER)


def _add_file(file: Writable, path: str, data: bytes) -> None:
    file.write(encode_header(path, size=len(data)) + data + padding(len(data)))


def _encode_docker_manifest(store: Store, descriptor: Descriptor, reference: Reference) -> bytes:
    """The list of images that ``docker load`` looks for (moby, ``image/tarexport``)."""
    manifest = decode(store.read_blob(descriptor), Manifest)
    entry = {
        "Config": f"blobs/sha256/{manifest.config.digest.hex}",
        "RepoTags": [format_name(reference)],
        "Layers": [f"blobs/sha256/{layer.digest.hex}" for layer in manifest.layers],
    }
    return json.dumps([entry], separators=(",", ":"), sort_keys=True).encode()
