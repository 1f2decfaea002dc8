"""``--output dir:PATH``: an OCI image layout, made anew or added to."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from layerforge.blobs import list_blobs, require_blobs
from layerforge.errors import LayerforgeError
from layerforge.oci import INDEX, REF_NAME, Descriptor, builtins
from layerforge.progress import SILENCE, Reporter, format_size
from layerforge.sinks.content import LAYOUT, copy_blob, name_manifest, parse_name, translate_output_errors
from layerforge.store import Store


class _Delivery(msgspec.Struct, frozen=True):
    """What is to be written: the blobs, and the entry that names one of them."""

    store: Store
    blobs: tuple[Descriptor, ...]
    entry: Descriptor
    task: str


class LayoutSink:
    """A folder at ``path``.

    One that is not there appears whole or not at all. To a layout that is there the image is added, in place of any
    that has the same tag; what other tools wrote into it stays. Blobs are hard links to the store's where possible.
    A blob that the layout has, with the right size, is taken to be right.
    """

    def __init__(self, path: Path, reporter: Reporter = SILENCE) -> None:
        self._path = path
        self._reporter = reporter

    def check(self, name: str) -> None:
        """See that ``path`` is free, an empty folder, or a layout.

        Raises:
            LayerforgeError: something else is there.
            InvalidReference: ``name`` is malformed.
        """
        parse_name(name)
        with translate_output_errors(self._path):
            if self._path.exists():
                _read_index(self._path)

    def deliver(self, store: Store, manifest: Descriptor, name: str) -> Descriptor:
        """Write the image, and its entry in ``index.json`` last."""
        self.check(name)
        entry = name_manifest(manifest, parse_name(name))
        delivery = _Delivery(store, list_blobs(store, manifest), entry, f"write {self._path}")
        require_blobs(store, delivery.blobs, self._reporter)
        size = sum(blob.size for blob in delivery.blobs)
        self._reporter.start(delivery.task, size)
        path = Path(os.path.realpath(self._path))
        with translate_output_errors(self._path):
            if path.exists() or not self._create(path, delivery):
                self._add(path, delivery)
        self._reporter.finish(delivery.task, format_size(size))
        return manifest

    def _create(self, path: Path, delivery: _Delivery) -> bool:
        """Make the layout beside ``path`` and rename it; False when another was quicker."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
        try:
            self._add(temporary, delivery)
            temporary.chmod(0o755)
            try:
                temporary.rename(path)
            except OSError:
                if not path.exists():
                    raise
                return False
            return True
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _add(self, folder: Path, delivery: _Delivery) -> None:
        """Add to the layout in ``folder``, or make one there if it is empty; on an error take everything back."""
        added: list[Path] = []
        with _locked(folder):
            index = _read_index(folder)
            temporary = Path(tempfile.mkdtemp(prefix=".layerforge-", dir=folder))

            def place(name: str, parent: Path) -> None:
                (temporary / name).replace(parent / name)
                added.append(parent / name)

            try:
                blobs = folder / "blobs" / "sha256"
                for parent in (blobs.parent, blobs):
                    if not parent.exists():
                        parent.mkdir()
                        added.append(parent)
                for blob in delivery.blobs:
                    if _has_blob(blobs, blob):
                        self._reporter.advance(delivery.task, blob.size)
                        continue
                    self._write_blob(delivery, blob, temporary / blob.digest.hex)
                    place(blob.digest.hex, blobs)
                if not (folder / "oci-layout").exists():
                    (temporary / "oci-layout").write_bytes(LAYOUT)
                    place("oci-layout", folder)
                _name(index, delivery.entry)
                (temporary / "index.json").write_bytes(
                    json.dumps(index, separators=(",", ":"), sort_keys=True).encode()
                )
                (temporary / "index.json").replace(folder / "index.json")
            except BaseException:
                for path in reversed(added):
                    with suppress(OSError):
                        path.rmdir() if path.is_dir() else path.unlink()
                raise
            finally:
                shutil.rmtree(temporary, ignore_errors=True)

    def _write_blob(self, delivery: _Delivery, blob: Descriptor, path: Path) -> None:
        """Link or copy one blob to ``path``, verified either way."""
        store = delivery.store
        with suppress(OSError):  # another file system, a limit, or no file of the store at all: then it is copied
            os.link(store.blob_path(blob.digest), path)
        if path.exists():
            copy_blob(store, blob, lambda data: self._reporter.advance(delivery.task, len(data)))
            return
        with path.open("xb") as file:

            def write(data: memoryview) -> None:
                file.write(data)
                self._reporter.advance(delivery.task, len(data))

            copy_blob(store, blob, write)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Only one of us adds to a layout at a time; no file is left behind for it."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _has_blob(folder: Path, blob: Descriptor) -> bool:
    try:
        return (folder / blob.digest.hex).stat().st_size == blob.size
    except FileNotFoundError:
        return False


def _read_index(folder: Path) -> dict[str, Any]:
    """``index.json`` as it is, so that fields that mean nothing to us survive; a new one in an empty folder."""
    hint = "give a path that does not exist yet, an empty folder, or an OCI image layout"
    if not folder.is_dir():
        raise LayerforgeError("is not a folder", where=str(folder), hint=hint)
    if not any(folder.iterdir()):
        return {"schemaVersion": 2, "mediaType": INDEX, "manifests": []}
    try:
        marker = json.loads((folder / "oci-layout").read_bytes())
        index = json.loads((folder / "index.json").read_bytes())
    except FileNotFoundError:
        raise LayerforgeError("holds something else than an image layout", where=str(folder), hint=hint) from None
    except (OSError, ValueError) as error:
        raise LayerforgeError(f"its image layout cannot be read: {error}", where=str(folder), hint=hint) from error
    version = marker.get("imageLayoutVersion") if isinstance(marker, dict) else None
    if version != "1.0.0":
        raise LayerforgeError(f"is an image layout of version {version}, not 1.0.0", where=str(folder), hint=hint)
    if not isinstance(index, dict) or not isinstance(index.get("manifests"), list):
        raise LayerforgeError("its index.json is not an image index", where=str(folder), hint=hint)
    return index


def _name(index: dict[str, Any], entry: Descriptor) -> None:
    """Put ``entry`` into ``index``, in place of the one with the same tag."""

    def has_tag(other: object) -> bool:
        annotations = other.get("annotations") if isinstance(other, dict) else None
        return isinstance(annotations, dict) and annotations.get(REF_NAME) == entry.annotations[REF_NAME]

    index["manifests"] = [other for other in index["manifests"] if not has_tag(other)] + [builtins(entry)]
