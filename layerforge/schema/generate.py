"""From a project's files to the OpenAPI document of its model."""

from __future__ import annotations

import posixpath
from typing import Any

from layerforge import __version__
from layerforge.errors import SchemaError
from layerforge.schema.constants import Evaluator
from layerforge.schema.modules import Project, Read
from layerforge.schema.openapi import render_document
from layerforge.schema.signature import SignatureReader
from layerforge.schema.target import METHODS, find_callable


def generate_schema(
    read: Read, target_file: str, target_name: str, *, mode: str = "run", version: str = __version__
) -> dict[str, Any]:
    """The OpenAPI 3.0.2 document of the class or function ``target_name`` in ``target_file``.

    ``read`` gives the bytes of a file by its path relative to the project's root, or None when there is none.
    ``mode`` is "run" or "train". Nothing of the project is imported or executed.

    Raises:
        SchemaError: the target does not exist, or its signature cannot be known from the source.
    """
    if mode not in METHODS:
        raise ValueError(f"mode is {mode!r}, not one of {', '.join(METHODS)}")
    path = posixpath.normpath(target_file)
    project = Project(read)
    evaluator = Evaluator(project)
    try:
        target = find_callable(project, path, target_name, mode)
        signature = SignatureReader(project, evaluator).read(target)
        return render_document(signature, mode, version)
    except RecursionError:
        raise SchemaError("the code is nested too deeply to read", where=path) from None
