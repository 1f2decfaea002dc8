"""The kinds of models: classes and functions, synchronous and not, old and new, in strange company."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.runtime.harness import RUNTIME, Serve


def test_a_function(serve: Serve) -> None:
    server = serve(
        """
        from cog import Input
        def run(name: str = Input(default="world"), *, mark: str = Input(default="!")) -> str:
            return f"hello {name}{mark}"
        """,
        reference="run.py:run",
    )
    assert server.output() == "hello world!"
    assert server.output(name="you", mark="?") == "hello you?"


def test_a_legacy_predictor_in_a_subdirectory(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "shared.py").write_text("GREETING = 'hello'\n")
    server = serve(
        """
        from cog import BasePredictor, Input
        from shared import GREETING
        class Predictor(BasePredictor):
            def predict(self, name: str = Input(description="x", default="old")) -> str:
                return f"{GREETING} {name}"
        """,
        reference="models/predict.py:Predictor",
    )
    assert server.output() == "hello old"


def test_defaults_are_there_behind_decorators_and_for_calls_of_the_models_own(serve: Serve) -> None:
    server = serve(
        """
        import functools, inspect
        from cog import BaseRunner, Input
        def decorated(function):
            @functools.wraps(function)
            def wrapper(*args, **kwargs):
                return function(*args, **kwargs)
            return wrapper
        class Runner(BaseRunner):
            PRESET = Input(default=5)
            def setup(self):
                self.warm = self.run(name="warm")
                self.default = inspect.signature(self.run).parameters["number"].default
            @decorated
            def run(self, name: str = "x", number: int = Input(default=7, description="n")) -> str:
                found = [getattr(self, "warm", ""), getattr(self, "default", ""), self.PRESET.default]
                return f"{name} {number} {found}"
        """
    )
    assert server.output() == "x 7 [\"warm 7 ['', '', 5]\", 7, 5]"


def test_an_asynchronous_model(serve: Serve) -> None:
    server = serve(
        """
        import asyncio
        from cog import AsyncConcatenateIterator, BaseRunner
        class Runner(BaseRunner):
            async def setup(self):
                await asyncio.sleep(0.01)
                self.loop = asyncio.get_running_loop()
            async def run(self, what: str = "value") -> AsyncConcatenateIterator[str]:
                assert asyncio.get_running_loop() is self.loop
                print("inside")
                if what == "raise":
                    raise ValueError("later")
                if what == "long":
                    await asyncio.sleep(60)
                for part in ("a", "b"):
                    await asyncio.sleep(0.01)
                    yield part
        """
    )
    assert server.predict()["logs"] == "inside\n"
    assert server.output() == ["a", "b"]
    result = server.predict(what="raise")
    assert (result["error"], result["logs"][:7]) == ("Prediction failed: ValueError: later", "inside\n")
    body = {"id": "long", "input": {"what": "long"}}
    answers = []
    thread = threading.Thread(target=lambda: answers.append(server.request("POST", "/predictions", body).json))
    thread.start()
    server.wait_for("BUSY")
    server.request("POST", "/predictions/long/cancel")
    thread.join(5)
    assert answers[0]["status"] == "canceled"
    assert server.output() == ["a", "b"]


def test_predictions_side_by_side(serve: Serve) -> None:
    server = serve(
        """
        import asyncio
        from cog import BaseRunner, concurrent, current_scope
        class Runner(BaseRunner):
            @concurrent(max=4)
            async def run(self, name: str) -> str:
                print("start", name)
                await asyncio.sleep(0.4)
                current_scope().record_metric("name", name)
                print("end", name)
                return name
        """
    )
    answers: list[dict[str, object]] = []
    threads = [threading.Thread(target=lambda name=name: answers.append(server.predict(name=name))) for name in "abcd"]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    server.wait_for("BUSY", seconds=2)
    assert server.request("POST", "/predictions", {"input": {"name": "e"}}).status == 409
    for thread in threads:
        thread.join()
    assert time.monotonic() - started < 1.4
    assert {(each["output"], each["logs"], each["metrics"]["name"]) for each in answers} == {  # type: ignore[index]
        (name, f"start {name}\nend {name}\n", name) for name in "abcd"
    }


def test_a_stream_of_text(serve: Serve) -> None:
    server = serve(
        """
        from cog import BaseRunner, ConcatenateIterator, streaming
        class Runner(BaseRunner):
            @streaming
            def run(self, words: int = 3) -> ConcatenateIterator[str]:
                for number in range(words):
                    yield f"{number} "
        """
    )
    assert server.output() == ["0 ", "1 ", "2 "]


def test_a_list_stays_a_list_when_the_model_returns_one_value(serve: Serve) -> None:
    server = serve(
        """
        from typing import List
        def run() -> List[str]:
            return "alone"
        """,
        reference="run.py:run",
    )
    assert server.output() == ["alone"]


def test_weights_reach_setup(serve: Serve) -> None:
    server = serve(
        """
        class Runner:
            def setup(self, weights=None):
                self.weights = weights
            def run(self) -> str:
                return str(self.weights)
        """,
        environment={"COG_WEIGHTS": "https://example.org/w.tar"},
    )
    assert server.output() == "https://example.org/w.tar"


def test_without_a_document_inputs_go_through_unchecked(serve: Serve) -> None:
    server = serve(
        """
        from cog import BaseRunner, Path
        class Runner(BaseRunner):
            def run(self, image: Path, more=1):
                return [image.read_text(), more]
        """,
        schema=False,
    )
    assert server.output(image="data:,x", more={"any": "thing"}) == ["x", {"any": "thing"}]
    assert server.request("GET", "/openapi.json").status == 503
    assert "TypeError" in server.predict(image="data:,x", unknown=1)["error"]


HOSTILE = "raise RuntimeError('the module of the model was imported instead of ours')\n"


@pytest.mark.parametrize("asynchronous", [False, True])
def test_modules_beside_the_model_do_not_get_in_the_way(serve: Serve, tmp_path: Path, asynchronous: bool) -> None:
    names = [
        *("json", "msgspec", "granian", "click", "argparse", "asyncio", "logging", "socket", "struct", "typing"),
        *("layerforge_runtime", "layerforge_worker", "worker", "supervisor", "frames", "settings", "mimetypes"),
        *("urllib", "http", "base64", "tempfile", "dataclasses", "random", "concurrent", "signal"),
    ]
    for name in names:
        (tmp_path / f"{name}.py").write_text(HOSTILE)
    (tmp_path / "helper.py").write_text("VALUE = 42\n")
    server = serve(
        f"""
        from cog import BaseRunner, Input, Path
        class Runner(BaseRunner):
            {"async " if asynchronous else ""}def run(self, image: Path = Input(description="x")) -> str:
                import helper, json
                return json.dumps([image.read_text(), helper.VALUE])
        """
    )
    assert server.output(image="data:text/plain,x") == '["x", 42]'


def test_the_worker_sees_none_of_the_servers_packages(serve: Serve) -> None:
    server = serve(
        """
        import sys
        from cog import BaseRunner
        class Runner(BaseRunner):
            def run(self) -> dict:
                return {
                    "loaded": sorted(set(sys.modules) & {"granian", "msgspec", "layerforge_runtime", "click"}),
                    "argv": sys.argv,
                    "main": getattr(sys.modules["__main__"], "__file__", None),
                    "path": [entry for entry in sys.path if "layerforge_runtime" in entry],
                }
        """
    )
    assert server.output() == {"loaded": [], "argv": ["-c"], "main": None, "path": []}


def test_packages_of_the_model_do_not_get_in_the_way(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> None:
    # As in an image: the server's packages beside the SDK, the model's in the site-packages of another environment.
    image = tmp_path_factory.mktemp("image")
    (image / "lib").mkdir()
    (image / "sdk").mkdir()
    for package in ("granian", "msgspec"):
        folder = Path(importlib.import_module(package).__file__ or "").parent
        (image / "lib" / package).symlink_to(folder)
    (image / "lib/layerforge_runtime").symlink_to(RUNTIME / "layerforge_runtime")
    shutil.copytree(RUNTIME / "cog", image / "sdk/cog")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", image / "env"], check=True)
    packages = next((image / "env/lib").glob("python3*/site-packages"))
    (packages / "msgspec.py").write_text("__version__ = '0.1.0'\n")
    for name in ("granian", "layerforge_runtime", "layerforge_worker", "json", "asyncio", "typing"):
        (packages / f"{name}.py").write_text(HOSTILE)
    (packages / "cog.py").write_text(HOSTILE)
    server = serve(
        """
        import asyncio, json, typing
        import msgspec
        from cog import BaseRunner, Path
        class Runner(BaseRunner):
            async def healthcheck(self):
                return True
            def run(self, image: Path) -> str:
                return json.dumps([msgspec.__version__, image.read_text()])
        """,
        python=str(image / "env/bin/python"),
        environment={"PYTHONPATH": str(image / "sdk")},
    )
    assert server.output(image="data:,x") == '["0.1.0", "x"]'
    assert server.health["status"] == "READY"


@pytest.mark.parametrize("asynchronous", [False, True])
def test_the_spans_of_a_model_go_on_with_the_trace_of_the_request(serve: Serve, asynchronous: bool) -> None:
    server = serve(
        f"""
        from opentelemetry import propagate, trace
        class Runner:
            {"async " if asynchronous else ""}def run(self) -> str:
                return f"{{trace.get_current_span().get_span_context().trace_id:032x}}"
        """
    )
    trace = "0af7651916cd43dd8448eb211c80319c"
    headers = {"traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    assert server.request("POST", "/predictions", {"input": {}}, headers).json["output"] == trace
    assert server.output() == "0" * 32


def test_pydantic_models_as_outputs(serve: Serve) -> None:
    server = serve(
        """
        import datetime, pydantic
        from typing import Any, Optional
        class Inner(pydantic.BaseModel):
            when: datetime.date
        class Output(pydantic.BaseModel):
            text: str
            inner: Inner
            nothing: Optional[int] = None
        def run() -> Any:
            return [Output(text="é", inner=Inner(when=datetime.date(2024, 1, 2)))]
        """,
        reference="run.py:run",
    )
    assert server.output() == [{"text": "é", "inner": {"when": "2024-01-02"}, "nothing": None}]
