"""A model built and started, for the commands that talk to it."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec

from layerforge.cli.terminal import Terminal
from layerforge.documents import load_schema
from layerforge.engines.choose import choose_engine
from layerforge.engines.protocol import LOOPBACK, Container
from layerforge.errors import EngineError
from layerforge.forge import BuiltModel, Options, build_model, find_project, load_config
from layerforge.platforms import host_platform
from layerforge.prediction import parse_inputs, predict, wait_until_ready, write_output
from layerforge.store import Store


class Running(msgspec.Struct):
    """A started model. ``inputs`` are checked against its schema."""

    container: Container
    built: BuiltModel
    inputs: dict[str, Any]
    terminal: Terminal

    def wait_until_ready(self, seconds: float) -> None:
        """Return once setup() is over.

        Raises:
            EngineError: it failed, or took longer than ``seconds``.
        """
        wait_until_ready(self.container, seconds, self.terminal)


@contextmanager
def start_model(
    directory: Path | None,
    config_name: str,
    chosen: Options,
    engine_name: str | None,
    environment: Mapping[str, str],
    *,
    inputs: Sequence[str] | None = None,
    port: int | None = None,
    host: str = LOOPBACK,
) -> Iterator[Running]:
    """Build and start the model; stop it at the end, however that comes about.

    ``inputs`` are ``name=value`` items, checked before anything is built; None for a model that is only served.
    """
    with ExitStack() as stack:
        terminal = stack.enter_context(Terminal())
        folder = find_project(directory, config_name)
        config = load_config(folder, config_name, terminal)
        parsed = parse_inputs(inputs, load_schema(folder, config, chosen.schema)) if inputs is not None else {}
        engine = choose_engine(engine_name)
        store = Store()
        stack.callback(store.close)
        here = msgspec.structs.replace(chosen, platforms=(host_platform(),))
        built = build_model(folder, config, store, terminal, here)
        stack.enter_context(_end_on_sigterm())
        terminal.note(f"starting in {engine.name}")
        container = stack.enter_context(
            engine.start(store, built.manifest, environment=environment, port=port, host=host, reporter=terminal)
        )
        yield Running(container, built, parsed, terminal)


def predict_once(running: Running, output: Path | None) -> None:
    """Run one prediction; data goes to stdout or to files, whose names are noted.

    Raises:
        EngineError: the prediction failed.
    """
    prediction = predict(running.container.url, running.inputs)
    if prediction.logs:
        running.terminal.note(prediction.logs.rstrip("\n"))
    for path in write_output(prediction, running.built.schema, output, sys.stdout):
        running.terminal.note(f"written: {path}")


def stream_logs(running: Running) -> None:
    """Copy the model's output to stderr until it ends or Ctrl-C.

    Raises:
        EngineError: it ended by itself.
    """
    running.container.follow(lambda text: sys.stderr.write(text))
    try:
        while (status := running.container.wait(0.5)) is None:
            pass
    except KeyboardInterrupt:
        running.terminal.note("stopping")
        return
    if status:
        raise EngineError(f"the server ended with status {status}")


@contextmanager
def _end_on_sigterm() -> Iterator[None]:
    """Let SIGTERM unwind the stack as Ctrl-C does, so that nothing is left running."""

    def unwind(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, unwind)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
