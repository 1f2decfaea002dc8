"""Wheels, archives and folders that lie in the project: what they are, and the digest by which they are known."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from layerforge.errors import LayerError, ResolveError, SourceError, VerificationError
from layerforge.ignore import is_never_wanted
from layerforge.layers.wheel_archive import WheelArchive
from layerforge.lock import LockedWheel
from layerforge.oci import Digest, encode
from layerforge.requirements import Requirements
from layerforge.store import Store, digest_file
from layerforge.verify import VerifiedReader

if TYPE_CHECKING:
    from layerforge.sources.compile import Metadata

_DEFINITIONS = ("pyproject.toml", "setup.py", "setup.cfg", "MANIFEST.in")
"""What decides an editable installation; the code itself stays where it is."""

_CHUNK = 1 << 20
_FILES = (".whl", ".tar.gz", ".tgz", ".zip", ".tar.bz2")


def lock_local_wheel(project: Path, path: str, where: str) -> LockedWheel:
    """The wheel at ``path`` of the project.

    Raises:
        ResolveError: its name is not that of a wheel, or it is broken.
        SourceError: it cannot be read.
    """
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename  # slow, and a build asks for digests only

    filename = path.rpartition("/")[2]
    try:
        name, version, _, _ = parse_wheel_filename(filename)
    except InvalidWheelFilename as error:
        raise ResolveError(f"{filename} is not the name of a wheel", where=where) from error
    digest, size = _digest(project / path)
    try:
        with WheelArchive(project / path, filename) as archive:
            member = archive.find(f"{archive.dist_info}/METADATA")
            if member is None:
                raise archive.error("has no METADATA")
            archive.read(member)
    except LayerError as error:
        raise ResolveError(f"{path}: {error.message}", where=where, hint="build the wheel again") from error
    return LockedWheel(str(name), str(version), filename, "", size, digest, "", path=path)


def find_local_wheel(store: Store, project: Path, wheel: LockedWheel) -> Path:
    """The store's copy of a wheel of the project, which others then need not trust to stay as it is.

    Raises:
        SourceError: the wheel is gone.
        VerificationError: it is not the one in the lock.
    """
    return find_local_file(store, project, wheel.path, wheel.digest, wheel.size)


def find_local_file(store: Store, project: Path, path: str, digest: Digest, size: int) -> Path:
    """The store's copy of the file at ``path`` of the project.

    Raises:
        SourceError: the file is gone.
        VerificationError: it has another digest or size.
    """
    place = store.material_path(digest)
    if place.exists():
        return place
    try:
        with (project / path).open("rb") as file, store.write_blob() as blob:
            reader = VerifiedReader(file, digest, size, what=path)
            while chunk := reader.read(_CHUNK):
                blob.write(chunk)
            return blob.commit(digest, folder="materials")
    except VerificationError as error:
        error.hint = "lock again, if it was replaced on purpose: `layerforge lock`"
        raise
    except OSError as error:
        raise SourceError(f"cannot be read: {error.strerror}", where=path, hint="put it back") from error


def read_metadata(path: Path, filename: str) -> Metadata:
    """What the wheel at ``path`` requires.

    Raises:
        LayerError: it has no METADATA that can be read.
    """
    from email.parser import HeaderParser  # slow, and a build asks for digests only

    from packaging.utils import parse_wheel_filename

    from layerforge.sources.compile import Metadata

    try:
        with zipfile.ZipFile(path) as archive:
            names = [
                name for name in archive.namelist() if name.endswith(".dist-info/METADATA") and name.count("/") == 1
            ]
            text = archive.read(names[0]).decode("utf-8", "replace")
    except (OSError, zipfile.BadZipFile, ValueError) as error:
        raise LayerError("has no METADATA", where=filename) from error
    headers = HeaderParser().parsestr(text)
    name, version, _, _ = parse_wheel_filename(filename)
    return Metadata(
        str(name),
        str(version),
        tuple(headers.get_all("Requires-Dist", ())),
        headers.get("Requires-Python", ""),
        tuple(headers.get_all("Provides-Extra", ())),
    )


def digest_local(project: Path, requirements: Requirements) -> tuple[tuple[str, Digest], ...]:
    """The files and folders of the project that a lock of ``requirements`` depends on, each with its digest.

    Raises:
        SourceError: one of them cannot be read.
    """
    editable = {line.origin.path for line in requirements.lines if line.origin is not None and line.origin.editable}
    paths = list(requirements.local_paths)
    if requirements.frozen:
        for path, is_editable in _list_frozen(project, requirements.frozen):
            paths.append(path)
            editable |= {path} if is_editable else set()
    links = set(requirements.find_links)
    found: dict[str, Digest] = {}
    for path in paths:
        place = project / path
        if path in links:
            found[path] = Digest.of(encode([(name, _digest(place / name)[0]) for name in _list_archives(place)]))
        elif place.is_dir():
            found[path] = digest_folder(place, editable=path in editable)
        else:
            found[path] = _digest(place)[0]
    return tuple(sorted(found.items()))


def _list_frozen(project: Path, lock: str) -> Iterator[tuple[str, bool]]:
    """The files and folders of the project that a lock of uv's takes packages from, and which are editable."""
    import tomli  # few projects have such a lock

    try:
        packages = tomli.loads((project / lock).read_text("utf-8")).get("package", [])
    except (OSError, UnicodeDecodeError, tomli.TOMLDecodeError) as error:
        raise SourceError(f"cannot be read: {error}", where=lock, hint="run `uv lock`") from error
    for package in packages:
        for kind in ("editable", "directory", "path"):
            place = package.get("source", {}).get(kind)
            path = Path(os.path.normpath((project / lock).parent / place)) if isinstance(place, str) else None
            if path is not None and path.is_relative_to(project) and path.exists():
                yield path.relative_to(project).as_posix(), kind == "editable"


def _list_archives(folder: Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(folder) if entry.name.endswith(_FILES) and entry.is_file())


def digest_folder(folder: Path, *, editable: bool) -> Digest:
    """What decides the wheel that the package in ``folder`` gives; of an ``editable`` one, its code does not.

    Raises:
        SourceError: a file cannot be read.
    """
    names = [name for name in _DEFINITIONS if (folder / name).is_file()] if editable else list_source_files(folder)
    return Digest.of(encode([(name, _digest(folder / name)[0]) for name in names if (folder / name).is_file()]))


def digest_file_of(project: Path, path: str) -> tuple[Digest, int]:
    """Digest and size in bytes of a file of the project.

    Raises:
        SourceError: it cannot be read.
    """
    return _digest(project / path)


def list_source_files(folder: Path) -> list[str]:
    """The files of a package's source in ``folder``, sorted, without version control, caches and environments."""
    found: list[str] = []
    for top, names, files in os.walk(folder):
        below = Path(top).relative_to(folder).as_posix()
        prefix = "" if below == "." else f"{below}/"
        names[:] = sorted(
            name
            for name in names
            if not is_never_wanted(prefix + name)
            and not (name in ("build", "dist") and not prefix)
            and not name.endswith(".egg-info")
            and not (Path(top) / name / "pyvenv.cfg").exists()
        )
        found += (prefix + name for name in files if not is_never_wanted(prefix + name))
    return sorted(found)


def _digest(path: Path) -> tuple[Digest, int]:
    try:
        return digest_file(path)
    except OSError as error:
        raise SourceError(f"cannot be read: {error.strerror}", where=str(path)) from error
