"""The whole path for one model's folder: cog.yaml to an image in the store. What the commands call."""

from __future__ import annotations

import json
import os
import platform as machine
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from layerforge import __version__
from layerforge.build import build_image
from layerforge.config import Config, decode_config, refuse_unsupported
from layerforge.errors import ConfigError, ImageError, LayerforgeError, LockError, SchemaError, SourceError
from layerforge.ignore import LOCK_NAME
from layerforge.layers.tar import EPOCH
from layerforge.lock import Lock
from layerforge.oci import LINUX_AMD64, LINUX_ARM64, Descriptor, Digest, Platform, decode, encode
from layerforge.plan import plan_image
from layerforge.progress import Reporter
from layerforge.project import Project
from layerforge.request import make_request
from layerforge.runtime_files import list_runtime_files
from layerforge.scan import scan_project
from layerforge.schema import generate_schema
from layerforge.states import FileStates
from layerforge.store import Store

if TYPE_CHECKING:
    from layerforge.workbench import LocalWorkbench

CONFIG_NAME = "cog.yaml"


class Options(msgspec.Struct, frozen=True):
    """What a build is told beside cog.yaml.

    ``locked``: the lock must be there and fit. ``schema``: a file with the OpenAPI document, instead of deriving it.
    ``created``: the image's time in seconds since 1970.
    """

    locked: bool = False
    schema: Path | None = None
    created: int = EPOCH


class BuiltModel(msgspec.Struct, frozen=True):
    """The image's manifest, its cog.yaml and OpenAPI document, and the steps whose layers had to be made."""

    manifest: Descriptor
    config: Config
    schema: dict[str, Any]
    made: tuple[str, ...]


def host_platform() -> Platform:
    """The Linux platform of this machine's processor.

    Raises:
        LayerforgeError: a processor that no image is built for.
    """
    name = machine.machine().lower()
    if name in {"x86_64", "amd64"}:
        return LINUX_AMD64
    if name in {"aarch64", "arm64"}:
        return LINUX_ARM64
    raise LayerforgeError(f"no images for this machine's processor ({name})", hint="build on amd64 or arm64")


def find_project(folder: Path | None, name: str = CONFIG_NAME) -> Path:
    """The model's folder: ``folder`` itself, or the nearest above the working directory that has a cog.yaml.

    Raises:
        LayerforgeError: there is none.
    """
    start = (folder or Path.cwd()).absolute()
    candidates = [start] if folder is not None else [start, *start.parents]
    for candidate in candidates:
        if (candidate / name).is_file():
            return Path(os.path.normpath(candidate))
    hint = "give the model's folder (layerforge build DIR), or write a cog.yaml: see docs/cog-yaml.md"
    raise LayerforgeError(f"no {name} here" + ("" if folder else " or above"), where=str(start), hint=hint)


def load_config(folder: Path, name: str, reporter: Reporter) -> Config:
    """Read and check cog.yaml; warnings go to ``reporter``.

    Raises:
        ConfigError: it cannot be understood, or asks for what this version cannot do.
    """
    path = folder / name
    try:
        data = path.read_bytes()
    except OSError as error:
        raise LayerforgeError(f"cannot be read: {error.strerror}", where=str(path)) from error
    config = decode_config(data, name)
    problems = refuse_unsupported(config)
    if problems:
        raise ConfigError(problems)
    for warning in config.warnings:
        reporter.warn(str(warning), warning.hint)
    return config


def load_lock(folder: Path, store: Store) -> Lock | None:
    """The lock beside cog.yaml, or None. A file that ``store`` has seen before is not parsed and checked again.

    Raises:
        LockError: it is damaged, or of a newer format.
    """
    path = folder / LOCK_NAME
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LockError(f"cannot be read: {error.strerror}", where=str(path)) from error
    topic, digest = f"lock-{__version__}", Digest.of(data)
    note = store.find_note(topic, digest)
    if note is not None:
        try:
            return decode(note, Lock)
        except ImageError:  # torn by a power cut: as good as absent
            pass
    from layerforge.lockfile import decode_lock  # what it imports takes as long as all the rest of such a build

    lock = decode_lock(data, LOCK_NAME)
    store.keep_note(topic, digest, encode(lock))
    return lock


