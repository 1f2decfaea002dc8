"""Large inputs and outputs: they pass through the server without staying in its memory."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.runtime.events import read_events
from tests.runtime.harness import Answer, Serve, Server, write_model
from tests.runtime.web import web_server

MB = 1_000_000
BLOCK = os.urandom(3 * MB)
ENCODED = base64.b64encode(BLOCK)

MODEL = """
import hashlib
from typing import List, Optional
from cog import BaseRunner, Input, Path

class Runner(BaseRunner):
    def run(self, image: Optional[Path] = Input(default=None), images: List[Path] = Input(default=[]),
            text: str = Input(default="", max_length=50_000_000), word: str = Input(default="", max_length=9)) -> list:
        files = [image] if image else images
        digests = [[each.name, hashlib.sha256(each.read_bytes()).hexdigest()] for each in files]
        return [*digests, len(text), hashlib.sha256(text.encode()).hexdigest()]
"""

ENVIRONMENT = {"COG_SPOOL_BYTES": str(MB), "COG_MAX_REQUEST_BYTES": str(300 * MB)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def server(start_server: Serve, tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Server:
    model = tmp_path_factory.mktemp("model")
    write_model(model, MODEL)
    return start_server(model, environment={**ENVIRONMENT, "TMPDIR": str(folder)})


def memory(server: Server, field: str = "VmHWM") -> int:
    """Bytes of memory that the server has used at most, or uses now (VmRSS)."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    found = re.search(rf"{field}:\s+(\d+) kB", status)
    assert found
    return int(found[1]) * 1024


def send(server: Server, parts: Iterable[bytes], *, chunked: bool = False) -> Answer:
    """POST a body that is never whole here either."""
    connection = server.connect()
    kept = list(parts)
    headers = {"Content-Type": "application/json"}
    if not chunked:
        headers["Content-Length"] = str(sum(map(len, kept)))
    connection.request("POST", "/predictions", iter(kept), headers, encode_chunked=chunked)
    response: http.client.HTTPResponse = connection.getresponse()
    answer = Answer(response.status, dict(response.getheaders()), response.read())
    connection.close()
    return answer


def data_url(blocks: int) -> Iterator[bytes]:
    yield b"data:image/png;base64,"
    for _ in range(blocks):
        yield ENCODED


def digest(blocks: int) -> str:
    found = hashlib.sha256()
    for _ in range(blocks):
        found.update(BLOCK)
    return found.hexdigest()


def left(folder: Path) -> list[str]:
    return [str(path) for path in folder.rglob("*") if path.is_file()]


def all_gone(folder: Path) -> bool:
    """Whether no file is left, or is soon."""
    deadline = time.monotonic() + 5
    while left(folder) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not left(folder)


def test_a_large_file_does_not_stay_in_memory(server: Server, folder: Path) -> None:
    assert server.output() == [0, hashlib.sha256().hexdigest()]
    before = memory(server)
    answer = send(server, [b'{"input":{"image":"', *data_url(12), b'"}}'])
    assert answer.json["output"][0] == ["file.png", digest(12)], answer.body[:500]
    assert memory(server) - before < 24 * MB
    assert all_gone(folder)


@pytest.mark.parametrize("chunked", [False, True])
def test_files_in_lists_and_long_texts(server: Server, folder: Path, chunked: bool) -> None:
    text = b"data:text/plain;base64," + ENCODED[:99_999] + b"!"
    body = [b'{"input":{"images":["', *data_url(1), b'","data:,x","', *data_url(2), b'"],"text":"', text, b'"}}']
    output = send(server, body, chunked=chunked).json["output"]
    assert [each[1] for each in output[:3]] == [digest(1), hashlib.sha256(b"x").hexdigest(), digest(2)]
    assert output[3:] == [len(text), hashlib.sha256(text).hexdigest()]
    assert all_gone(folder)


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ([b'{"input":{"image":"', *data_url(1), b'!"}}'], 200, "the data is not valid base64"),
        ([b'{"input":{"image":"', *data_url(1), b"\\x"], 400, "the body is not JSON"),
        ([b'{"input":{"image":"', *data_url(1), b'"'], 400, "the body is not JSON"),
        ([b'{"input":{"word":"', *data_url(1), b'"}}'], 422, "is longer than 9 characters"),
        ([b'{"input":{"image":["', *data_url(1), b'"]}}'], 422, 'is not of type \\"string\\"'),
        ([b'{"input":{"text":"', *data_url(1), b'\\ud83d\\q"}}'], 400, "the body is not JSON"),
    ],
)
def test_large_bodies_that_are_wrong(
    server: Server, folder: Path, body: list[bytes], status: int, message: str
) -> None:
    answer = send(server, body)
    assert answer.status == status, answer.body[:300]
    assert message in answer.body.decode()
    assert len(answer.body) < 2000
    assert all_gone(folder)


def test_a_body_that_is_too_large_is_refused(server: Server) -> None:
    connection = server.connect()
    connection.putrequest("POST", "/predictions")
    connection.putheader("Content-Length", str(301 * MB))
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 413
    assert json.loads(answer.read())["detail"][0]["msg"].endswith("(COG_MAX_REQUEST_BYTES)")
    connection.close()


