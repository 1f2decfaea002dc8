"""Asks ``uv pip compile`` which versions fit together, and never lets it build anything.

Wheels alone are tried first. Where they do not do, source archives count as well, as with pip; whatever uv would like
to build to learn what it requires is built by us, apart from this machine, and told to uv as ``dependency-metadata``.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path

import msgspec
import tomli
import tomli_w
from packaging.pylock import PackageSdist, Pylock, PylockValidationError
from packaging.utils import canonicalize_name

from layerforge.errors import SourceError
from layerforge.lock import LockedWheel
from layerforge.progress import Reporter
from layerforge.requirements import RequirementLine, Requirements
from layerforge.sources.complaints import explain_failure
from layerforge.sources.http import open_url
from layerforge.sources.pip_settings import read_pip_settings
from layerforge.sources.uv import expand, index_options, pip_settings_for_uv, run_uv

_NEWEST_GLIBC = 40
"""The newest ``manylinux_2_N`` that ``--python-platform`` accepts in every uv that we accept."""

_MOST_BUILDS = 60
"""Source archives that may be built to resolve one set of requirements."""


class Metadata(msgspec.Struct, frozen=True):
    """What uv must know of a source archive of an index that has been built."""

    name: str
    version: str
    requires: tuple[str, ...] = ()
    requires_python: str = ""
    extras: tuple[str, ...] = ()


class Question(msgspec.Struct, frozen=True):
    """What is to be resolved, for which Python, machine (``x86_64``) and glibc (``2.<glibc>``).

    ``wheels`` are files that stand in for requirements with an origin, by the requirement's text.
    """

    requirements: Requirements
    python: str
    machine: str
    glibc: int
    previous: tuple[LockedWheel, ...]
    project: Path = Path()
    wheels: Mapping[str, Path] = {}


Inquire = Callable[[str, PackageSdist], Metadata]
"""Builds a source archive of the project with this name and tells about it."""


def compile_requirements(
    question: Question, reporter: Reporter, inquire: Inquire | None = None, environment: Mapping[str, str] = os.environ
) -> Pylock:
    """uv's answer. ``inquire`` is asked about source archives; without it there are wheels only.

    Raises:
        ResolveError: there is no answer; with uv's explanation.
        SourceError: uv cannot reach an index, cannot be run, or gives something that cannot be understood.
    """
    pip, unused = pip_settings_for_uv(read_pip_settings(environment))
    for link in unused:
        reporter.note(f"wheels in {link} (pip's find-links) are not used: a lock names only what others can fetch")
    options = index_options(question.requirements, question.project, pip, environment)
    with tempfile.TemporaryDirectory(prefix="layerforge-uv-") as name:
        folder = Path(name)

        def ask(requirements: str, *more: str) -> tuple[str, str]:
            """The text of uv's answer, or nothing and what it complains about."""
            (folder / "requirements.in").write_text(requirements, "utf-8")
            answer = folder / "pylock.toml"
            if question.previous:  # an output file that exists already is what uv takes its preferences from
                answer.write_text(_preferences(question), "utf-8")
            done = run_uv([*_command(question), *options, *more], folder, pip, environment)
            return ("", done.stderr) if done.returncode else (answer.read_text("utf-8"), "")

        wanted = _lines(question, environment)
        (folder / "constraints.in").write_text(_constraints(question.requirements), "utf-8")
        text, complaint = "", ""
        if inquire is None or not _needs_sources(question):
            text, complaint = ask(wanted, "--no-build")
        if not text and inquire is not None and (not complaint or _lacks_wheels(complaint)):
            text, complaint = _ask_with_sources(ask, wanted, folder, question.requirements, inquire)
        if not text:
            _check_refusals(complaint, options)
            raise explain_failure(complaint, question.requirements, question.python, question.machine)
    return _parse(text)


def _ask_with_sources(
    ask: Callable[..., tuple[str, str]], wanted: str, folder: Path, requirements: Requirements, inquire: Inquire
) -> tuple[str, str]:
    known: dict[tuple[str, str], Metadata] = {}
    formats = [word for name in requirements.no_binary for word in ("--no-binary", name)]
    formats += [word for name in requirements.only_binary for word in ("--only-binary", name)]
    while True:
        _write_metadata(folder, known)
        text, complaint = ask(wanted, "--no-build-isolation", *formats)
        failed = _find_unbuilt(complaint)
        if text or failed is None or failed in known or len(known) >= _MOST_BUILDS:
            return text, complaint
        name, version = failed
        _write_metadata(folder, {**known, failed: Metadata(name, version)})
        alone, complaint = ask(f"{name}=={version}\n", "--no-build-isolation", "--no-deps", "--no-binary", name)
        package = next((package for package in _parse(alone).packages if package.sdist), None) if alone else None
        if package is None or package.sdist is None:
            return "", complaint
        known[failed] = inquire(name, package.sdist)


