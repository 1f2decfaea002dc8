"""The whole path for one model's folder: cog.yaml to an image in the store. What the commands call."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from layerforge.base_image import BaseImage
from layerforge.budget import total_budget, weights_share
from layerforge.build import build_image
from layerforge.certificates import read_site_certificates
from layerforge.config import Config, decode_config, parse_base, refuse_unsupported
from layerforge.documents import load_schema
from layerforge.errors import ConfigError, LayerforgeError, SourceError
from layerforge.image import Image, assemble_index
from layerforge.layers.compression import GZIP
from layerforge.layers.headers import EPOCH
from layerforge.lock import Lock, PlatformLock
from layerforge.locking import lock_model
from layerforge.memory import bound_heap
from layerforge.oci import INDEX, Descriptor, Platform
from layerforge.overlaps import report_overlaps
from layerforge.plan import plan_image
from layerforge.platforms import host_platform, parse_platforms
from layerforge.progress import Reporter
from layerforge.project import Project
from layerforge.reference import Reference
from layerforge.remote_cache import RemoteCache
from layerforge.runtime_files import list_runtime_files
from layerforge.scan import scan_project
from layerforge.sources.base.fetch import load_base
from layerforge.states import FileStates
from layerforge.store import Store

if TYPE_CHECKING:
    from layerforge.registry.eager import EagerUploads
    from layerforge.workbench import LocalWorkbench

CONFIG_NAME = "cog.yaml"


class Options(msgspec.Struct, frozen=True):
    """What a build is told beside cog.yaml.

    ``locked``: the lock must be there and fit. ``schema``: a file with the OpenAPI document, instead of deriving it.
    ``created``: the image's time in seconds since 1970. ``platforms``: which ones to build, instead of cog.yaml's.
    ``cache``: images whose layers need not be made. ``offline``: the lock must fit, and the store must have what it
    names; whoever says so forbids the network besides (``network.py``). ``eager``: where new large files are sent to
    while they are hashed.
    """

    locked: bool = False
    schema: Path | None = None
    created: int = EPOCH
    platforms: tuple[Platform, ...] = ()
    cache: tuple[Reference, ...] = ()
    offline: bool = False
    eager: EagerUploads | None = None


class BuiltModel(msgspec.Struct, frozen=True):
    """What a build gave: ``manifest`` is the image's, or an index over the manifests of several platforms.

    ``made`` are the names of the steps whose layers had to be made.
    """

    manifest: Descriptor
    config: Config
    schema: dict[str, Any]
    made: tuple[str, ...]


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


def load_config(
    folder: Path, name: str, reporter: Reporter, *, base: str | None = None, buildable: bool = True
) -> Config:
    """Read and check cog.yaml; warnings go to ``reporter``. ``base`` stands in for ``layerforge.base`` where given.

    Without ``buildable`` it may ask for what this version cannot build.

    Raises:
        ConfigError: it cannot be understood, or asks for what this version cannot do.
    """
    path = folder / name
    try:
        data = path.read_bytes()
    except OSError as error:
        raise LayerforgeError(f"cannot be read: {error.strerror}", where=str(path)) from error
    config = decode_config(data, name)
    problems = refuse_unsupported(config) if buildable else ()
    if problems:
        raise ConfigError(problems)
    for warning in config.warnings:
        reporter.warn(str(warning), warning.hint)
    if base is None:
        return config
    settings = msgspec.structs.replace(config.settings, base=parse_base(base))
    return msgspec.structs.replace(config, settings=settings)


def override_storage(config: Config, compression: str | None, no_bytecode: bool) -> Config:
    """``config`` with the settings of ``layerforge:`` that the command line gives instead."""
    settings = config.settings
    if compression is not None:
        settings = msgspec.structs.replace(settings, compression="" if compression == GZIP.name else compression)
    if no_bytecode:
        settings = msgspec.structs.replace(settings, bytecode=False)
    return msgspec.structs.replace(config, settings=settings)


def choose_platforms(config: Config, wanted: tuple[Platform, ...]) -> tuple[Platform, ...]:
    """The platforms to build for: those ``wanted``, else those of cog.yaml, else this machine's."""
    return wanted or parse_platforms(config.settings.platforms) or (host_platform(),)


