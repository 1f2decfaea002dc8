"""Hours of work in minutes: after 300,000 predictions of all kinds nothing has grown."""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.runtime.harness import Serve, Server

MODEL = """
import asyncio, tempfile
from typing import Any, Optional
from cog import BaseRunner, Path, concurrent
class Runner(BaseRunner):
    @concurrent(max=16)
    async def run(self, what: str = "echo", text: str = "x", file: Optional[Path] = None) -> Any:
        if what == "print":
            print("a line " * 20)
        if what == "read":
            return file.read_text()
        if what == "write":
            with tempfile.NamedTemporaryFile("w", suffix=".txt", dir="outputs", delete=False) as output:
                output.write(text)
            asyncio.get_running_loop().call_later(5, Path(output.name).unlink)
            return Path(output.name)
        if what == "raise":
            raise ValueError(text)
        if what == "sleep":
            await asyncio.sleep(30)
        if what == "metric":
            self.record_metric("tokens", 1, mode="incr")
        return text
"""
KINDS = {
    "echo": 90,
    "print": 2,
    "read": 2,
    "write": 1,
    "raise": 1,
    "metric": 2,
    "later": 1,
    "cancel": 0.5,
    "leave": 0.5,
}
CONNECTIONS = 12


class Sizes(NamedTuple):
    """What must not grow: resident bytes and open files of server and worker, and files in the temporary folder."""

    memory: tuple[int, int]
    files: tuple[int, int]
    left: int


def measure(server: Server, folder: Path) -> Sizes:
    pids = (server.process.pid, server.worker)
    resident = [re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text()) for pid in pids]
    memory = [int(found[1]) * 1024 for found in resident if found]
    files = [len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids]
    left = sum(1 for path in folder.glob("layerforge-*/**/*"))
    return Sizes((memory[0], memory[1]), (files[0], files[1]), left)


class Client:
    """One connection that asks for predictions of all kinds."""

    def __init__(self, port: int, seed: int) -> None:
        self.port = port
        self.chance = random.Random(seed)
        self.seen: Counter[str] = Counter()
        self.number = 0
        self.seed = seed

    async def ask(self, count: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        for kind in self.chance.choices(list(KINDS), list(KINDS.values()), k=count):
            self.number += 1
            id = f"{self.seed}-{self.number}"
            if kind == "leave":
                _, other = await asyncio.open_connection("127.0.0.1", self.port)
                other.write(request("/predictions", {"input": {"what": "sleep"}}))
                await other.drain()
                other.close()
            elif kind == "cancel":
                body = {"id": id, "input": {"what": "sleep"}}
                self.seen[await self.exchange(reader, writer, request("/predictions", body, "respond-async"))] += 1
                self.seen[await self.exchange(reader, writer, request(f"/predictions/{id}/cancel", {}))] += 1
            elif kind == "later":
                self.seen[await self.exchange(reader, writer, request("/predictions", {}, "respond-async"))] += 1
            else:
                inputs = {"what": kind, "file": "data:,content"} if kind == "read" else {"what": kind}
                self.seen[await self.exchange(reader, writer, request("/predictions", {"input": inputs}))] += 1
        writer.close()

    async def exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes) -> str:
        writer.write(data)
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        body = await reader.readexactly(int(length[1])) if length else b""
        status = json.loads(body).get("status", "")
        return f"{head.split()[1].decode()} {status}".strip()


def request(path: str, body: object, prefer: str = "") -> bytes:
    data = json.dumps(body).encode()
    more = f"Prefer: {prefer}\r\n" if prefer else ""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{more}"
    head += f"Content-Length: {len(data)}\r\n\r\n"
    return head.encode() + data


def work(port: int, count: int, seed: int) -> Counter[str]:
    clients = [Client(port, seed * CONNECTIONS + number) for number in range(CONNECTIONS)]

    async def all_of_them() -> None:
        await asyncio.gather(*(client.ask(count // CONNECTIONS) for client in clients))

    asyncio.run(all_of_them())
    return sum((client.seen for client in clients), Counter())


@pytest.mark.parametrize("count", [3_000, pytest.param(300_000, marks=pytest.mark.slow)])
def test_nothing_grows(serve: Serve, tmp_path: Path, count: int) -> None:
    (tmp_path / "outputs").mkdir()
    environment = {"TMPDIR": str(tmp_path), "COG_LOG_LEVEL": "error", "COG_MAX_QUEUE": "1000"}
    server = serve(MODEL, environment=environment)
    work(server.port, max(2_000, count // 10), 1)
    settle(server)
    before = measure(server, tmp_path)
    seen = work(server.port, count, 2)
    settle(server)
    after = measure(server, tmp_path)
    print(f"{before}\n{after}\n{dict(seen)}")
    assert sum(seen.values()) > 0.98 * count
    assert set(seen) <= {"200", "200 succeeded", "200 failed", "202 starting"}
    assert after.left == 0
    assert after.files == before.files
    for earlier, later in zip(before.memory, after.memory, strict=True):
        assert later - earlier < 8 * 2**20


def settle(server: Server) -> None:
    """Wait until nothing runs any more."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        lines = server.request("GET", "/metrics").body.decode().splitlines()
        if "cog_predictions_running 0" in lines:
            time.sleep(1)  # connections that were left are closed
            return
        time.sleep(0.1)
    pytest.fail("predictions never ended")
