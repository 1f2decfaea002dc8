"""One model that does many things, asked over HTTP: outputs, errors, logs, files."""

from __future__ import annotations

import base64
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.harness import Serve, Server, write_model

MODEL = """
import io, logging, os, subprocess, sys, tempfile, time
from dataclasses import dataclass
from datetime import datetime, timezone
from enum import Enum
from typing import Any, List, Optional, TypedDict
import numpy as np
from cog import BaseModel, BaseRunner, File, Input, Path, Secret, current_scope

class Color(Enum):
    RED = "red"

class Reading(BaseModel):
    digit: int
    scores: List[float]
    picture: Optional[Path] = None

@dataclass
class Point:
    x: int
    y: int

class Pair(TypedDict):
    left: str

class Pydantic:
    def model_dump(self):
        return {"name": "dumped", "color": Color.RED}

def write(name, data):
    path = Path(tempfile.mkdtemp()) / name
    path.write_bytes(data)
    return path

class Runner(BaseRunner):
    def setup(self):
        print("setting up")

    def run(
        self,
        what: str = Input(description="What to do"),
        number: int = Input(default=3, ge=1, le=10),
        size: int = Input(default=0),
        text: str = "plain",
        image: Optional[Path] = Input(default=None),
        images: List[Path] = Input(default=[]),
        file: Optional[File] = Input(default=None),
        token: Optional[Secret] = Input(default=None),
        nothing: Optional[str] = None,
    ) -> Any:
        return getattr(self, what)(**{name: value for name, value in locals().items() if name not in ("self", "what")})

    def inputs(self, number, text, image, images, token, nothing, **_):
        return {"number": number, "text": text, "image": type(image).__name__, "images": len(images),
                "token": [str(token), token and token.get_secret_value()], "nothing": nothing}

    def read(self, image, **_): return [image.name, image.read_text()]
    def read_all(self, images, **_): return [each.read_text() for each in images]
    def read_file(self, file, **_): return [type(file).__name__, file.read().decode()]
    def keep(self, image, **_): return str(image)
    def length(self, text, **_): return len(text)

    def none(self, **_): return None
    def unicode(self, **_): return "é 世界 🎉 \\x00 \\u2028"
    def surrogate(self, **_): return "half \\ud83d whole \\ud83c\\udf89"
    def mapping(self, **_): return {1: "a", None: "b", Color.RED: "c"}
    def tuples(self, **_): return (1, [2.5, {3}])
    def model(self, **_): return Reading(digit=7, scores=[0.5])
    def model_with_file(self, **_): return Reading(digit=7, scores=[], picture=write("p.png", b"png"))
    def classes(self, **_): return [Point(1, 2), Pair(left="l"), Pydantic(), Color.RED]
    def time(self, **_): return datetime(2024, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
    def numbers(self, **_):
        return {"f": np.float32(1.5), "i": np.int64(4), "b": np.bool_(True), "a": np.arange(6).reshape(2, 3)}
    def array(self, **_): return np.array([1.5, np.nan, np.inf])
    def scalar(self, **_): return np.float64(2.5)
    def nan(self, **_): return float("nan")
    def object(self, **_): return object()
    def iterator(self, **_): return iter([1, 2])
    def generator(self, **_):
        yield "a"
        yield {"b": np.int8(1)}
    def empty_generator(self, **_):
        return
        yield
    def broken_generator(self, **_):
        yield "a"
        raise ValueError("half way")
    def nested_generator(self, **_): return {"inner": (each for each in [1, 2])}

    def path(self, **_): return write("out.png", b"hello")
    def webp(self, **_): return write("out.webp", b"hello")
    def strange(self, **_): return write("out.strange", b"hello")
    def missing(self, **_): return Path("/nonexistent/out.png")
    def paths(self, **_): return [write("a.txt", b"a"), write("b.txt", b"b")]
    def nested_path(self, **_): return {"x": {"y": [write("a.txt", b"a")]}}
    def stream(self, **_): return io.BytesIO(b"bytes")
    def big(self, size, **_): return write("big.bin", b"x" * size)
    def big_text(self, size, **_): return "x" * size
    def same_path(self, **_):
        path = write("frame.txt", b"")
        for each in "abc":
            path.write_text(each * 3)
            yield path

    def raises(self, **_):
        print("before")
        raise ValueError("böse")
    def raises_surrogate(self, **_): raise ValueError("half \\ud83d")
    def nan_metric(self, **_): self.record_metric("x", float("nan"))
    def raises_nothing(self, **_): raise RuntimeError
    def exits(self, **_): sys.exit(3)
    def print(self, **_):
        print("printed")
        print("to stderr", file=sys.stderr)
        logging.warning("logged")
        return "x"
    def native(self, **_):
        os.write(1, b"native out\\n")
        os.write(2, b"native err without end")
        subprocess.run(["echo", "from a subprocess"])
    def half_line(self, **_): print("no end", end="")
    def tell(self, token, **_):
        value = token.get_secret_value()
        print("token", value)
        os.write(1, b"in two " + value[:5].encode())
        time.sleep(0.05)
        os.write(1, value[5:].encode() + b" parts\\n")
        os.write(2, b"native " + value.encode() + b"\\n")
        raise ValueError(f"bad token {value}")
    def bytes(self, **_): os.write(1, b"\\xff\\xfe\\n")
    def many_lines(self, number, **_):
        for each in range(20000):
            print("line", each)

    def metrics(self, **_):
        self.record_metric("tokens", 1, mode="incr")
        self.record_metric("tokens", 2, mode="incr")
        self.record_metric("timing.first", 0.5)
        self.record_metric("steps", "a", mode="append")
        self.record_metric("gone", 1)
        del self.scope.metrics["gone"]
        return current_scope().context
    def bad_metric(self, **_): self.record_metric("_x", 1)
"""


