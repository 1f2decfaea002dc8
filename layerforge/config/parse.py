"""``cog.yaml`` from text to :class:`Config`, with every problem found in one go.

Keys, types and rules: Cog's ``docs/yaml.md``, ``pkg/config/data/config_schema_v1.0.json``, ``pkg/config/validate.go``
and ``pkg/config/env.go``.
"""

from __future__ import annotations

from layerforge.config.document import Mapping, Scalar, Sequence, decode_text, read_document
from layerforge.config.fields import Findings, Section, as_list, describe, shorten
from layerforge.config.names import (
    check_environment,
    check_image,
    check_model,
    parse_base,
    parse_platform,
    parse_python_version,
    parse_target,
)
from layerforge.config.packages import read_packages
from layerforge.config.values import Command, Concurrency, Config, Entry, Mount, PythonVersion, Settings, Target
from layerforge.config.weights import read_weights
from layerforge.errors import ConfigError, InvalidReference

_BUILD_KEYS = (
    "gpu", "cuda", "cudnn", "python_version", "python_requirements", "python_packages", "system_packages",
    "pre_install", "sdk_version",
)  # fmt: skip
_TOP_KEYS = ("image", "model", "predict", "train", "concurrency", "environment", "weights", "layerforge")
_SETTING_KEYS = (
    "base", "python", "platforms", "compression", "bytecode", "max_layers", "ignore", "build_network",
    "packages",
)  # fmt: skip

_RETIRED_BUILD = {
    "python_extra_index_urls": "write `--extra-index-url URL` lines into the file that python_requirements names",
    "python_find_links": "write `--find-links URL` lines into the file that python_requirements names",
}
_WITHOUT_EFFECT = ("fast", "cog_runtime")
"""Switches of older versions of Cog, still found in files, that Cog passes over now."""

COMPRESSIONS = ("gzip", "zstd", "none")
PROVIDERS = ("auto", "debian", "standalone", "base")
"""Where the interpreter may come from."""
_EXAMPLE = 'start with `build:` and `python_version: "3.13"`, indented, below it'


def decode_config(data: bytes, path: str) -> Config:
    """Parse the bytes of a ``cog.yaml``; ``path`` is the name to use in messages.

    Raises:
        ConfigError: as :func:`parse_config`, or the bytes are not text.
    """
    return parse_config(decode_text(data, path), path)


def parse_config(text: str, path: str) -> Config:
    """Parse the text of a ``cog.yaml``; ``path`` is the name to use in messages. An empty file is all defaults.

    Raises:
        ConfigError: with every problem, in file order.
    """
    findings = Findings(path)
    document, problems = read_document(text, path)
    findings.problems += problems
    top = Section(document, "", findings, example=_EXAMPLE)
    config = _read_top(top, findings)
    if findings.problems:
        raise ConfigError(findings.sorted_problems())
    return config


def _read_top(top: Section, findings: Findings) -> Config:
    build = Section(top.take("build"), "build", findings, example="put `python_version:` and the like below `build:`")
    target, train = _read_targets(top, findings)
    environment = top.entries("environment", example='"NAME=value"')
    check_environment(environment, findings)
    concurrency = _read_concurrency(top, findings)
    image, model = top.text("image"), top.text("model")
    weights = read_weights(top.take("weights"), findings)
    check_image(image, top.line_of("image"), findings)
    check_model(model, top.line_of("model"), findings)
    if image and model:
        findings.refuse(top.line_of("model"), "model: cannot stand beside image", "keep one of the two")
    if weights and not model:
        hint = "rename image to model" if image else "add `model: registry.example.com/team/name`"
        findings.refuse(top.line_of("weights"), "weights: need model, the repository they are pushed to", hint)
    settings = _read_settings(top, findings)
    python_version, requirements, packages = _read_python(build, findings)
    if settings.packages.file and (requirements or packages):
        key = "python_requirements" if requirements else "python_packages"
        message = f"build.{key}: cannot stand beside layerforge.packages, which names {settings.packages.file}"
        findings.refuse(build.line_of(key), message, "keep one of the two")
    system_packages = build.entries("system_packages", example="ffmpeg")
    pre_install = build.entries("pre_install", example="echo hello")
    if pre_install:
        hint = "move the commands to build.run"
        findings.warn(build.line_of("pre_install"), "build.pre_install is deprecated", hint)
    gpu, cuda, cudnn = build.boolean("gpu"), _read_cuda(build, findings), build.text("cudnn")
    for key, given in (("cuda", cuda), ("cudnn", cudnn)):
        if given and not gpu:
            findings.warn(build.line_of(key), f"build.{key} has no effect without `gpu: true`", "delete it")
    sdk_version = build.text("sdk_version")
    if sdk_version:
        message = "build.sdk_version has no effect: the image gets Layerforge's own runtime and `cog` module"
        findings.warn(build.line_of("sdk_version"), message, "delete it")
    for key in _WITHOUT_EFFECT:
        if build.pass_over(key):
            findings.warn(build.line_of(key), f"build.{key} has no effect any more", "delete it")
    config = Config(
        path=findings.path,
        python_version=python_version,
        gpu=gpu,
        cuda=cuda,
        cudnn=cudnn,
        sdk_version=sdk_version,
        python_requirements=requirements,
        python_packages=packages,
        system_packages=system_packages,
        pre_install=pre_install,
        build_commands=_read_commands(build, findings),
        target=target,
        train=train,
        image=image,
        model=model,
        environment=environment,
        concurrency=concurrency,
        weights=weights,
        settings=settings,
        lines=findings.lines,
        warnings=tuple(sorted(findings.warnings, key=lambda warning: warning.line)),
    )
    build.finish({**dict.fromkeys(_TOP_KEYS, ""), **dict.fromkeys(_SETTING_KEYS, "layerforge")}, _RETIRED_BUILD)
    top.finish({**dict.fromkeys(_BUILD_KEYS, "build"), **dict.fromkeys(_SETTING_KEYS, "layerforge")})
    return config


