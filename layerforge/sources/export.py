"""What a ``uv.lock`` has decided: exported by uv, and taken only if it fits its ``pyproject.toml``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import tomli
from packaging.pylock import Package, Pylock, PylockValidationError
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from layerforge.errors import ResolveError, SourceError
from layerforge.requirements import PROVIDED, Requirements, normalise_name
from layerforge.sources.pip_settings import read_pip_settings
from layerforge.sources.tags import Target
from layerforge.sources.uv import run_uv


def export_lock(
    requirements: Requirements, target: Target, project: Path, environment: Mapping[str, str] = os.environ
) -> Pylock:
    """The packages of ``requirements.frozen`` for ``target``; paths in it are those of the lock's folder.

    Raises:
        ResolveError: it does not fit its pyproject.toml, has no such extra or group, or is for other Pythons.
        SourceError: uv cannot be run, or gives something that cannot be understood.
    """
    folder = project / Path(requirements.frozen).parent
    pip = read_pip_settings(environment)
    quiet = ("--color", "never", "--no-progress", "--no-python-downloads")
    checked = run_uv(["lock", "--check", "--offline", *quiet], folder, pip, environment)
    no_python = "No interpreter found" in checked.stderr or "incompatible with the project's Python" in checked.stderr
    if not fits_in_short(folder) if no_python else checked.returncode:  # one that fits needs no network to do so
        hint = "run `uv lock`, and commit what it writes"
        raise ResolveError("does not fit pyproject.toml any more", where=requirements.frozen, hint=hint)
    command = ["export", "--frozen", "--format", "pylock.toml", "--no-header", "--no-default-groups", *quiet]
    command += [word for extra in requirements.extras for word in ("--extra", extra)]
    command += [word for group in requirements.groups for word in ("--group", group)]
    command += [word for name in sorted(PROVIDED) for word in ("--prune", name)]
    done = run_uv(command, folder, pip, environment)
    if done.returncode:
        lines = [line.removeprefix("error: ") for line in done.stderr.splitlines() if line.startswith("error:")]
        raise ResolveError(lines[0] if lines else done.stderr.strip()[-300:], where=requirements.frozen)
    try:
        pylock = Pylock.from_dict(tomli.loads(done.stdout))
    except (PylockValidationError, tomli.TOMLDecodeError) as error:
        raise SourceError(f"uv gave a lock that cannot be understood: {error}") from error
    if pylock.requires_python and not pylock.requires_python.contains(target.environment["python_full_version"]):
        hint = "change build.python_version, or requires-python and lock again with uv"
        message = f"is for Python {pylock.requires_python}, and the image has {target.python}"
        raise ResolveError(message, where=requirements.frozen, hint=hint)
    return _select(pylock, target)


def fits_in_short(folder: Path) -> bool:
    """Whether ``uv.lock`` in ``folder`` was made for what ``pyproject.toml`` asks for, as far as both say it plainly.

    uv itself compares more, but only where there is a Python that the project allows.
    """
    try:
        project = tomli.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
        lock = tomli.loads((folder / "uv.lock").read_text("utf-8"))
        listed = [*project.get("dependencies", ())]
        for extra in project.get("optional-dependencies", {}).values():
            listed += extra
        asked = {(normalise_name(each.name), str(each.specifier)) for each in map(Requirement, listed)}
        name = normalise_name(project["name"])
        own = next(package for package in lock["package"] if package["name"] == name)
        locked = own.get("metadata", {}).get("requires-dist", ())
        found = {(each["name"], str(SpecifierSet(each.get("specifier", "")))) for each in locked}
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        return False
    versions = (SpecifierSet(text.get("requires-python", "")) for text in (project, lock))
    return asked == found and next(versions) == next(versions)


def _select(pylock: Pylock, target: Target) -> Pylock:
    chosen: list[Package] = []
    environment = {**target.environment, "extras": frozenset(), "dependency_groups": frozenset()}
    for package in pylock.packages:
        if package.marker is None or package.marker.evaluate(environment, context="lock_file"):  # type: ignore[arg-type]
            chosen.append(package)
    return Pylock(lock_version=pylock.lock_version, created_by=pylock.created_by, packages=chosen)
