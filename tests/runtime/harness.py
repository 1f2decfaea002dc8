"""The real server, as tests see it: a process and its HTTP."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from layerforge.schema import generate_schema

ROOT = Path(__file__).parent.parent.parent
RUNTIME = ROOT / "runtime"


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Server:
    """A running server. Its own output and the model's are in ``log``."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text("utf-8", "replace")

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def request(self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> Answer:
        """One request on a connection of its own; a body that is no bytes is sent as JSON."""
        connection = self.connect()
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        connection.request(method, path, data, {"Content-Type": "application/json", **(headers or {})})
        response = connection.getresponse()
        answer = Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        connection.close()
        return answer

    def predict(self, **inputs: Any) -> dict[str, Any]:
        """A prediction that is answered with 200."""
        answer = self.request("POST", "/predictions", {"input": inputs})
        assert answer.status == 200, answer.body
        result: dict[str, Any] = answer.json
        return result

    def output(self, **inputs: Any) -> Any:
        """The output of a prediction that succeeds."""
        result = self.predict(**inputs)
        assert result["status"] == "succeeded", result
        return result["output"]

    @property
    def health(self) -> dict[str, Any]:
        result: dict[str, Any] = self.request("GET", "/health-check").json
        return result

    def wait_for(self, *statuses: str, seconds: float = 15) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                health = self.health
            except OSError:
                time.sleep(0.01)
                continue
            if health["status"] in statuses:
                return health
            time.sleep(0.01)
        pytest.fail(f"the server did not become {statuses}; exit status {self.process.poll()}:\n{self.log[-3000:]}")

    @property
    def worker(self) -> int:
        """The process id of the worker; if it has just crashed, that of the next one."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
            if children:
                return int(children[0])
            time.sleep(0.005)
        pytest.fail("there is no worker")

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def write_model(folder: Path, code: str, *, reference: str = "run.py:Runner", schema: bool = True) -> None:
    """Write ``code`` to the file of ``reference`` and, as a build would, the OpenAPI document of its signature."""
    path, _, name = reference.partition(":")
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(textwrap.dedent(code))
    if schema:

        def read(path: str) -> bytes | None:
            file = folder / path
            return file.read_bytes() if file.is_file() else None

        document = generate_schema(read, path, name)
        (folder / ".cog").mkdir(exist_ok=True)
        (folder / ".cog/openapi_schema.json").write_text(json.dumps(document))


Serve = Callable[..., Server]
