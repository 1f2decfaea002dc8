"""``layerforge.packages``: the project's own file in which the requirements are, instead of a requirements file."""

from __future__ import annotations

from layerforge.config.document import Scalar
from layerforge.config.fields import Findings, Section, shorten
from layerforge.config.values import PackageFile

_NAMES = ("pyproject.toml", "uv.lock")


def read_packages(settings: Section, findings: Findings) -> PackageFile:
    """The file, as a string or as a mapping with ``file``, ``extras`` and ``groups``; empty when it is not given."""
    value = settings.take("packages")
    line = settings.line_of("packages")
    if value is None:
        return PackageFile()
    if isinstance(value, Scalar):
        found = PackageFile(value.text.strip())
    else:
        section = Section(value, "layerforge.packages", findings, example="write `file: uv.lock`, indented, below it")
        extras, groups = section.entries("extras", example="gpu"), section.entries("groups", example="serve")
        names = (tuple(entry.text for entry in entries) for entries in (extras, groups))
        found = PackageFile(section.text("file"), *names)
        section.finish()
    name = found.file.rpartition("/")[2]
    if name not in _NAMES:
        message = f"layerforge.packages: {shorten(found.file)!r} is not called {' or '.join(_NAMES)}"
        findings.refuse(
            line, message, "write `packages: uv.lock`; a requirements file goes to build.python_requirements"
        )
    elif found.file.startswith("/") or ".." in found.file.split("/"):
        findings.refuse(line, f"layerforge.packages: {shorten(found.file)} is outside of the project")
    return found
