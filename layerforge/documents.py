"""A model's OpenAPI document, from the project's source or from a file.

It is encoded once, by ``plan_image``: the label, ``/.cog/openapi_schema.json`` and what the runtime validates with and
serves are the same bytes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from layerforge.config import Config
from layerforge.errors import SchemaError
from layerforge.progress import SILENCE, Reporter
from layerforge.schema import derive_schema

_LONGEST = 1 << 21
"""No more of a source file is read than tells that it is too long, in bytes."""


def load_schema(
    folder: Path, config: Config, given: Path | None = None, reporter: Reporter = SILENCE
) -> dict[str, Any]:
    """The model's OpenAPI document, from its source or from the file ``given``.

    Raises:
        SchemaError: it cannot be derived, or the file is no OpenAPI document.
    """
    if given is not None:
        return _read_document(given)
    derived = derive_schema(
        lambda path: _read_source(folder, path),
        run=None if config.target is None else (config.target.file, config.target.name),
        train=None if config.train is None else (config.train.file, config.train.name),
        python=(3, config.python_version.minor),
        environment=dict(config.env),
    )
    for warning in derived.warnings:
        reporter.warn(str(warning), warning.hint)
    return derived.document


def _read_document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise SchemaError(f"cannot be used as an OpenAPI document: {error}", where=str(path)) from error
    if not isinstance(document, dict):
        raise SchemaError("is not a JSON object", where=str(path))
    return document


def _read_source(folder: Path, path: str) -> bytes | None:
    if path.startswith(("/", "../")):
        return None
    try:
        with (folder / path).open("rb") as file:
            return file.read(_LONGEST)
    except (OSError, ValueError):
        return None