@pytest.fixture(scope="module")
def server(start_server: Serve, tmp_path_factory: pytest.TempPathFactory) -> Server:
    folder = tmp_path_factory.mktemp("model")
    write_model(folder, MODEL)
    return start_server(folder)


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("none", None),
        ("unicode", "é 世界 🎉 \x00 \u2028"),
        ("surrogate", "half \ufffd whole 🎉"),
        ("mapping", {"1": "a", "null": "b", "red": "c"}),
        ("tuples", [1, [2.5, [3]]]),
        ("model", {"digit": 7, "scores": [0.5], "picture": None}),
        ("model_with_file", {"digit": 7, "scores": [], "picture": "data:image/png;base64,cG5n"}),
        ("classes", [{"x": 1, "y": 2}, {"left": "l"}, {"name": "dumped", "color": "red"}, "red"]),
        ("time", "2024-01-02T03:04:05+00:00"),
        ("numbers", {"f": 1.5, "i": 4, "b": True, "a": [[0, 1, 2], [3, 4, 5]]}),
        ("array", [1.5, None, None]),
        ("scalar", 2.5),
        ("nan", None),
        ("iterator", [1, 2]),
        ("generator", ["a", {"b": 1}]),
        ("empty_generator", []),
        ("nested_generator", {"inner": [1, 2]}),
        ("path", "data:image/png;base64,aGVsbG8="),
        ("webp", "data:image/webp;base64,aGVsbG8="),
        ("strange", "data:application/octet-stream;base64,aGVsbG8="),
        ("paths", ["data:text/plain;base64,YQ==", "data:text/plain;base64,Yg=="]),
        ("nested_path", {"x": {"y": ["data:text/plain;base64,YQ=="]}}),
        ("stream", "data:application/octet-stream;base64,Ynl0ZXM="),
        ("same_path", [f"data:text/plain;base64,{base64.b64encode(each * 3).decode()}" for each in (b"a", b"b", b"c")]),
    ],
)
def test_outputs(server: Server, what: str, expected: object) -> None:
    assert server.output(what=what) == expected


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ("raises", "Prediction failed: ValueError: böse"),
        ("raises_surrogate", "Prediction failed: ValueError: half ?"),
        ("nan_metric", "Prediction failed: ValueError: Metric 'x' must be a finite number, got nan"),
        ("raises_nothing", "Prediction failed: RuntimeError"),
        ("exits", "Prediction failed: SystemExit: 3"),
        ("missing", "Prediction failed: the output file /nonexistent/out.png does not exist"),
        ("object", "Prediction failed: an output of type object cannot be written as JSON"),
        ("broken_generator", "Prediction failed: ValueError: half way"),
    ],
)
def test_a_failed_prediction_is_an_answer_and_not_the_end(server: Server, what: str, error: str) -> None:
    result = server.predict(what=what)
    assert (result["status"], result["error"]) == ("failed", error)
    assert "layerforge_worker" not in result["logs"]
    assert server.output(what="none") is None


def test_the_traceback_is_in_the_logs(server: Server) -> None:
    logs = server.predict(what="raises")["logs"]
    assert logs.startswith("before\nTraceback (most recent call last):\n")
    assert logs.endswith("ValueError: böse\n")
    assert 'run.py", line' in logs


def test_the_answer_has_id_times_and_metrics(server: Server) -> None:
    result = server.request("POST", "/predictions", {"id": "mine", "input": {"what": "none"}}).json
    assert set(result) == {
        *("id", "status", "output", "logs", "metrics", "created_at", "started_at", "completed_at"),
    }
    assert result["id"] == "mine"
    assert result["created_at"] <= result["started_at"] <= result["completed_at"]
    assert 0 < result["metrics"]["predict_time"] < 5
    assert len(server.predict(what="none")["id"]) == 26


def test_inputs_defaults_and_types(server: Server) -> None:
    defaults = {"number": 3, "text": "plain", "image": "NoneType", "images": 0, "token": ["None", None]}
    assert server.output(what="inputs") == {**defaults, "nothing": None}
    found = server.output(
        what="inputs", number=5.0, token="secret", image="data:,x", images=["data:,x"], nothing="some", unknown=1
    )
    assert found == {
        "number": 5,
        "text": "plain",
        "image": "Path",
        "images": 1,
        "token": ["**********", "secret"],
        "nothing": "some",
    }


