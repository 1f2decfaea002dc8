"""From Config, Lock and Project to a Plan: which layers, in which order, under which keys. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import msgspec

from layerforge import __version__
from layerforge.base_image import BaseImage, annotate
from layerforge.bins import group_bins
from layerforge.config import Config
from layerforge.exchange import inherit
from layerforge.foundation import FoundationRecord, describe_foundation
from layerforge.layers.code import CodeRecipe
from layerforge.layers.compression import COMPRESSIONS, GZIP, NONE
from layerforge.layers.debian import DebianRecipe
from layerforge.layers.environment import INSTALLED, EnvironmentRecipe
from layerforge.layers.python import PythonRecipe
from layerforge.layers.root import RootRecipe
from layerforge.layers.runtime import RuntimeRecipe
from layerforge.layers.standalone import StandaloneRecipe
from layerforge.layers.step import Step
from layerforge.layers.tree import TreeFile
from layerforge.layers.weights import SmallWeightsRecipe, WeightRecipe, place_weights
from layerforge.layers.wheels import WheelFile, WheelsRecipe
from layerforge.lock import LockedDeb, LockedWheel, PlatformLock
from layerforge.oci import ContainerConfig, Digest, Platform, encode
from layerforge.project import Project, ProjectFile
from layerforge.weights_record import label_weights, record_weights

CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"

_READ_FIRST = ("libc6", "zlib1g")
"""Packages of the base without which Debian's interpreter does not run, so bytecode waits for them."""


class Plan(msgspec.Struct, frozen=True):
    """An image before anything of it is made: Steps bottom first, and what the container needs to know.

    The Steps' layers go on top of those of ``base``.
    """

    platform: Platform
    steps: tuple[Step, ...]
    container: ContainerConfig
    annotations: dict[str, str]
    base: BaseImage | None = None


def plan_image(
    config: Config,
    lock: PlatformLock,
    project: Project,
    runtime: tuple[TreeFile, ...],
    schema: dict[str, Any],
    certificates: tuple[str, ...] = (),
    base: BaseImage | None = None,
) -> Plan:
    """Plan one platform's image.

    ``runtime`` are the files of the bundled runtime; ``schema`` is the model's OpenAPI document; ``certificates`` are
    those of the site, each as PEM; ``base`` is the image that ``lock.image`` names.
    """
    platform = parse_platform(lock.platform)
    minor = lock.python.minor
    document = encode(schema).decode()
    bottom = plan_foundation(lock, platform, certificates)
    steps = [
        *bottom,
        *plan_packages(lock.packages, minor, config.settings.bytecode),
        Step(
            "code",
            CodeRecipe(
                files=tuple(_place(file, "src") for file in project.code),
                folders=tuple(f"src/{folder}" for folder in project.empty_folders) or ("src",),
                schema=document,
                minor=minor,
                bytecode=config.settings.bytecode,
            ),
            size=sum(file.size for file in project.code),
        ),
        *plan_weights(project),
        Step(
            "runtime",
            RuntimeRecipe(
                files=runtime,
                wheels=_wheel_files(lock.runtime),
                minor=minor,
            ),
            size=sum(wheel.size for wheel in lock.runtime),
        ),
    ]
    count = len(bottom) + (len(base.layers) if base is not None else 0)
    record = describe_foundation(config, lock, count, certificates, base)
    weights = label_weights(record_weights(project))
    container = _plan_container(config, lock, document, base, record, weights)
    steps = compress_steps(steps, config.settings.compression)
    return Plan(platform, tuple(steps), container, annotate(base) if base is not None else {}, base)


def compress_steps(steps: Iterable[Step], compression: str) -> list[Step]:
    """``steps`` stored as ``compression`` (a name that cog.yaml uses; empty for gzip), weights excepted."""
    chosen = COMPRESSIONS[compression or GZIP.name]
    return [step if step.compression == NONE else msgspec.structs.replace(step, compression=chosen) for step in steps]


def parse_platform(text: str) -> Platform:
    """``linux/amd64`` as a Platform."""
    return Platform(*text.split("/"))


def plan_foundation(lock: PlatformLock, platform: Platform, certificates: tuple[str, ...]) -> list[Step]:
    """The layers below the packages, upon those of the image that ``lock`` names, if it does."""
    if lock.image is not None:
        return _plan_upon(lock, lock.image.manifest, platform, certificates)
    first = sorted(lock.base, key=lambda deb: deb.name not in _READ_FIRST)
    steps = [Step("base", DebianRecipe(debs=_digests(first)), size=_total(lock.base)), _plan_python(lock)]
    if lock.system:
        steps.append(_plan_packages_of_debian(lock))
    root = RootRecipe(
        debs=_digests(lock.debs),
        release=lock.release,
        architecture=platform.architecture,
        certificates=certificates,
    )
    return [*steps, Step("root", root, after=tuple(step.name for step in steps))]


