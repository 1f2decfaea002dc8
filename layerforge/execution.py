"""The OpenAPI document of a model from its module as it is after importing, for what the source does not tell.

Opt-in: the model's module-level code runs, in a container of its own image.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from layerforge.config import Config
from layerforge.engines.choose import choose_engine
from layerforge.engines.protocol import Engine
from layerforge.errors import EngineError, StoreError
from layerforge.forge import Options, build_model
from layerforge.oci import Descriptor
from layerforge.progress import Reporter
from layerforge.reference import parse_reference
from layerforge.schema import generate_schema, join_documents
from layerforge.store import Store

BEGIN, END = "=== layerforge stub begins ===", "=== layerforge stub ends ==="
"""Between these lines ``cog.server.stub`` writes the signature."""

PATIENCE = 600.0
"""Seconds that importing may take: torch alone takes many."""

_LATE = 2.0
"""Seconds in which the last of a container's output arrives after its end."""

_PLACEHOLDER = {"openapi": "3.0.2", "info": {"title": "Cog", "version": "0"}, "paths": {}}
"""The document of an image that is built only to import the model in it."""


def execute_model(
    folder: Path, config: Config, image: str | None, engine_name: str | None, reporter: Reporter
) -> dict[str, Any]:
    """Build the model in ``folder``, or take the ``image`` of that name from the store, and import the model in it.

    Raises:
        EngineError: the image cannot be started, or importing fails.
        StoreError: there is no such image.
        SchemaError: the signature is none that a document can describe.
    """
    engine = choose_engine(engine_name)
    store = Store()
    try:
        manifest = _build(folder, config, store, reporter) if image is None else _find(store, image)
        reporter.note(f"importing the model in {engine.name}: its code runs")
        return import_schema(engine, store, manifest, config, reporter)
    finally:
        store.close()


def import_schema(
    engine: Engine, store: Store, manifest: Descriptor, config: Config, reporter: Reporter
) -> dict[str, Any]:
    """The document of the model in an image.

    Raises:
        EngineError: the image cannot be started, or importing fails or takes more than :data:`PATIENCE`.
        SchemaError: the signature is none that a document can describe.
    """
    documents = []
    for mode, target in (("run", config.target), ("train", config.train)):
        if target is None:
            continue
        command = ("python", "-m", "cog.server.stub", str(target), mode)
        output = _run(engine, store, manifest, command, reporter)
        begin, end = output.rfind(f"\n{BEGIN}\n"), output.rfind(f"\n{END}\n")
        if begin < 0 or end < begin:
            hint = "see what it says; it may need a GPU, files or variables that are not here"
            raise EngineError(f"importing {target} failed:\n{output[-3000:].strip()}", hint=hint)
        stub = output[begin + len(BEGIN) + 2 : end].encode()
        name = f"the stub of {target.file}"
        documents.append(generate_schema({name: stub}.get, name, target.name, mode=mode))
    return join_documents(documents)


def _build(folder: Path, config: Config, store: Store, reporter: Reporter) -> Descriptor:
    handle, name = tempfile.mkstemp(prefix="layerforge-", suffix=".json")
    try:
        with os.fdopen(handle, "w") as file:
            json.dump(_PLACEHOLDER, file)
        return build_model(folder, config, store, reporter, Options(schema=Path(name))).manifest
    finally:
        Path(name).unlink()


def _find(store: Store, image: str) -> Descriptor:
    name = str(parse_reference(image))
    manifest = store.resolve_tag(name)
    if manifest is None:
        known = ", ".join(sorted(store.tags())) or "none"
        raise StoreError(f"no image is called {name}", hint=f"build one with -t {image}; there are: {known}")
    return manifest


def _run(engine: Engine, store: Store, manifest: Descriptor, command: tuple[str, ...], reporter: Reporter) -> str:
    pieces: list[str] = []
    with engine.start(store, manifest, environment={}, command=command, reporter=reporter) as container:
        container.follow(pieces.append)
        if container.wait(PATIENCE) is None:
            raise EngineError(f"importing took more than {PATIENCE:.0f} s", hint="see the module-level code")
        deadline = time.monotonic() + _LATE
        while f"\n{END}\n" not in "".join(pieces) and time.monotonic() < deadline:
            time.sleep(0.05)
    return "".join(pieces)