def test_a_string_that_looks_like_a_url_stays_a_string(server: Server) -> None:
    assert server.output(what="inputs", text="https://example.org/x.png")["text"] == "https://example.org/x.png"


def test_prints_of_all_kinds_are_in_the_logs(server: Server) -> None:
    logs = server.predict(what="print")["logs"]
    assert logs.splitlines() == ["printed", "to stderr", "WARNING:root:logged"]
    assert server.predict(what="native")["logs"] == "native out\nnative err without endfrom a subprocess\n"
    assert server.predict(what="half_line")["logs"] == "no end"
    assert server.predict(what="bytes")["logs"] == "\ufffd\ufffd\n"
    assert server.predict(what="none")["logs"] == ""


def test_no_line_of_a_long_log_is_lost(server: Server) -> None:
    logs = server.predict(what="many_lines")["logs"]
    assert logs.splitlines() == [f"line {number}" for number in range(20000)]


def test_metrics_and_context(server: Server) -> None:
    body = {"input": {"what": "metrics"}, "context": {"user": "me"}}
    result = server.request("POST", "/predictions", body).json
    assert result["output"] == {"user": "me"}
    del result["metrics"]["predict_time"]
    assert result["metrics"] == {"tokens": 3, "timing": {"first": 0.5}, "steps": ["a"]}
    assert "must start with a letter" in server.predict(what="bad_metric")["error"]


def test_secrets_are_masked_in_logs_and_errors(server: Server) -> None:
    secret = "s3cret-é-value"
    result = server.predict(what="tell", token=secret)
    assert result["logs"].splitlines()[:3] == ["token **********", "in two ********** parts", "native **********"]
    assert result["error"] == "Prediction failed: ValueError: bad token **********"
    assert secret not in result["logs"]
    assert secret not in server.log


def test_data_urls_become_files_for_the_prediction(server: Server) -> None:
    assert server.output(what="read", image="data:text/plain;base64,aGVsbG8=") == ["file.txt", "hello"]
    assert server.output(what="read", image="data:image/webp,hello%20w") == ["file.webp", "hello w"]
    assert server.output(what="read", image="DATA:;base64,aGVsbG8") == ["file.txt", "hello"]
    assert server.output(what="read_all", images=["data:,a", "data:,b"]) == ["a", "b"]
    assert server.output(what="read_file", file="data:,content") == ["BufferedReader", "content"]
    path = Path(server.output(what="keep", image="data:image/png,x"))
    assert path.name == "file.png"
    assert not path.exists()


def test_a_broken_data_url_fails_the_prediction(server: Server) -> None:
    result = server.predict(what="read", image="data:;base64,@@@")
    assert result["status"] == "failed"
    assert result["error"].startswith("Input validation error: image: the data URL cannot be read")


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    """A web server whose answers the path names."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/moved"):
                self.send_response(302)
                self.send_header("Location", "/found/a%20b.txt?token=1")
                self.end_headers()
                return
            self.send_response(200 if self.path.startswith("/found") else 404)
            content = f"agent={self.headers['User-Agent'].partition('/')[0]}".encode()
            missing = 5 if "short" in self.path else 0
            self.send_header("Content-Length", str(len(content) + missing))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web_server:
        threading.Thread(target=web_server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{web_server.server_port}"
        web_server.shutdown()


def test_web_urls_are_downloaded(server: Server, web: str) -> None:
    assert server.output(what="read", image=f"{web}/found/a%20b.png?x=1") == ["a b.png", "agent=layerforge"]
    assert server.output(what="read", image=f"{web}/moved/name.txt")[1] == "agent=layerforge"
    assert server.output(what="read_all", images=[f"{web}/found/a", f"{web}/found/b"]) == ["agent=layerforge"] * 2
    name, content = server.output(what="read_file", file=f"{web}/found/x")
    assert name == "URLFile"
    assert content.startswith("agent=")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/missing?secret=1", "/missing cannot be downloaded: answered 404 Not Found"),
        ("/found/short", "cannot be downloaded"),
    ],
)
def test_a_download_that_fails_names_the_input_and_no_secret(server: Server, web: str, path: str, message: str) -> None:
    result = server.predict(what="read", image=web + path)
    assert result["status"] == "failed"
    assert result["error"].startswith("Input validation error: image: ")
    assert message in result["error"]
    assert "secret" not in result["error"]


def test_a_20_megabyte_file_comes_and_goes(server: Server) -> None:
    size = 20_000_000
    url = server.output(what="big", size=size)
    head, _, payload = url.partition(",")
    assert head == "data:application/octet-stream;base64"
    assert base64.b64decode(payload) == b"x" * size
    assert server.output(what="length", text="y" * size) == size
    assert len(server.output(what="big_text", size=size)) == size
    content = server.output(what="read", image=f"data:text/plain;base64,{base64.b64encode(b'z' * size).decode()}")[1]
    assert content == "z" * size


def test_one_connection_never_gets_a_conflict(server: Server) -> None:
    connection = server.connect()
    body = json.dumps({"input": {"what": "none"}})
    statuses = set()
    for _ in range(500):
        connection.request("POST", "/predictions", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        response.read()
        statuses.add(response.status)
    connection.close()
    assert statuses == {200}
