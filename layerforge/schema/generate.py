"""From a project's files to the OpenAPI document of its model."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any

import msgspec

from layerforge import __version__
from layerforge.errors import Problem, SchemaError
from layerforge.schema.constants import Evaluator
from layerforge.schema.grammar import NEWEST
from layerforge.schema.modules import Project, Read
from layerforge.schema.openapi import join_documents, render_document
from layerforge.schema.signature import SignatureReader
from layerforge.schema.target import METHODS, find_callable


class Derived(msgspec.Struct, frozen=True):
    """The document, and what was taken for granted in it."""

    document: dict[str, Any]
    warnings: tuple[Problem, ...]


def derive_schema(
    read: Read,
    *,
    run: tuple[str, str] | None = None,
    train: tuple[str, str] | None = None,
    python: tuple[int, int] = NEWEST,
    environment: Mapping[str, str] | None = None,
    version: str = __version__,
) -> Derived:
    """The OpenAPI 3.0.2 document of a model that is run, trained or both, each a file and a name in it.

    ``read`` gives the bytes of a file by its path relative to the project's root, or None when there is none.
    ``python`` is the model's version, ``environment`` what cog.yaml sets. Nothing is imported or executed.

    Raises:
        SchemaError: a target does not exist, or its signature cannot be known from the source.
    """
    project = Project(read, python, environment)
    targets = [(mode, target) for mode, target in (("run", run), ("train", train)) if target is not None]
    documents = [_derive(project, *target, mode, version) for mode, target in targets]
    if not documents:
        raise SchemaError("there is neither a run nor a train target", hint='add `run: "run.py:Runner"` to cog.yaml')
    return Derived(join_documents(documents), tuple(project.warnings))


def generate_schema(
    read: Read, target_file: str, target_name: str, *, mode: str = "run", version: str = __version__
) -> dict[str, Any]:
    """The document of one target, as :func:`derive_schema` makes it. ``mode`` is "run" or "train".

    Raises:
        SchemaError: as there.
    """
    if mode not in METHODS:
        raise ValueError(f"mode is {mode!r}, not one of {', '.join(METHODS)}")
    target = (target_file, target_name)
    return derive_schema(
        read, run=target if mode == "run" else None, train=target if mode == "train" else None, version=version
    ).document


def _derive(project: Project, file: str, name: str, mode: str, version: str) -> dict[str, Any]:
    path = posixpath.normpath(file)
    try:
        evaluator = Evaluator(project)
        target = find_callable(evaluator, path, name, mode)
        signature = SignatureReader(project, evaluator).read(target)
        return render_document(signature, mode, version)
    except RecursionError:
        hint = "write it with fewer nested brackets and calls"
        raise SchemaError("the code is nested too deeply to read", where=path, hint=hint) from None
