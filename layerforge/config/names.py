"""The small grammars inside ``cog.yaml``: versions, targets, assignments, image names, platforms."""

from __future__ import annotations

import posixpath
import re

from layerforge.config.fields import Findings, shorten
from layerforge.config.values import DEFAULT_PYTHON, Entry, PythonVersion, Target
from layerforge.errors import InvalidReference
from layerforge.oci import Platform
from layerforge.reference import parse_reference

_VERSION = re.compile(r"(\d{1,3})(?:\.(\d{1,3})(?:\.(\d{1,4}))?)?", re.ASCII)
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_TARGET = re.compile(r"(?P<file>[^:]+\.py):(?P<name>[^:]+)")
ARCHITECTURES = ("amd64", "arm64")

RESERVED = (
    "PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV", "PYTHONUNBUFFERED", "R8_*", "REPLICATE_*",
    "LIBRARY_PATH", "CUDA_*", "NVIDIA_*", "NV_*", "PGET_*", "HF_ENDPOINT", "HF_HUB_ENABLE_HF_TRANSFER", "KUBERNETES_*",
)  # fmt: skip
"""Variables that ``environment`` may not set; ``*`` stands for any ending. Source: Cog's ``pkg/config/env.go``."""


def parse_python_version(text: str, line: int, findings: Findings) -> PythonVersion:
    """``3.11`` or ``3.11.4``; the default after a complaint."""
    hint = f'write `python_version: "3.{DEFAULT_PYTHON}"`, or with a patch version, "3.{DEFAULT_PYTHON}.1"'
    name = "build.python_version"
    match = _VERSION.fullmatch(text)
    if not match:
        findings.refuse(line, f"{name}: {shorten(text)!r} is not a Python version", hint)
        return PythonVersion()
    major, minor, patch = match.groups()
    if int(major) != 3:
        findings.refuse(line, f"{name}: Python {text} is not supported", hint)
    elif minor is None:
        findings.refuse(line, f"{name}: {text} lacks the minor version", hint)
    elif minor == "1" and patch is None:
        message = f"{name}: Python 3.1 is not supported; some tools turn an unquoted 3.10 into 3.1"
        findings.refuse(line, message, 'write `python_version: "3.10"`, in quotes')
    else:
        return PythonVersion(int(minor), None if patch is None else int(patch))
    return PythonVersion()


def parse_target(text: str, mode: str, line: int, findings: Findings) -> Target | None:
    """``file.py:Name``, the file's path being inside the project."""
    example = {"run": "run.py:Runner", "predict": "predict.py:Predictor", "train": "train.py:train"}[mode]
    hint = f'write `{mode}: "{example}"`'
    match = _TARGET.fullmatch(text)
    if not match:
        if text.endswith(".py"):
            hint = f'add the name of the class or function: `{mode}: "{shorten(text)}:{example.partition(":")[2]}"`'
        findings.refuse(line, f"{mode}: {shorten(text)!r} is not of the form file.py:Name", hint)
        return None
    file, name = posixpath.normpath(match["file"].strip()), match["name"].strip()
    if file.startswith(("/", "../")):
        findings.refuse(
            line, f"{mode}: {shorten(file)} lies outside the project", "give a path below cog.yaml's folder"
        )
        return None
    if not name.isidentifier():
        findings.refuse(line, f"{mode}: {shorten(name)!r} is not the name of a class or function", hint)
        return None
    return Target(file, name, line, mode)


def check_environment(entries: tuple[Entry, ...], findings: Findings) -> None:
    """Each entry is ``NAME=value``, its name free to be set and given once."""
    seen: dict[str, int] = {}
    for entry in entries:
        match = _ASSIGNMENT.fullmatch(entry.text)
        if not match:
            name = shorten(entry.text)
            hint = 'write `- "NAME=value"`: letters, digits and _ before the equals sign'
            findings.refuse(entry.line, f"environment: {name!r} is not of the form NAME=value", hint)
            continue
        name = match[1]
        if "\0" in entry.text:
            findings.refuse(entry.line, f"environment: the value of {shorten(name)} holds a NUL character")
        if any(name == item or (item[-1] == "*" and name.startswith(item[:-1])) for item in RESERVED):
            message = f"environment: {shorten(name)} is reserved for the image's own use"
            findings.refuse(
                entry.line, message, "set it inside your code, before the library that reads it is imported"
            )
        elif name in seen:
            message = f"environment: {shorten(name)} is given twice, first on line {seen[name]}"
            findings.refuse(entry.line, message, "keep one of the two")
        seen.setdefault(name, entry.line)


def check_image(text: str, line: int, findings: Findings) -> None:
    """``image`` is an image reference."""
    if not text:
        return
    try:
        parse_reference(text)
    except InvalidReference as error:
        findings.refuse(line, f"image: {error.message[:200]}", error.hint)


def parse_base(text: str) -> str:
    """The reference of the image at the bottom; empty for ``debian``, which is assembled from packages.

    Raises:
        InvalidReference: neither of these.
    """
    if text in ("", "debian"):
        return ""
    try:
        parse_reference(text)
    except InvalidReference as error:
        hint = "write debian, or the reference of an image, such as python:3.12-slim"
        raise InvalidReference(error.message, where=error.where, hint=hint) from None
    return text


def check_model(text: str, line: int, findings: Findings) -> None:
    """``model`` is a repository, without tag and digest."""
    if not text:
        return
    if ".py:" in text:
        hint = f'write `run: "{shorten(text)}"`: this key named the code in the first versions of Cog'
        findings.refuse(line, f"model: {shorten(text)!r} names code, not a repository", hint)
        return
    try:
        reference = parse_reference(text, default_tag="")
    except InvalidReference as error:
        findings.refuse(line, f"model: {error.message[:200]}", error.hint)
        return
    if reference.tag or reference.digest:
        findings.refuse(line, "model: names a repository, without tag and digest", "give the tag with -t when pushing")


def parse_platform(entry: Entry, findings: Findings) -> Platform | None:
    """``linux/amd64`` or ``linux/arm64``."""
    system, _, architecture = entry.text.partition("/")
    if system == "linux" and architecture in ARCHITECTURES:
        return Platform(system, architecture)
    known = " and ".join(f"linux/{name}" for name in ARCHITECTURES)
    findings.refuse(entry.line, f"layerforge.platforms: {shorten(entry.text)!r} is not supported", f"there are {known}")
    return None