def test_headers_have_a_limit_too(server: Server) -> None:
    assert server.request("GET", "/", headers={"X-Long": "x" * 40_000}).status == 200
    assert server.request("GET", "/", headers={"X-Long": "x" * 300_000}).status == 431


def test_a_client_that_leaves_half_way_leaves_nothing(server: Server, folder: Path) -> None:
    connection = server.connect()
    connection.putrequest("POST", "/predictions")
    connection.putheader("Content-Length", str(100 * MB))
    connection.endheaders(b'{"input":{"image":"data:;base64,' + ENCODED)
    deadline = time.monotonic() + 10
    while not left(folder) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert left(folder)
    connection.close()
    assert all_gone(folder)
    assert server.output()[0] == 0


OUTPUT = """
import tempfile
from typing import Any, Iterator
from cog import BaseRunner, Path, streaming

def write(megabytes, name="a.bin"):
    path = Path(tempfile.mkdtemp()) / name
    with open(path, "wb") as file:
        for number in range(megabytes):
            file.write(bytes([number]) * 1_000_000)
    return path

class Runner(BaseRunner):
    @streaming
    def run(self, sizes: str = "12") -> Iterator[Path]:
        path = None
        for size in sizes.split():
            path = write(int(size))
            yield path
            path.unlink()
"""


@pytest.fixture(scope="module")
def writer(start_server: Serve, tmp_path_factory: pytest.TempPathFactory) -> Server:
    model = tmp_path_factory.mktemp("model")
    write_model(model, OUTPUT)
    return start_server(model, environment={**ENVIRONMENT, "COG_MAX_FINISHED_STREAMS": "0"})


def read_blocks(url: str) -> list[int]:
    """The megabytes of a file that OUTPUT has written."""
    assert url.startswith("data:application/octet-stream;base64,")
    content = base64.b64decode(url.partition(",")[2], validate=True)
    assert all(content[start : start + MB] == content[start : start + 1] * MB for start in range(0, len(content), MB))
    return [content[start] for start in range(0, len(content), MB)]


def test_large_outputs_do_not_stay_in_memory(writer: Server) -> None:
    writer.predict(sizes="0")
    before = memory(writer)
    result = writer.request("POST", "/predictions", {"input": {"sizes": "40 1 0 2"}})
    assert result.headers["content-length"] == str(len(result.body))
    assert [read_blocks(each) for each in result.json["output"]] == [list(range(40)), [0], [], [0, 1]]
    assert memory(writer) - before < 24 * MB


def test_a_client_that_reads_slowly_fills_no_memory(writer: Server) -> None:
    writer.predict(sizes="0")
    before = memory(writer)
    connection = writer.connect()
    connection.request("POST", "/predictions", b'{"input":{"sizes":"60"}}', {"Content-Type": "application/json"})
    response = connection.getresponse()
    response.read(1000)
    time.sleep(1)
    assert memory(writer) - before < 24 * MB
    assert len(response.read()) > 79 * MB
    connection.close()


def test_large_outputs_in_streams_and_webhooks(writer: Server) -> None:
    events = read_events(writer, {"id": "large", "input": {"sizes": "3 2"}})
    assert [read_blocks(each.data["chunk"]) for each in events if each.name == "output"] == [[0, 1, 2], [0, 1]]
    assert [read_blocks(each) for each in events[-1].data["output"]] == [[0, 1, 2], [0, 1]]
    with web_server() as web:
        for path in ("/fail/1/x", f"/to/308/{web.url}/x"):
            body = {"input": {"sizes": "3"}, "webhook": web.url + path, "webhook_events_filter": ["completed"]}
            assert writer.request("POST", "/predictions", body).status == 200
        for path, count in (("/fail/1/x", 2), ("/x", 1)):
            assert read_blocks(web.wait(path, count)[-1].json["output"][0]) == [0, 1, 2]


def test_a_client_that_leaves_a_large_answer(writer: Server) -> None:
    connection = writer.connect()
    connection.request("POST", "/predictions", b'{"input":{"sizes":"30"}}', {"Content-Type": "application/json"})
    response = connection.getresponse()
    response.read(1000)
    response.close()
    connection.close()
    assert len(writer.output(sizes="1")) == 1
    assert "internal error" not in writer.log and "Traceback" not in writer.log


@pytest.mark.slow
def test_200_megabytes_out(writer: Server) -> None:
    writer.predict(sizes="0")
    before = memory(writer)
    (url,) = writer.output(sizes="200")
    assert read_blocks(url) == list(range(200))
    assert memory(writer) - before < 40 * MB


@pytest.mark.slow
def test_200_megabytes_in(server: Server, folder: Path) -> None:
    server.output()
    before = memory(server)
    answer = send(server, [b'{"input":{"image":"', *data_url(67), b'"}}'])
    assert answer.json["output"][0] == ["file.png", digest(67)]
    assert memory(server) - before < 40 * MB
    assert all_gone(folder)
