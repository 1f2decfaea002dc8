from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from layerforge.engines.choose import choose_engine, choose_first
from layerforge.engines.protocol import LOOPBACK, Container
from layerforge.errors import EngineError
from layerforge.oci import MANIFEST, Descriptor, Digest
from layerforge.progress import Reporter
from layerforge.store import Store

IMAGE = Descriptor(MANIFEST, Digest.of(b""), 0)


class Fake:
    def __init__(self, name: str, obstacle: str = "", failure: str = "") -> None:
        self.name = name
        self.obstacle = obstacle
        self.failure = failure
        self.container = object()

    def find_obstacle(self) -> str:
        return self.obstacle

    def start(
        self,
        store: Store,
        manifest: Descriptor,
        *,
        environment: Mapping[str, str],
        port: int | None = None,
        host: str = LOOPBACK,
        command: Sequence[str] | None = None,
        reporter: Reporter,
    ) -> Container:
        if self.failure:
            raise EngineError(self.failure)
        return self.container  # type: ignore[return-value]


def test_the_first_that_works() -> None:
    assert choose_first([Fake("a", "no daemon"), Fake("b"), Fake("c")]).name == "b"


def test_says_what_was_tried() -> None:
    with pytest.raises(EngineError, match=r"nothing here to run an image with\n  a: no daemon\n  b: not installed"):
        choose_first([Fake("a", "no daemon"), Fake("b", "not installed")])


def test_falls_back_when_one_does_not_keep_its_promise(store: Store, news) -> None:
    third = Fake("c")
    engine = choose_first([Fake("a", failure="a cannot"), Fake("b", "not installed"), third])
    assert engine.start(store, IMAGE, environment={}, reporter=news) is third.container
    assert news.lines == ["warn a cannot (trying c instead)"]


def test_the_last_failure_is_told(store: Store, news) -> None:
    engine = choose_first([Fake("a", failure="a cannot"), Fake("b", failure="b cannot")])
    with pytest.raises(EngineError, match="b cannot"):
        engine.start(store, IMAGE, environment={}, reporter=news)


def test_an_unknown_name() -> None:
    with pytest.raises(EngineError, match="no engine 'rkt'") as raised:
        choose_engine("rkt")
    assert raised.value.hint == "the engines are: docker, podman, sandbox"


def test_a_name_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAYERFORGE_ENGINE", "rkt")
    with pytest.raises(EngineError, match="no engine 'rkt'"):
        choose_engine()


def test_a_named_engine_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nothing.sock")
    with pytest.raises(EngineError, match="docker cannot be used: "):
        choose_engine("docker")
