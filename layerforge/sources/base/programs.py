"""The Python of a base image, made to run on this machine: for compiling bytecode, as any user and without a container.

Of the base's layers only those that hold a part of it are read. What lies in many folders there is put into two: the
libraries that an interpreter is linked to, by the names that it asks for, and its prefix.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from layerforge.base_image import BaseImage
from layerforge.errors import SourceError
from layerforge.layers.tar import check_path
from layerforge.oci import Digest, encode
from layerforge.progress import SILENCE, Reporter
from layerforge.sources.base.files import read_files
from layerforge.sources.base.root import BaseRoot
from layerforge.store import Store, translate_os_errors

REVISION = 1
"""Raised when another choice of files is made."""

_LIBRARIES = re.compile(
    r"ld-(?:linux-)?[\w-]+\.so\.\d+|lib(?:c|m|dl|util|pthread|rt|z|expat|crypt|gcc_s|stdc\+\+)\.so\.\d+"
    r"|libpython3\.\d+\w*\.so(?:\.[\d.]+)?"
)
"""What an interpreter and the few modules that compiling needs are linked to, wherever it was built."""

_FOLDERS = re.compile(r"(?:usr/(?:local/)?)?lib(?:32|64)?(?:/[\w.-]+-linux-gnu\w*)?")
_LEFT_OUT = re.compile(r"(?:site-packages|dist-packages|test|tests|idlelib|tkinter|ensurepip|turtledemo|__pycache__)/")
_NATIVE = re.compile(r"lib-dynload/(?:_struct|_datetime|math|zlib)\.[\w.-]+")


class Placed(msgspec.Struct, frozen=True):
    """A file of the base, where it really is, and where it goes in the unpacked folder."""

    source: str
    destination: str
    executable: bool


def unpack_python(
    base: BaseImage, root: BaseRoot, home: str, minor: str, store: Store, reporter: Reporter = SILENCE
) -> Path:
    """The folder in the store with ``prefix/bin/pythonX.Y`` and the ``libraries`` it needs; made now if it must be.

    Raises:
        SourceError: the base has no such Python.
        RegistryError: a layer cannot be had.
        LayerError: a layer is damaged.
    """
    files = list(choose_files(root, home, minor))
    if not any(file.destination == f"prefix/bin/python{minor}" for file in files):
        raise SourceError(f"the base has no {home}/python{minor}", where=base.reference)
    return _unpack(f"base-python-{minor}", (home, minor), files, base, root, store, reporter)


def unpack_libraries(base: BaseImage, root: BaseRoot, store: Store, reporter: Reporter = SILENCE) -> Path:
    """The folder in the store with the base's ``libraries`` that any Python is linked to; made now if it must be.

    Raises:
        RegistryError: a layer cannot be had.
        LayerError: a layer is damaged.
    """
    files = list(_choose_libraries(root, ""))
    return _unpack("base-libraries", ("", ""), files, base, root, store, reporter)


def _unpack(
    name: str,
    identity: tuple[str, str],
    files: list[Placed],
    base: BaseImage,
    root: BaseRoot,
    store: Store,
    reporter: Reporter,
) -> Path:
    key = Digest.of(encode((base.manifest.digest, *identity, REVISION)))
    folder = store.root / "roots" / f"{name}-{key.short}"
    if folder.is_dir():
        return folder
    with translate_os_errors(folder), store.key_lock(key):
        if folder.is_dir():
            return folder
        fresh = Path(tempfile.mkdtemp(prefix="base-python-", dir=store.scratch))
        try:
            _extract(base, root, files, fresh, store, reporter)
            fresh.rename(folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return folder


def choose_files(root: BaseRoot, home: str, minor: str) -> Iterator[Placed]:
    """What running the Python in ``home`` takes. Pure."""
    prefix = home.strip("/").removesuffix("bin").strip("/")
    inside = f"{prefix}/" if prefix else ""
    real = root.resolve(f"{inside}bin/python{minor}")
    if real is not None:
        yield Placed(real, f"prefix/bin/python{minor}", True)
    library = f"{inside}lib/python{minor}/"
    for path, entry in root.paths.items():
        if path.startswith(library):
            rest = path[len(library) :]
            wanted = rest.endswith(".py") and not _LEFT_OUT.search(rest)
            if entry.kind in ("file", "hardlink", "symlink") and (wanted or _NATIVE.fullmatch(rest)):
                source = root.resolve(path)
                if source is not None:
                    yield Placed(source, f"prefix/lib/python{minor}/{rest}", False)
    yield from _choose_libraries(root, inside)


def _choose_libraries(root: BaseRoot, inside: str) -> Iterator[Placed]:
    """Each by the name that it is asked for; those in the prefix ``inside`` before the system's."""
    seen: set[str] = set()
    own: list[str] = []
    others: list[str] = []
    for path in root.paths:
        folder, _, name = path.rpartition("/")
        if _LIBRARIES.fullmatch(name) and folder == f"{inside}lib":
            own.append(path)
        elif _LIBRARIES.fullmatch(name) and _FOLDERS.fullmatch(folder):
            others.append(path)
    for path in (*own, *others):
        name = path.rpartition("/")[2]
        source = root.resolve(path)
        if name not in seen and source is not None:
            seen.add(name)
            yield Placed(source, f"libraries/{name}", True)


def _extract(
    base: BaseImage, root: BaseRoot, files: list[Placed], folder: Path, store: Store, reporter: Reporter
) -> None:
    by_source: dict[str, list[Placed]] = {}
    for file in files:
        by_source.setdefault(file.source, []).append(file)
    for names, content in read_files(base, root, by_source, "take Python from the base", store, reporter):
        _write(folder, [file for name in names for file in by_source[name]], content)


def _write(folder: Path, placed: list[Placed], content: Iterator[bytes]) -> None:
    first, *others = (folder / check_path(file.destination) for file in placed)
    first.parent.mkdir(parents=True, exist_ok=True)
    with first.open("wb") as file:
        for chunk in content:
            file.write(chunk)
    first.chmod(0o755 if any(file.executable for file in placed) else 0o644)
    for other in others:
        other.parent.mkdir(parents=True, exist_ok=True)
        other.unlink(missing_ok=True)
        os.link(first, other)
