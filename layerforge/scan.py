"""Reads a model's folder into a Project.

Reading is the expensive part, so a file whose state is known (``states.py``) is not read. A large weight is read
once, and what is hashed is the layer it makes (header, content, padding), so that the layer needs no second read.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from layerforge.budget import total_budget, weights_share
from layerforge.errors import SourceError
from layerforge.ignore import DockerIgnore, GitIgnore, is_never_wanted, keep_weights
from layerforge.layers.weights import lay_out_weights, place_weights
from layerforge.oci import Digest, encode
from layerforge.progress import SILENCE, Reporter
from layerforge.project import LARGE_SIZE, Project, ProjectFile, WeightLayer, group_weights, is_weight
from layerforge.segments import FileState
from layerforge.states import FileStates

if TYPE_CHECKING:  # what it imports is needed for a push only
    from layerforge.registry.eager import EagerUploads

_CHUNK = 1 << 20


class _Found(msgspec.Struct, frozen=True):
    path: str
    status: os.stat_result
    link: str = ""


def scan_project(
    root: Path,
    states: FileStates,
    target: str = "src",
    *,
    layers: int = weights_share(total_budget(), 0),
    reporter: Reporter = SILENCE,
    eager: EagerUploads | None = None,
) -> Project:
    """List the project in the folder ``root``, which will lie at ``target`` in the image.

    Its weights may have ``layers`` layers. New large files are sent to ``eager`` while they are hashed.

    Raises:
        SourceError: a file cannot be read, its name is not UTF-8, or a link leads to a folder outside.
    """
    found, empty, ignored = _list_files(root, reporter)
    weights = [item for item in found if not item.link and is_weight(item.path, item.status.st_size)]
    large = {item.path: item for item in weights if item.status.st_size >= LARGE_SIZE}
    groups = group_weights({path: item.status.st_size for path, item in large.items()}, layers)
    alone = {path for paths in groups.values() for path in paths}
    kept = {item.path for item in weights}
    threads = max(os.cpu_count() or 1, eager.jobs if eager is not None else 1)
    with ThreadPoolExecutor(threads) as pool:

        def read_group(name: str) -> WeightLayer:
            return _read_large(root, name, [large[path] for path in groups[name]], target, states, reporter, eager)

        try:
            layered = list(pool.map(read_group, groups))
            rest = (item for item in found if item.path not in alone)
            small = list(pool.map(lambda item: _read_small(root, item, states), rest))
        except BaseException:
            if eager is not None:
                eager.stop()
            raise
    return Project(
        code=tuple(file for file in small if file.path not in kept),
        weights=tuple(file for file in small if file.path in kept),
        large_weights=tuple(layered),
        empty_folders=tuple(empty),
        ignored=ignored,
    )


def _list_files(root: Path, reporter: Reporter) -> tuple[list[_Found], list[str], int]:
    docker_file = root / ".dockerignore"
    docker = DockerIgnore(_read_text(docker_file)) if docker_file.is_file() else None
    found: list[_Found] = []
    empty: list[str] = []
    git_files: dict[str, str] = {}
    for folder, names, files in _walk(root, docker):
        prefix = f"{folder}/" if folder else ""
        for name in files:
            item = _inspect(root, prefix + name, reporter)
            if item is not None and not (docker and docker.excludes(item.path)):
                found.append(item)
        if docker is None and ".gitignore" in files:
            git_files[folder] = _read_text(root / prefix / ".gitignore")
        if folder and not names and not files and not (docker and docker.excludes(folder)):
            empty.append(folder)
    left_out: frozenset[str] = frozenset()
    if git_files:
        git = GitIgnore(git_files)
        candidates = {item.path: item for item in found if git.excludes(item.path)}
        heavy = {i.path for i in found if not i.link and is_weight(i.path, i.status.st_size)}
        left_out = frozenset(candidates) - keep_weights(candidates, heavy)
        empty = [folder for folder in empty if not git.excludes(folder)]
    found = sorted((item for item in found if item.path not in left_out), key=lambda item: item.path)
    return found, sorted(empty), len(left_out)


def _walk(root: Path, docker: DockerIgnore | None) -> Iterator[tuple[str, Sequence[str], Sequence[str]]]:
    """Like os.walk, with folders relative to ``root`` and unwanted ones pruned; links to folders count as files."""

    def fail(error: OSError) -> None:
        raise SourceError(f"cannot be read: {error.strerror}", where=str(error.filename)) from error

    for top, names, files in os.walk(root, onerror=fail):
        folder = Path(top).relative_to(root).as_posix()
        folder = "" if folder == "." else folder
        prefix = f"{folder}/" if folder else ""
        links = [name for name in names if (Path(top) / name).is_symlink()]
        names[:] = sorted(
            name
            for name in names
            if name not in links
            and not is_never_wanted(prefix + name)
            and not (Path(top) / name / "pyvenv.cfg").exists()
            and not (docker and docker.prunes(prefix + name))
        )
        yield folder, tuple(names), tuple(n for n in sorted(files + links) if not is_never_wanted(prefix + n))


def _inspect(root: Path, path: str, reporter: Reporter) -> _Found | None:
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        hint = "rename it, or add it to .dockerignore"
        raise SourceError("the file's name is not UTF-8", where=repr(path), hint=hint) from None
    full = root / path
    try:
        status = full.lstat()
        if stat.S_ISLNK(status.st_mode):
            target = str(full.readlink())
            inside = os.path.normpath(full.parent / target)
            if not Path(target).is_absolute() and Path(inside).is_relative_to(root):
                return _Found(path, status, target)
            status = full.stat()  # what lies outside must come along, as its content
            if stat.S_ISDIR(status.st_mode):
                hint = "copy the folder into the project, or exclude the link in .dockerignore"
                raise SourceError(f"link to a folder outside the project ({target})", where=str(full), hint=hint)
    except OSError as error:
        hint = "mend it, or exclude it in .dockerignore"
        raise SourceError(f"cannot be read: {error.strerror}", where=str(full), hint=hint) from error
    if not stat.S_ISREG(status.st_mode):
        reporter.warn(f"{path} is neither file, folder nor link: left out")
        return None
    return _Found(path, status)


def _read_small(root: Path, item: _Found, states: FileStates) -> ProjectFile:
    if item.link:
        return ProjectFile(item.path, link=item.link)
    state = FileState.of(item.status)
    digest = states.find(state)
    if digest is None:
        digest = _hash(_read_pieces(root / item.path, state))
        states.remember(state, digest)
    return ProjectFile(item.path, state.size, _mode(item.status), digest)


def _read_large(
    root: Path,
    name: str,
    items: Sequence[_Found],
    target: str,
    states: FileStates,
    reporter: Reporter,
    eager: EagerUploads | None,
) -> WeightLayer:
    """The layer of ``items``, hashed as it will be: header, content, padding."""
    first, *others = (FileState.of(item.status) for item in items)
    files = tuple(ProjectFile(item.path, item.status.st_size, _mode(item.status)) for item in items)
    *before, end = lay_out_weights(place_weights(files, target))
    use = f"layer:{Digest.of(b''.join(before) + (encode(others) if others else b''))}"
    digest = states.find(first, use)
    if digest is None:
        task = f"read {name}"
        total = sum(file.size for file in files)
        reporter.start(task, total)
        sources = [(root / item.path, FileState.of(item.status)) for item in items]

        def pieces() -> Iterator[bytes | memoryview]:
            for (path, state), literal in zip(sources, before, strict=True):
                yield literal
                for piece in _read_pieces(path, state):
                    yield piece
                    reporter.advance(task, len(piece))
            yield end

        size = total + sum(map(len, before)) + len(end)
        sent = eager.send(sources, size, pieces) if eager is not None else None
        digest = sent or _hash(pieces())
        states.remember(first, digest, use, beside=others)
        reporter.finish(task, "pushed" if sent else "hashed")
    return WeightLayer(name, files, digest)


def _hash(pieces: Iterator[bytes | memoryview]) -> Digest:
    hasher = hashlib.sha256()
    for piece in pieces:
        hasher.update(piece)
    return Digest.from_hex(hasher.hexdigest())


def _read_pieces(path: Path, state: FileState) -> Iterator[memoryview]:
    """The file's bytes; each piece is valid until the next is asked for.

    Raises:
        SourceError: it cannot be read, or was not in ``state`` all the time.
    """
    try:
        with path.open("rb", buffering=0) as file:
            buffer = bytearray(_CHUNK)
            view = memoryview(buffer)
            left = state.size
            while count := file.readinto(view[: min(left, _CHUNK)]):  # a file that grows must not hold us for ever
                yield view[:count]
                left -= count
            after = FileState.of(os.fstat(file.fileno()))
    except OSError as error:
        raise SourceError(f"cannot be read: {error.strerror}", where=str(path)) from error
    if after != state:
        raise SourceError("changed while it was being read", where=str(path), hint="build again when it is complete")


def _mode(status: os.stat_result) -> int:
    return 0o755 if status.st_mode & stat.S_IXUSR else 0o644


def _read_text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"cannot be read: {error}", where=str(path)) from error
