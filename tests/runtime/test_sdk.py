"""``import cog``: the names that models use, as far as they work without a server."""

from __future__ import annotations

import io
import pathlib
import pickle
import subprocess
import sys
import typing
from dataclasses import dataclass, fields
from typing import Any

import pytest

import cog
import cog.errors
import cog.exceptions
import cog.types
from cog.scope import Scope
from tests.runtime.harness import RUNTIME

NAMES = [
    *("AsyncConcatenateIterator", "BaseModel", "BasePredictor", "BaseRunner", "CancelationException"),
    *("ConcatenateIterator", "ExperimentalFeatureWarning", "FieldInfo", "File", "Input", "Opaque", "Path", "Secret"),
    *("URLFile", "URLPath", "__version__", "concurrent", "current_scope", "emit_metric", "streaming"),
]
BAD_METRICS = ["", "_a", "a_", "a__b", "a..b", ".a", "a.", "a b", "1a", "a.b.c.d.e", "x" * 129, "predict_time", "cog.x"]


def test_the_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert sorted(cog.__all__) == sorted(NAMES)
    assert all(getattr(cog, name) is not None for name in NAMES)
    assert set(NAMES) <= set(dir(cog))
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = cog.Nothing  # type: ignore[attr-defined]


def test_legacy_names_say_so_once_and_importing_the_others_is_silent() -> None:
    script = (
        "from cog import *\nfrom cog import BaseRunner, Input\n"
        "from cog import ExperimentalFeatureWarning, emit_metric\nimport cog; cog.emit_metric('x', 1)"
    )
    result = subprocess.run([sys.executable, "-c", script], cwd=RUNTIME, capture_output=True, text=True, check=True)
    assert [line.partition(":")[0] for line in result.stderr.splitlines()] == ["cog", "cog"]


def test_importing_it_is_cheap() -> None:
    script = (
        "import sys; import cog; print(len([n for n in sys.modules if n.startswith('cog')]), 'typing' in sys.modules)"
    )
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.append({str(RUNTIME)!r}); {script}"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout == "1 False\n"


def test_input() -> None:
    info = cog.Input(description="d", ge=1, le=2.5, choices=["a"], deprecated=True)
    assert isinstance(info, cog.FieldInfo)
    assert (info.default, info.description, info.ge, info.le, info.choices, info.deprecated) == (
        *(None, "d", 1, 2.5),
        *(["a"], True),
    )
    assert cog.Input(3) == cog.Input(default=3) != cog.Input(default=4)
    assert pickle.loads(pickle.dumps(info)) == info
    with pytest.raises(AttributeError):
        info.default = 5
    with pytest.raises(TypeError, match="default_factory"):
        cog.Input(default_factory=list)


def test_secret() -> None:
    secret = cog.Secret("hidden")
    assert (str(secret), repr(secret), f"{secret}") == ("**********", "Secret(**********)", "**********")
    assert secret.get_secret_value() == "hidden"
    assert secret == cog.Secret(secret_value="hidden") != cog.Secret("other")
    assert len({secret, cog.Secret("hidden")}) == 1
    assert (str(cog.Secret()), cog.Secret().get_secret_value()) == ("", None)
    assert pickle.loads(pickle.dumps(secret)) == secret
    with pytest.raises(AttributeError):
        secret.secret_value = "x"


def test_base_model() -> None:
    class Output(cog.BaseModel):
        text: str
        score: float = 0.5

    class More(Output, frozen=False):
        extra: str | None = None

    assert [field.name for field in fields(More)] == ["text", "score", "extra"]  # type: ignore[arg-type]
    assert More(text="a") == More("a", 0.5, None)  # type: ignore[call-arg]
    assert repr(Output(text="a")).endswith("Output(text='a', score=0.5)")  # type: ignore[call-arg]

    class Manual(cog.BaseModel, auto_dataclass=False):
        def __init__(self) -> None:
            self.x = 1

    assert Manual().x == 1
    with pytest.raises(ValueError, match="auto_dataclass"):

        class Broken(Output, auto_dataclass=False): ...

    @dataclass
    class Mixin:
        y: int

    with pytest.raises(TypeError, match="Cannot mixin dataclass"):

        class Mixed(cog.BaseModel, Mixin): ...  # type: ignore[misc]

    class Plain: ...

    with pytest.raises(TypeError, match="Primary base class"):

        class Second(Plain, cog.BaseModel): ...


