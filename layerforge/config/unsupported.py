"""What this version of Layerforge understands in a ``cog.yaml`` but cannot build yet.

One rule a line, so that a feature that arrives deletes its own.
"""

from __future__ import annotations

from layerforge.config.values import Config
from layerforge.errors import Problem

SUPPORTED_PYTHON = (11, 13)
"""Minor versions that a stable Debian release ships: 3.11 in bookworm, 3.13 in trixie."""

_LATER = "this version of Layerforge cannot do it yet"


def refuse_unsupported(config: Config) -> tuple[Problem, ...]:
    """The settings of ``config`` whose meaning comes with a later version, in file order; nothing is passed over."""
    settings = config.settings
    rules = (
        ("build.gpu", config.gpu, "GPU images", "set `gpu: false`, or build with Cog"),
        ("build.cuda", config.gpu and config.cuda, "a choice of CUDA", "delete the key"),
        ("build.cudnn", config.gpu and config.cudnn, "a choice of cuDNN", "delete the key"),
        ("build.system_packages", config.system_packages, "Debian packages beside the base", "delete what is unused"),
        ("build.pre_install", config.pre_install, "commands during the build", "delete what is unused"),
        ("build.run", config.build_commands, "commands during the build", "delete what is unused"),
        ("train", config.train, "training", "delete the key to build for predictions only"),
        ("weights", config.weights, "managed weights", "put the files into the project, where they get layers too"),
        ("layerforge.base", settings.base, "a choice of base", "delete the key"),
        ("layerforge.platforms", settings.platforms, "a choice of platforms", "delete the key"),
        ("layerforge.compression", settings.compression, "a choice of compression", "delete the key"),
        ("layerforge.max_layers", settings.max_layers, "a layer budget", "delete the key"),
        ("layerforge.ignore", settings.ignore, "ignore rules in this file", "write them to .dockerignore"),
    )
    found = [_problem(config, key, f"{key}: {what}: {_LATER}", hint) for key, given, what, hint in rules if given]
    if config.python_version.minor not in SUPPORTED_PYTHON:
        found.append(_python_problem(config))
    if config.concurrency and config.concurrency.max > 1:
        key = "concurrency.max" if "concurrency.max" in config.lines else "concurrency"
        found.append(_problem(config, key, f"{key}: several predictions at once: {_LATER}", "write `max: 1`"))
    if config.target is None:
        hint = 'add `run: "run.py:Runner"`, naming your file and class'
        found.append(Problem(config.path, 0, "names nothing to run: there is no `run:`", hint))
    return tuple(sorted(found, key=lambda problem: problem.line))


def _problem(config: Config, key: str, message: str, hint: str) -> Problem:
    return Problem(config.path, config.lines.get(key, 0), message, hint)


def _python_problem(config: Config) -> Problem:
    wanted = config.python_version
    nearest = min(SUPPORTED_PYTHON, key=lambda minor: (abs(minor - wanted.minor), -minor))
    known = " and ".join(f"3.{minor}" for minor in SUPPORTED_PYTHON)
    message = f"build.python_version: Python {wanted.short} is not supported; there are {known}"
    return _problem(config, "build.python_version", message, f'write `python_version: "3.{nearest}"`, the nearest')
