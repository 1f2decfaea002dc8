"""What this version of Layerforge understands in a ``cog.yaml`` but cannot build yet.

One rule a line, so that a feature that arrives deletes its own.
"""

from __future__ import annotations

from layerforge.config.older_python import explain_changes
from layerforge.config.values import Config
from layerforge.errors import Problem

SUPPORTED_PYTHON = range(10, 15)
"""Minor versions that the runtime and the schema generator know: 3.10 to 3.14."""

_LATER = "this version of Layerforge cannot do it yet"


def refuse_unsupported(config: Config) -> tuple[Problem, ...]:
    """The settings of ``config`` whose meaning comes with a later version, in file order; nothing is passed over."""
    settings = config.settings
    rules = (
        ("build.gpu", config.gpu, "GPU images", "set `gpu: false`, or build with Cog"),
        ("build.cuda", config.gpu and config.cuda, "a choice of CUDA", "delete the key"),
        ("build.cudnn", config.gpu and config.cudnn, "a choice of cuDNN", "delete the key"),
        ("build.pre_install", config.pre_install, "commands during the build", "delete what is unused"),
        ("build.run", config.build_commands, "commands during the build", "delete what is unused"),
        ("weights", config.weights, "managed weights", "put the files into the project, where they get layers too"),
        ("layerforge.ignore", settings.ignore, "ignore rules in this file", "write them to .dockerignore"),
    )
    found = [_problem(config, key, f"{key}: {what}: {_LATER}", hint) for key, given, what, hint in rules if given]
    if config.python_version.minor not in SUPPORTED_PYTHON:
        found.append(_python_problem(config))
    if config.target is None:
        hint = 'add `run: "run.py:Runner"`, naming your file and class'
        found.append(Problem(config.path, 0, "names nothing to run: there is no `run:`", hint))
    return tuple(sorted(found, key=lambda problem: problem.line))


def _problem(config: Config, key: str, message: str, hint: str) -> Problem:
    return Problem(config.path, config.lines.get(key, 0), message, hint)


def _python_problem(config: Config) -> Problem:
    wanted = config.python_version
    nearest = min(SUPPORTED_PYTHON, key=lambda minor: (abs(minor - wanted.minor), -minor))
    known = f"3.{SUPPORTED_PYTHON[0]} to 3.{SUPPORTED_PYTHON[-1]}"
    message = f"build.python_version: Python {wanted.short} is not supported; {known} are"
    hint = f'write `python_version: "3.{nearest}"`, the nearest'
    return _problem(
        config,
        "build.python_version",
        message,
        f"{hint}; {explain_changes(config)}" if wanted.minor < nearest else hint,
    )