def lock_model(
    folder: Path, config: Config, store: Store, reporter: Reporter, *, locked: bool = False, renew: bool = False
) -> Lock:
    """The lock that fits ``config``: the one at hand, or a new one, which is written beside cog.yaml.

    With ``locked`` nothing is resolved; with ``renew`` what is at hand is not used.

    Raises:
        LockError: with ``locked``, when there is no lock or it is stale.
        ResolveError: nothing satisfies what is asked for.
    """
    platform = host_platform()
    previous = None if renew else load_lock(folder, store)
    request = make_request(config, folder, (platform,), reporter)
    if previous is not None and previous.inputs == request.digest:
        return previous
    if locked:
        state = "does not fit cog.yaml any more" if previous else "does not exist"
        raise LockError(f"the lock {state}", where=LOCK_NAME, hint="run `layerforge lock`, look at it, and commit it")
    from layerforge.lockfile import encode_lock
    from layerforge.resolve import resolve  # what it imports is needed here only

    reporter.note("resolving packages" if previous is None else "the lock is stale: resolving again")
    lock = resolve(request, previous, store, reporter)
    _write_lock(folder / LOCK_NAME, encode_lock(lock), reporter)
    return lock


def build_model(
    folder: Path, config: Config, store: Store, reporter: Reporter, options: Options | None = None
) -> BuiltModel:
    """Build the model in ``folder`` for this machine's platform; the image is in the store, without a tag.

    Raises:
        LayerforgeError: any of its kinds; the store keeps what was finished.
    """
    options = options or Options()
    schema = load_schema(folder, config, options.schema)
    lock = lock_model(folder, config, store, reporter, locked=options.locked)
    platform_lock = lock.platforms[0]
    states = FileStates(store.root / "states.sqlite")
    try:
        project = scan_project(folder, states, reporter=reporter)
    finally:
        states.close()
    _check_project(project, config)
    if project.ignored:
        reporter.note(f".gitignore leaves out {project.ignored} files; a .dockerignore would decide instead")
    plan = plan_image(config, platform_lock, project, list_runtime_files(), schema)

    def open_bench() -> LocalWorkbench:
        from layerforge.workbench import LocalWorkbench  # what it imports is needed for missing layers only

        return LocalWorkbench(store, platform_lock, folder, reporter)

    built = build_image(plan, store, open_bench, options.created, reporter)
    return BuiltModel(built.image.manifest, config, schema, built.made)


def load_schema(folder: Path, config: Config, given: Path | None = None) -> dict[str, Any]:
    """The model's OpenAPI document, from its source or from the file ``given``.

    Raises:
        SchemaError: it cannot be derived, or the file is no JSON object.
    """
    if given is not None:
        try:
            document = json.loads(given.read_bytes())
        except (OSError, ValueError) as error:
            raise SchemaError(f"cannot be used as an OpenAPI document: {error}", where=str(given)) from error
        if not isinstance(document, dict):
            raise SchemaError("is not a JSON object", where=str(given))
        return document
    assert config.target is not None, "refuse_unsupported has seen to that"
    return generate_schema(lambda path: _read_source(folder, path), config.target.file, config.target.name)


def default_name(folder: Path) -> str:
    """The name of an image that was given none: the folder's, made fit for a reference."""
    return re.sub(r"[^a-z0-9]+", "-", folder.name.lower()).strip("-") or "model"


def _read_source(folder: Path, path: str) -> bytes | None:
    try:
        return (folder / path).read_bytes()
    except OSError:
        return None


def _check_project(project: Project, config: Config) -> None:
    assert config.target is not None
    name = os.path.normpath(config.target.file)
    if not any(file.path == name for file in project.code):
        hint = "the ignore files keep it out of the image: add a line such as !" + name
        raise SourceError("the file that `run:` names is excluded", where=name, hint=hint)


def _write_lock(path: Path, data: bytes, reporter: Reporter) -> None:
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            temporary.chmod(0o644)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        reporter.warn(f"{path.name} cannot be written: {error.strerror}", "the next build will resolve again")