def _read_targets(top: Section, findings: Findings) -> tuple[Target | None, Target | None]:
    targets = {}
    for key in ("run", "predict", "train"):
        value = top.take(key)
        if value is None:
            continue
        if isinstance(value, Sequence) and key == "run":
            findings.refuse(value.line, "run: expected file.py:Name, found a list", "move the commands under `build:`")
        elif not isinstance(value, Scalar):
            found = describe(value)
            findings.refuse(value.line, f"{key}: expected a string, found {found}", f'write `{key}: "run.py:Runner"`')
        elif value.text.strip():
            targets[key] = parse_target(value.text.strip(), key, value.line, findings)
    if "run" in targets and "predict" in targets:
        findings.refuse(top.line_of("predict"), "predict: cannot stand beside run", "keep run, its new name")
    elif "predict" in targets:
        findings.warn(top.line_of("predict"), "predict is deprecated", "rename the key to run")
    return targets.get("run", targets.get("predict")), targets.get("train")


def _read_python(build: Section, findings: Findings) -> tuple[PythonVersion, str, tuple[Entry, ...]]:
    version = PythonVersion()
    value = build.take("python_version")
    if isinstance(value, Scalar):
        version = parse_python_version(value.text.strip(), value.line, findings)
    elif value is not None:
        found = describe(value)
        hint = 'write `python_version: "3.13"`'
        findings.refuse(value.line, f"build.python_version: expected a version, found {found}", hint)
    requirements = build.text("python_requirements", hint="give the path of one requirements file")
    packages = build.entries("python_packages", example="numpy==2.3.1")
    if packages:
        line = build.line_of("python_packages")
        if requirements:
            message = "build.python_packages: cannot stand beside python_requirements"
            findings.refuse(line, message, f"move the packages into {shorten(requirements)}")
        hint = "write the packages into a requirements.txt and name it in python_requirements"
        findings.warn(line, "build.python_packages is deprecated", hint)
    return version, requirements, packages


def _read_cuda(build: Section, findings: Findings) -> str:
    cuda = build.text("cuda")
    parts = cuda.split(".")
    numbers = all(part.isascii() and part.isdigit() and len(part) < 9 for part in parts)
    if cuda and not (numbers and 2 <= len(parts) <= 3):
        hint = 'give major and minor, such as `cuda: "12.4"`'
        findings.refuse(build.line_of("cuda"), f"build.cuda: {shorten(cuda)!r} is not a CUDA version", hint)
    elif cuda and int(parts[0]) < 11:
        findings.refuse(build.line_of("cuda"), f"build.cuda: {cuda} is too old", "11.0 is the oldest that works")
    return cuda


def _read_commands(build: Section, findings: Findings) -> tuple[Command, ...]:
    value = build.take("run")
    if value is None:
        return ()
    if not isinstance(value, Sequence):
        found = describe(value)
        hint = as_list("run", value, "echo hello")
        if isinstance(value, Scalar) and ".py:" in value.text:
            hint = "move it to the top level of the file"
        findings.refuse(value.line, f"build.run: expected a list of commands, found {found}", hint)
        return ()
    commands = []
    for item in value.items:
        if isinstance(item, Scalar) and item.kind != "null" and item.text.strip():
            commands.append(Command(item.text, item.line))
        elif isinstance(item, Mapping):
            commands.append(_read_command(item, findings))
        else:
            hint = "write a command, in quotes if it holds `: `, or a mapping with `command:`"
            findings.refuse(item.line, f"build.run: expected a command, found {describe(item)}", hint)
    return tuple(commands)