def build_model(
    folder: Path, config: Config, store: Store, reporter: Reporter, options: Options | None = None
) -> BuiltModel:
    """Build the model in ``folder``; the image, or the index over those of several platforms, is in the store.

    It has no tag there.

    Raises:
        LayerforgeError: any of its kinds; the store keeps what was finished.
    """
    options = options or Options()
    bound_heap()
    schema = load_schema(folder, config, options.schema, reporter)
    certificates = read_site_certificates()
    platforms = choose_platforms(config, options.platforms)
    lock = lock_model(folder, config, store, reporter, platforms, locked=options.locked or options.offline)
    sections = {section.platform: section for section in lock.platforms}
    chosen = [sections[str(platform)] for platform in platforms]
    bases = [
        load_base(section.image, platform, store, reporter) if section.image else None
        for section, platform in zip(chosen, platforms, strict=True)
    ]
    states = FileStates(store.root / "states.sqlite")
    try:
        layers = _layers_for_weights(config, chosen, bases)
        project = scan_project(folder, states, layers=layers, reporter=reporter, eager=options.eager)
    finally:
        states.close()
    _check_project(project, config)
    if project.ignored:
        reporter.note(f".gitignore leaves out {project.ignored} files; a .dockerignore would decide instead")
    runtime = list_runtime_files()
    remote = RemoteCache(options.cache, store, reporter)
    images: list[Image] = []
    made: dict[str, None] = {}
    for platform, section, base in zip(platforms, chosen, bases, strict=True):
        if len(platforms) > 1:
            reporter.note(f"{platform}:")
        plan = plan_image(config, section, project, runtime, schema, certificates, base)
        if options.offline:
            from layerforge.fetch import require_fetched  # what it imports is not needed otherwise

            require_fetched(plan.steps, section, store)
        open_bench = _bench_opener(store, lock, section, folder, reporter, base, config.settings.build_network)
        built = build_image(plan, store, open_bench, options.created, reporter, remote.find)
        report_overlaps(section, store, reporter)
        images.append(built.image)
        made |= dict.fromkeys(built.made)
    manifest = images[0].manifest
    if len(images) > 1:
        manifest, data = assemble_index(images)
        store.put_bytes(data, INDEX)
    return BuiltModel(manifest, config, schema, tuple(made))


def _layers_for_weights(config: Config, sections: Sequence[PlatformLock], bases: Sequence[BaseImage | None]) -> int:
    """How many layers the packages of every platform leave for weights, which all platforms share."""
    left = []
    for section, base in zip(sections, bases, strict=True):
        total = total_budget(config.settings.max_layers, len(base.layers) if base else 0)
        left.append(weights_share(total, len({wheel.bin for wheel in section.packages})))
    return min(left)


def _bench_opener(
    store: Store,
    lock: Lock,
    section: PlatformLock,
    folder: Path,
    reporter: Reporter,
    base: BaseImage | None,
    build_network: bool,
) -> Callable[[], LocalWorkbench]:
    def open_bench() -> LocalWorkbench:
        from layerforge.workbench import LocalWorkbench  # what it imports is needed for missing layers only

        return LocalWorkbench(store, lock, section, folder, reporter, base, build_network=build_network)

    return open_bench


def default_name(folder: Path) -> str:
    """The name of an image that was given none: the folder's, made fit for a reference."""
    return re.sub(r"[^a-z0-9]+", "-", folder.name.lower()).strip("-") or "model"


def _check_project(project: Project, config: Config) -> None:
    assert config.target is not None
    name = os.path.normpath(config.target.file)
    if not any(file.path == name for file in project.code):
        hint = "the ignore files keep it out of the image: add a line such as !" + name
        raise SourceError("the file that `run:` names is excluded", where=name, hint=hint)
