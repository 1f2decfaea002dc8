"""What a layout holds, whether it is a folder or an archive.

Source: OCI image specification 1.1, ``image-layout.md``. Among the tools of the field
``org.opencontainers.image.ref.name`` is the tag alone (``skopeo inspect oci:DIR:TAG``); containerd and Docker read the
whole name from an annotation of theirs.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from layerforge.errors import InvalidReference, LayerforgeError
from layerforge.oci import REF_NAME, Descriptor
from layerforge.reference import DOCKER_HUB, Reference, parse_reference
from layerforge.store import Store

LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
FULL_NAME = "io.containerd.image.name"
_CHUNK = 1 << 20


def parse_name(name: str) -> Reference:
    """The reference under which a new image is known.

    Raises:
        InvalidReference: malformed, or with a digest, which cannot be chosen.
    """
    reference = parse_reference(name)
    if reference.digest:
        raise InvalidReference(
            "a new image cannot be given a digest", where=name, hint="use a tag: " + name.split("@")[0]
        )
    return reference


def format_name(reference: Reference) -> str:
    """``reference`` as engines write it, with ``docker.io`` for Docker Hub."""
    text = str(reference)
    return "docker.io" + text[len(DOCKER_HUB) :] if reference.registry == DOCKER_HUB else text


def name_manifest(manifest: Descriptor, reference: Reference) -> Descriptor:
    """The entry of ``manifest`` in a layout's ``index.json``."""
    names = {REF_NAME: reference.tag, FULL_NAME: format_name(reference)}
    return msgspec.structs.replace(manifest, annotations={**manifest.annotations, **names})


def copy_blob(store: Store, descriptor: Descriptor, write: Callable[[memoryview], object]) -> None:
    """Pass the blob's bytes to ``write``, a chunk at a time. Discard them on an error.

    Raises:
        VerificationError: they are not the blob's.
        SourceError: a file that they are read from has changed.
    """
    buffer = memoryview(bytearray(_CHUNK))
    with store.open_blob(descriptor) as reader:
        while count := reader.readinto(buffer):
            write(buffer[:count])


@contextmanager
def translate_output_errors(path: Path) -> Iterator[None]:
    """Say of a failure to write below ``path`` what to do about it."""
    try:
        yield
    except OSError as error:
        where = str(error.filename or path)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise LayerforgeError("no space left on the disk", where=str(path), hint="free some space") from error
        if isinstance(error, (FileExistsError, NotADirectoryError)):
            raise LayerforgeError("is not a folder", where=where, hint="give another path") from error
        raise LayerforgeError(f"cannot be written: {error.strerror or error}", where=where) from error
