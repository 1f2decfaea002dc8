"""What people ask for in ``python_packages``, requirements files and ``pyproject.toml``, as one value. Pure.

Source: https://pip.pypa.io/en/stable/reference/requirements-file-format/, and Cog's ``docs/yaml.md`` for what stands
in ``python_packages`` (pip's options may be part of an entry there).
"""

from layerforge.requirements.pyproject import parse_project
from layerforge.requirements.reader import ProjectFiles, parse_packages, parse_requirements
from layerforge.requirements.values import PROVIDED, Origin, RequirementLine, Requirements, normalise_name

__all__ = [
    "PROVIDED",
    "Origin",
    "ProjectFiles",
    "RequirementLine",
    "Requirements",
    "normalise_name",
    "parse_packages",
    "parse_project",
    "parse_requirements",
]