def _plan_upon(lock: PlatformLock, image: Digest, platform: Platform, certificates: tuple[str, ...]) -> list[Step]:
    """What goes between a base image and the packages: only what the base lacks."""
    steps = [_plan_python(lock)]
    if lock.system:
        steps.append(_plan_packages_of_debian(lock))
    if lock.debs or certificates:
        root = RootRecipe(
            debs=_digests(lock.debs),
            release=lock.release,
            architecture=platform.architecture,
            image=image,
            certificates=certificates,
        )
        steps.append(Step("root", root, after=tuple(step.name for step in steps)))
    return steps


def _plan_packages_of_debian(lock: PlatformLock) -> Step:
    minor = lock.python.minor if lock.python.provider == "debian" else ""
    return Step("system", DebianRecipe(debs=_digests(lock.system), minor=minor), size=_total(lock.system))


def _plan_environment(lock: PlatformLock, image: Digest) -> EnvironmentRecipe:
    python = lock.python
    recipe = EnvironmentRecipe(python.home, python.minor, python.version)
    if python.home != INSTALLED:
        return recipe
    return msgspec.structs.replace(recipe, image=image, packages=tuple(sorted(w.name for w in lock.packages)))


def _plan_python(lock: PlatformLock) -> Step:
    minor, version, archive = lock.python.minor, lock.python.version, lock.python.archive
    if lock.image is not None and lock.python.provider == "base":
        return Step("python", _plan_environment(lock, lock.image.manifest))
    if archive is not None:
        return Step("python", StandaloneRecipe(archive.digest, minor, version), size=archive.size)
    recipe = PythonRecipe(debs=_digests(lock.interpreter), minor=minor, version=version)
    return Step("python", recipe, size=_total(lock.interpreter))


def _digests(debs: Iterable[LockedDeb]) -> tuple[Digest, ...]:
    return tuple(deb.digest for deb in debs)


def _total(debs: Iterable[LockedDeb]) -> int:
    return sum(deb.size for deb in debs)


def plan_packages(wheels: tuple[LockedWheel, ...], minor: str, bytecode: bool) -> list[Step]:
    """The layers of ``wheels`` for Python ``minor``, compiled where ``bytecode`` says so."""
    return [
        Step(
            f"packages/{name}",
            WheelsRecipe(wheels=_wheel_files(group), minor=minor, bytecode=bytecode),
            size=sum(wheel.size for wheel in group),
        )
        for name, group in group_bins(wheels).items()
    ]


def _wheel_files(wheels: Iterable[LockedWheel]) -> tuple[WheelFile, ...]:
    return tuple(sorted((WheelFile(w.filename, w.digest) for w in wheels), key=lambda file: file.filename))


def plan_weights(project: Project) -> list[Step]:
    """The layers of weights."""
    steps = []
    for layer in project.large_weights:
        recipe = WeightRecipe(place_weights(layer.files, "src"), layer.digest)
        steps.append(Step(f"weights/{layer.name}", recipe, size=layer.size, compression=NONE))
    if project.weights:
        files = tuple(_place(file, "src") for file in project.weights)
        size = sum(file.size for file in project.weights)
        steps.append(Step("weights", SmallWeightsRecipe(files), size=size, compression=NONE))
    return steps


def _place(file: ProjectFile, folder: str) -> TreeFile:
    return TreeFile(f"{folder}/{file.path}", file.path, file.size, file.mode, file.digest, file.link)


def _plan_container(
    config: Config,
    lock: PlatformLock,
    document: str,
    base: BaseImage | None,
    record: FoundationRecord,
    weights: dict[str, str],
) -> ContainerConfig:
    environment = {
        "PYTHONUNBUFFERED": "1",
        "R8_COG_VERSION": f"layerforge/{__version__}",
        "R8_PYTHON_VERSION": lock.python.version,
    }
    if record.certificates:  # what brings a list of its own (certifi) is told of the image's; the names are Cog's
        environment |= dict.fromkeys(("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"), CA_BUNDLE)
    if config.target is not None:
        environment["COG_PREDICT_TYPE_STUB"] = str(config.target)
    if config.train is not None:
        environment["COG_TRAIN_TYPE_STUB"] = str(config.train)
    if config.concurrency is not None and config.concurrency.max > 1:
        environment["COG_MAX_CONCURRENCY"] = str(config.concurrency.max)
    environment.update(config.env)
    freeze = "\n".join(f"{wheel.name}=={wheel.version}" for wheel in lock.packages)
    container = ContainerConfig(
        exposed_ports={"5000/tcp": {}},
        cmd=("python", "-m", "cog.server.http"),
        working_dir="/src",
        labels={
            "run.cog.version": f"layerforge/{__version__}",
            "run.cog.config": json.dumps(config.source, sort_keys=True, separators=(",", ":")),
            "run.cog.openapi_schema": document,
            "run.cog.pip_freeze": freeze,
            **weights,
        },
        stop_signal="SIGTERM",
    )
    return inherit(container, record, environment, base)