def _read_command(item: Mapping, findings: Findings) -> Command:
    section = Section(item, "build.run", findings)
    command = section.text("command")
    if not command:
        keys = [member.key for member in item.members]
        hint = f"put the whole command in quotes: it holds `{shorten(keys[0])}: `" if keys else "write `command:`"
        findings.refuse(item.line, "build.run: an item without `command`", hint)
        return Command("", item.line)
    mounts = []
    value = section.take("mounts")
    if isinstance(value, Sequence):
        for mount in value.items:
            fields = Section(mount, "build.run.mounts", findings, example="write `type`, `id` and `target`")
            read = Mount(fields.text("type"), fields.text("id"), fields.text("target"))
            fields.finish()
            if isinstance(mount, Mapping) and not (read.type and read.id and read.target):
                findings.refuse(mount.line, "build.run.mounts: needs `type`, `id` and `target`")
            elif read.type not in ("", "secret"):
                message = f"build.run.mounts: {shorten(read.type)!r} is not a kind of mount"
                findings.refuse(mount.line, message, "only `type: secret` exists")
            mounts.append(read)
    elif value is not None:
        findings.refuse(value.line, f"build.run.mounts: expected a list, found {describe(value)}")
    section.finish()
    return Command(command, item.line, tuple(mounts))


def _read_concurrency(top: Section, findings: Findings) -> Concurrency | None:
    value = top.take("concurrency")
    line = top.line_of("concurrency")
    if value is None:
        return None
    if isinstance(value, Scalar):
        maximum, target = top.integer("concurrency"), None
        if maximum is not None:
            hint = f"write `max: {maximum}`, indented, below `concurrency:`"
            findings.warn(line, "concurrency: a number is taken as its max", hint)
    else:
        section = Section(value, "concurrency", findings, example="write `max: 4`, indented, below `concurrency:`")
        maximum, target = section.integer("max"), section.integer("default_target")
        section.finish()
        if isinstance(value, Mapping) and maximum is None and not section.line_of("max"):
            findings.refuse(line, "concurrency: needs `max`", "write `max: 1`, indented, below it")
        if target is not None:
            findings.warn(section.line_of("default_target"), "concurrency.default_target has no effect in the image")
    if maximum is None:
        return None
    if maximum < 1:
        findings.refuse(line, f"concurrency.max: {maximum} is too small", "1 means one prediction at a time")
    hint = "put `@cog.concurrent(max=...)` on the async run() method instead"
    findings.warn(line, "concurrency.max is deprecated", hint)
    return Concurrency(maximum, target)


def _read_settings(top: Section, findings: Findings) -> Settings:
    section = Section(top.take("layerforge"), "layerforge", findings, example="put `ignore:` and the like below it")
    base, python = section.text("base"), section.text("python")
    try:
        base = parse_base(base)
    except InvalidReference as error:
        findings.refuse(section.line_of("base"), f"layerforge.base: {error.message[:200]}", error.hint)
    if python and python not in PROVIDERS:
        message = f"layerforge.python: {shorten(python)!r} is not one of {', '.join(PROVIDERS)}"
        findings.refuse(section.line_of("python"), message)
    platforms = section.entries("platforms", example="linux/amd64")
    for platform in platforms:
        parse_platform(platform, findings)
    compression = section.text("compression")
    if compression and compression not in COMPRESSIONS:
        message = f"layerforge.compression: {shorten(compression)!r} is not one of {', '.join(COMPRESSIONS)}"
        findings.refuse(section.line_of("compression"), message)
    bytecode = section.boolean("bytecode", default=True)
    max_layers = section.integer("max_layers")
    if max_layers is not None and not 8 <= max_layers <= 125:
        message = f"layerforge.max_layers: {max_layers} is not between 8 and 125"
        findings.refuse(section.line_of("max_layers"), message, "container engines stop at about 127 layers")
    ignore = section.entries("ignore", example='"data/**"')
    build_network = section.boolean("build_network")
    packages = read_packages(section, findings)
    section.finish()
    return Settings(
        base=base,
        python="" if python == "auto" else python,
        platforms=tuple(dict.fromkeys(entry.text for entry in platforms)),
        compression="" if compression == "gzip" else compression,
        bytecode=bytecode,
        max_layers=max_layers or 0,
        ignore=ignore,
        build_network=build_network,
        packages=packages,
    )