def test_runners_old_and_new() -> None:
    class New(cog.BaseRunner):
        def run(self, x: int) -> int:
            return x + 1

    class Old(cog.BasePredictor):
        def predict(self, x: int) -> int:
            return x + 2

    assert New().run(1) == 2
    with pytest.warns(DeprecationWarning, match="use run"):
        assert New().predict(1) == 2
    assert Old().predict(1) == Old().run(1) == 3
    with pytest.raises(NotImplementedError):
        cog.BaseRunner().run()
    assert typing.get_type_hints(cog.BaseRunner.setup)["return"] is type(None)
    New().record_metric("x", 1)  # outside of a prediction: nothing happens
    assert New().scope.context == {}


def test_decorators() -> None:
    @cog.streaming
    def first() -> None: ...

    @cog.streaming()
    @cog.concurrent(max=4)
    async def second() -> None: ...

    assert second.__cog_concurrent_max__ == 4  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="async function"):
        cog.concurrent(max=2)(first)
    with pytest.raises(ValueError, match="at least 1"):
        cog.concurrent(max=0)
    with pytest.raises(TypeError, match="integer"):
        cog.concurrent(max=True)


def test_metrics() -> None:
    sent: list[tuple[str, Any, str]] = []
    scope = Scope(lambda *each: sent.append(each), {"user": "me"})
    scope.record_metric("a.b_c", 1)
    scope.metrics.record("n", 1, mode="increment")
    scope.metrics["list"] = [1]
    del scope.metrics["list"]
    scope.metrics["list"] = "another type, after it was deleted"
    assert sent == [
        ("a.b_c", 1, "replace"),
        ("n", 1, "incr"),
        ("list", [1], "replace"),
        ("list", None, "replace"),
        ("list", "another type, after it was deleted", "replace"),
    ]
    for name in (
        "",
        "_a",
        "a_",
        "a__b",
        "a..b",
        ".a",
        "a.",
        "a b",
        "1a",
        "a.b.c.d.e",
        "x" * 129,
        "predict_time",
        "cog.x",
    ):
        with pytest.raises(ValueError):
            scope.record_metric(name, 1)
    with pytest.raises(TypeError, match="without deleting first"):
        scope.record_metric("n", "text")
    with pytest.raises(TypeError, match="Unsupported"):
        scope.record_metric("o", object())
    with pytest.raises(TypeError, match="Increment"):
        scope.record_metric("s", "x", mode="incr")
    with pytest.raises(TypeError, match="mode"):
        scope.record_metric("s", 1, mode="other")


def test_paths() -> None:
    path = cog.Path("/a") / "b.png"
    assert isinstance(path, cog.Path)
    assert isinstance(path, pathlib.Path)
    assert cog.Path.validate("plain.txt") == cog.Path("plain.txt")
    url = cog.Path.validate("data:text/plain;base64,aGVsbG8=")
    assert isinstance(url, cog.URLPath)
    assert str(url).startswith("data:")
    local = url.convert()
    assert local.read_text() == "hello"
    assert local.name.endswith("file.txt")
    assert url.convert() is local
    url.unlink()
    assert not local.exists()
    assert pickle.loads(pickle.dumps(path)) == path


def test_files() -> None:
    assert cog.File.validate("data:,hello").read() == b"hello"
    opened = io.BytesIO(b"x")
    assert cog.File.validate(opened) is opened
    with pytest.raises(ValueError, match="'ftp' is not a valid URL scheme"):
        cog.File.validate("ftp://example.org/x")
    lazy = cog.File.validate("https://example.org/dir/name.bin?x=1")
    assert isinstance(lazy, cog.URLFile)
    assert lazy.name == "name.bin"
    assert pickle.loads(pickle.dumps(lazy)).name == "name.bin"
    assert "https://example.org" in repr(lazy)
    with pytest.raises(ValueError):
        cog.URLFile("data:,x")


def test_names_of_files_from_urls() -> None:
    assert cog.types.get_filename("https://example.org/a/b%20c.txt?q") == "b c.txt"
    assert cog.types.get_filename("data:image/png;base64,x") == "file.png"
    name = cog.types.get_filename("https://example.org/" + "é" * 300 + ".txt")
    assert len(name.encode()) <= 200
    assert name.endswith("~.txt")


def test_iterators_and_exceptions() -> None:
    assert typing.get_origin(cog.ConcatenateIterator[str]) is cog.ConcatenateIterator
    assert typing.get_args(cog.AsyncConcatenateIterator[str]) == (str,)
    assert cog.CancelationException is cog.exceptions.CancelationException
    assert not issubclass(cog.CancelationException, Exception)
    assert issubclass(cog.errors.ConfigDoesNotExist, cog.errors.CogError)
    assert repr(cog.Opaque) == "cog.Opaque"