def _check_refusals(complaint: str, options: list[str]) -> None:
    """Ask the indexes once more for a package that uv does not find: of several, it does not tell which refused."""
    absent = re.search(r"(\S+) was not found in the package registry", complaint)
    indexes = [value for word, value in pairwise(options) if word in ("--default-index", "--index")]
    for index in indexes if absent else ():
        try:
            with open_url(f"{index.rstrip('/')}/{absent[1] if absent else ''}/"):
                pass
        except SourceError as error:
            if getattr(error, "status", 0) in (401, 403):
                raise


def _find_unbuilt(complaint: str) -> tuple[str, str] | None:
    """Name and version of the source archive that uv wanted to build."""
    match = re.search(r"(?:Failed to (?:download and )?build|indicates that) `([\w.-]+)[@=]=?([^`\s]+)`", complaint)
    return (str(canonicalize_name(match[1])), match[2]) if match else None


def _lacks_wheels(complaint: str) -> bool:
    return re.search(r"no (?:usable |compatible )?wheels|building from source is disabled", complaint) is not None


def _needs_sources(question: Question) -> bool:
    built = any(wheel.source is not None and wheel.source.kind == "sdist" for wheel in question.previous)
    return built or bool(question.requirements.no_binary)


def _command(question: Question) -> list[str]:
    platform = f"{question.machine}-manylinux_2_{min(question.glibc, _NEWEST_GLIBC)}"
    command = ["pip", "compile", "requirements.in", "--constraints", "constraints.in"]
    command += ["--format", "pylock.toml", "--output-file", "pylock.toml", "--no-header"]
    command += ["--python", sys.executable, "--python-version", question.python, "--python-platform", platform]
    command += ["--color", "never", "--no-progress", "--quiet"]
    if question.requirements.prereleases:
        command += ["--prerelease", "allow"]
    return command


def _lines(question: Question, environment: Mapping[str, str]) -> str:
    return "".join(f"{_line(line, question, environment)}\n" for line in question.requirements.lines)


def _line(line: RequirementLine, question: Question, environment: Mapping[str, str]) -> str:
    if line.origin is None:
        return line.text
    file = question.wheels.get(line.text)
    place = file.as_uri() if file is not None else expand(line.origin.url, environment)
    extras = f"[{','.join(line.extras)}]" if line.extras else ""
    return f"{line.name}{extras} @ {place}{f' ; {line.marker}' if line.marker else ''}"


def _constraints(requirements: Requirements) -> str:
    return "".join(f"{line.text}\n" for line in requirements.constraints)


def _preferences(question: Question) -> str:
    lines: list[str] = []
    for wheel in question.previous:
        url = wheel.source.url if wheel.source is not None and wheel.source.kind == "sdist" else wheel.url
        if not url:
            continue
        lines += ["[[packages]]", f'name = "{wheel.name}"', f'version = "{wheel.version}"']
        lines.append(f'wheels = [{{ url = "{url}", hashes = {{ sha256 = "{wheel.digest.hex}" }} }}]')
    head = ['lock-version = "1.0"', 'created-by = "layerforge"', *([] if lines else ["packages = []"])]
    return "\n".join((*head, *lines)) + "\n"


def _write_metadata(folder: Path, known: Mapping[tuple[str, str], Metadata]) -> None:
    tables = [
        {
            "name": each.name,
            "version": each.version,
            "requires-dist": list(each.requires),
            "provides-extra": list(each.extras),
            **({"requires-python": each.requires_python} if each.requires_python else {}),
        }
        for each in known.values()
    ]
    (folder / "uv.toml").write_text(tomli_w.dumps({"dependency-metadata": tables}), "utf-8")


def _parse(text: str) -> Pylock:
    try:
        return Pylock.from_dict(tomli.loads(text))
    except (PylockValidationError, tomli.TOMLDecodeError) as error:
        raise SourceError(f"uv gave a lock that cannot be understood: {error}") from error
