"""The loads, and what is read off each: a dict of figures, times in seconds."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median

from benchmarks.environment import BenchmarkError
from benchmarks.runtime.servers import Server

Figures = dict[str, float]

_HEADERS = {"Content-Type": "application/json"}
_SCRIPT = """\
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"input":{"x":"hello"}}'
done = function(summary, latency)
  print(string.format("FIGURES %d %d %d %d", summary.requests, summary.duration, latency:percentile(99),
    summary.errors.status))
end
"""
_FILE = 10_000_000  # bytes
_TOKENS, _PAUSE = 100, 0.005


def one_connection(server: Server, seconds: float) -> Figures:
    """Requests one after another. A refusal (409) is no answer: it is counted, and left out of the times."""
    body = b'{"input":{"x":"hello"}}'
    head = "POST /predictions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(body)}\r\n\r\n"
    request = head.encode() + body
    times: list[float] = []
    refused = 0
    used = server.processor_time()
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        end = time.monotonic() + seconds
        while (started := time.perf_counter()) and time.monotonic() < end:
            connection.sendall(request)
            if _receive(connection) == 200:
                times.append(time.perf_counter() - started)
            else:
                refused += 1
    return {
        "p50": median(times),
        "per_second": len(times) / seconds,
        "refused": refused / (refused + len(times)),
        "used": (server.processor_time() - used) / len(times),
    }


def _receive(connection: socket.socket) -> int:
    data = connection.recv(1 << 16)
    while b"\r\n\r\n" not in data:
        data += connection.recv(1 << 16)
    head, _, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: *(\d+)", head)
    while length and len(body) < int(length[1]):
        body += connection.recv(1 << 16)
    return int(head.split(None, 2)[1])


def many_connections(server: Server, seconds: float) -> Figures:
    """32 connections of ``wrk``."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(_SCRIPT)
        script.flush()
        url = f"http://127.0.0.1:{server.port}/predictions"
        command = ["wrk", "-t1", "-c32", f"-d{max(1, round(seconds))}s", "-s", script.name, url]
        used = server.processor_time()
        output = subprocess.run(command, capture_output=True, text=True).stdout
    found = re.search(r"FIGURES (\d+) (\d+) (\d+) (\d+)", output)
    if not found:
        raise BenchmarkError(f"wrk gave no figures: {output[-500:]}")
    requests, microseconds, latency, errors = map(int, found.groups())
    return {
        "per_second": (requests - errors) / microseconds * 1e6,
        "p99": latency / 1e6,
        "refused": errors / max(requests, 1),
        "used": (server.processor_time() - used) / max(requests - errors, 1),
    }


def large_files(server: Server, seconds: float) -> Figures:
    """A file of 10 MB as a data URL in the request and in the answer."""
    content = base64.b64encode(os.urandom(_FILE)).decode()
    body = json.dumps({"input": {"file": f"data:application/octet-stream;base64,{content}"}}).encode()
    times: list[float] = []
    end = time.monotonic() + seconds
    while not times or time.monotonic() < end:
        started, response, connection = _ask(server, body)
        answer = response.read()
        times.append(time.perf_counter() - started)
        connection.close()
        if content.encode() not in answer:
            raise BenchmarkError(f"the file did not come back: {answer[:300]!r}")
    return {"median": median(times)}


def tokens(server: Server, seconds: float) -> Figures:
    """Streams of 100 tokens: the time to the first one, how much later than its pause each next one comes, and the time
    that a token takes where the model does not pause.
    """
    first: list[float] = []
    late: list[float] = []
    unpaused: list[float] = []
    end = time.monotonic() + seconds
    while not first or time.monotonic() < end:
        started, arrivals = _stream(server, _TOKENS, _PAUSE)
        first.append(arrivals[0] - started)
        late += [after - before - _PAUSE for before, after in pairwise(arrivals)]
        started, arrivals = _stream(server, 5 * _TOKENS, 0)
        unpaused.append((arrivals[-1] - started) / len(arrivals))
    return {"first": median(first), "gap": median(late), "token": median(unpaused)}


def _stream(server: Server, count: int, pause: float) -> tuple[float, list[float]]:
    """When a stream was asked for on an open connection, and when each of its tokens came; repeated while refused."""
    body = json.dumps({"input": {"count": count, "pause": pause}}).encode()
    head = "POST /predictions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAccept: text/event-stream\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    for _ in range(1000):
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            started = time.perf_counter()
            connection.sendall(request)
            arrivals: list[float] = []
            data = connection.recv(1 << 16)
            if b" 200 " not in data[:20]:
                time.sleep(0.001)
                continue
            while True:
                arrivals += [time.perf_counter()] * data.count(b"event: output")
                if b"event: completed" in data:
                    break
                tail = data[-20:] if b"event: output" not in data[-20:] else b""
                received = connection.recv(1 << 16)
                if not received:
                    raise BenchmarkError("the stream broke off")
                data = tail + received
        if len(arrivals) != count:
            raise BenchmarkError(f"{len(arrivals)} of {count} tokens came")
        return started, arrivals
    raise BenchmarkError("no stream was taken")


def _ask(server: Server, body: bytes) -> tuple[float, http.client.HTTPResponse, http.client.HTTPConnection]:
    """A request that is repeated while it is refused (409); when the one that was taken was sent."""
    for _ in range(1000):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        started = time.perf_counter()
        connection.request("POST", "/predictions", body, _HEADERS)
        response = connection.getresponse()
        if response.status == 200:
            return started, response, connection
        connection.close()
        time.sleep(0.001)
    raise BenchmarkError(f"a request was not taken: {response.status}")


def memory(server: Server, _seconds: float) -> Figures:
    """Resident memory once it is idle."""
    time.sleep(0.5)
    return {"bytes": server.memory()}


def start(server: Server, _seconds: float) -> Figures:
    """From exec to READY."""
    return {"seconds": server.seconds}


Load = Callable[[Server, float], Figures]
LOADS: tuple[tuple[str, Load], ...] = (
    ("synchronous", start),
    ("synchronous", memory),
    ("synchronous", one_connection),
    ("asynchronous", many_connections),
    ("files", large_files),
    ("tokens", tokens),
)


def folder_of(model: str, root: Path) -> Path:
    """Where :func:`benchmarks.runtime.models.write_models` put a model."""
    return root / model
