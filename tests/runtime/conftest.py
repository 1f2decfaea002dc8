"""Starts the real server on small models that a test writes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.harness import RUNTIME, Serve, Server, free_port, write_model


@pytest.fixture(scope="session")
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """``start_server(folder, …)``: the server of the model in ``folder``; stopped when the session ends."""
    servers: list[Server] = []

    def start(
        folder: Path,
        *arguments: str,
        reference: str = "run.py:Runner",
        environment: dict[str, str] | None = None,
        prefix: Sequence[str] = (),
        python: str = sys.executable,
        wait: bool = True,
    ) -> Server:
        port = free_port()
        log = tmp_path_factory.mktemp("server") / "log"
        variables = {
            **os.environ,
            "PYTHONPATH": str(RUNTIME),
            "PORT": str(port),
            "COG_PREDICT_TYPE_STUB": reference,
            **(environment or {}),
        }
        command = [*prefix, python, "-m", "cog.server.http", "--host", "127.0.0.1", *arguments]
        with log.open("wb") as output:
            process = subprocess.Popen(command, cwd=folder, env=variables, stdout=output, stderr=output)
        server = Server(process, port, log)
        servers.append(server)
        if wait:
            server.wait_for("READY")
        return server

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def serve(start_server: Serve, tmp_path: Path) -> Iterator[Serve]:
    """``serve(code, …)``: the server of a model written to ``tmp_path``; stopped when the test ends."""
    servers: list[Server] = []

    def run(code: str, *arguments: str, reference: str = "run.py:Runner", schema: bool = True, **more: Any) -> Server:
        write_model(tmp_path, code, reference=reference, schema=schema)
        server = start_server(tmp_path, *arguments, reference=reference, **more)
        servers.append(server)
        return server

    yield run
    for server in servers:
        server.stop()
