"""Starting the two servers on a model, each in its own environment of the same Python."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.environment import BenchmarkError
from benchmarks.runtime.models import SLOTS

ROOT = Path(__file__).parent.parent.parent
COGLET = "cog>=0.23,<0.24"
_PATIENCE = 60.0  # seconds to become READY


class Server(NamedTuple):
    """A server that answers on ``port``; ``seconds`` passed from its start until it was READY."""

    process: subprocess.Popen[bytes]
    port: int
    seconds: float

    def memory(self) -> int:
        """Resident bytes of the server and of all processes below it."""
        return sum(_resident(pid) for pid in _tree(self.process.pid))

    def processor_time(self) -> float:
        """Seconds that they have used of the processor."""
        return sum(_used(pid) for pid in _tree(self.process.pid))


class Side(NamedTuple):
    """One of the two: ``python`` has it, ``environment`` is needed besides."""

    name: str
    python: Path
    environment: dict[str, str]

    @contextmanager
    def serve(self, folder: Path) -> Iterator[Server]:
        """The server of the model in ``folder``.

        Raises:
            BenchmarkError: it did not become READY.
        """
        port = _free_port()
        environment = {
            **os.environ,
            "PATH": f"{self.python.parent}:{os.environ['PATH']}",
            "PORT": str(port),
            "COG_PREDICT_TYPE_STUB": "run.py:Runner",
            "COG_MAX_CONCURRENCY": str(SLOTS.get(folder.name, 1)),
            "COG_LOG_LEVEL": "error",
            **self.environment,
        }
        command = [str(self.python), "-m", "cog.server.http", "--host", "127.0.0.1"]
        started = time.monotonic()
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            yield Server(process, port, _wait(process, port, self.name) - started)
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def layerforge() -> Side:
    """Ours, from this checkout, in the environment that runs the benchmark."""
    return Side("layerforge", Path(sys.executable), {"PYTHONPATH": str(ROOT / "runtime")})


def coglet(cache: Path) -> Side:
    """Cog's, in an environment below ``cache`` that is made from the configured package index if need be.

    Raises:
        BenchmarkError: it cannot be installed.
    """
    folder = cache / f"coglet-{sys.version_info.major}.{sys.version_info.minor}"
    python = folder / "bin/python"
    environment = {**os.environ, "UV_SYSTEM_CERTS": "1"}
    uv = Path(sys.executable).parent / "uv"
    commands: tuple[list[str | Path], ...] = (
        [uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, folder],
        [uv, "pip", "install", "--quiet", "--python", python, COGLET],
    )
    for command in commands:
        result = subprocess.run(command, env=environment, capture_output=True, text=True)
        if result.returncode:
            raise BenchmarkError(f"{COGLET} cannot be installed: {result.stderr.strip()}")
    return Side("coglet", python, {"PYTHONPATH": ""})


def _wait(process: subprocess.Popen[bytes], port: int, name: str) -> float:
    deadline = time.monotonic() + _PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/health-check")
            if json.loads(connection.getresponse().read())["status"] == "READY":
                return time.monotonic()
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.002)
    raise BenchmarkError(f"{name} did not become READY; its exit status: {process.poll()}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _tree(pid: int) -> list[int]:
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += _tree(int(child))
    return found


def _resident(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def _used(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
