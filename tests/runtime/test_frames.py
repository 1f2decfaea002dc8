"""The two ends of the frame protocol, and what they make of broken bytes."""

from __future__ import annotations

import importlib.util
import json
import socket
import struct
import sys
import threading
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerforge_runtime.frames import PREFIX, Done, Failed, FrameBuffer, FrameError, Metric, Output
from tests.runtime.harness import RUNTIME


def load_channel() -> ModuleType:
    """The worker's end. It is not on this process's path, and needs nothing of its package."""
    path = RUNTIME / "layerforge_runtime/isolated/layerforge_worker/channel.py"
    spec = importlib.util.spec_from_file_location("worker_channel", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


channel = load_channel()


def frame(head: Any, body: bytes = b"") -> bytes:
    packed = head if isinstance(head, bytes) else json.dumps(head).encode()
    return PREFIX.pack(len(packed), len(body)) + packed + body


@given(st.lists(st.tuples(st.text(), st.binary(max_size=300)), max_size=5), st.lists(st.integers(1, 40), max_size=40))
def test_frames_survive_every_way_of_cutting_them(frames: list[tuple[str, bytes]], cuts: list[int]) -> None:
    data = b"".join(frame({"kind": "failed", "id": "x", "error": text}, body) for text, body in frames)
    buffer = FrameBuffer()
    found = []
    for size in [*cuts, len(data) or 1]:
        found += buffer.feed(data[:size])
        data = data[size:]
    found += buffer.feed(data)
    assert found == [(Failed("x", text), body) for text, body in frames]


@pytest.mark.parametrize(
    "data",
    [
        frame(b"not json"),
        frame({"kind": "unknown"}),
        frame({"kind": "done"}),
        frame({"kind": "done", "id": 5}),
        struct.pack(">IQ", 1 << 30, 0),
        b"Traceback (most recent call last):\n",
    ],
)
def test_what_is_no_frame_is_refused(data: bytes) -> None:
    with pytest.raises(FrameError):
        FrameBuffer().feed(data)


@given(st.binary(max_size=200))
def test_noise_is_refused_or_waited_for(data: bytes) -> None:
    try:
        FrameBuffer().feed(data)
    except FrameError:
        pass


def test_the_two_ends_understand_each_other() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        worker = channel.Channel(theirs)
        big = b"x" * 3_000_000

        def speak() -> None:
            worker.send("output", b"1", id="é\ud83d", files={"token": ["/path", True]})
            worker.send("metric", id="a", name="n", value=[1, {"x": None}], mode="append")
            worker.send("done", big, id="a")
            worker.close()

        thread = threading.Thread(target=speak)
        thread.start()
        buffer, found = FrameBuffer(), []
        while data := ours.recv(1 << 16):
            found += buffer.feed(data)
        thread.join()
    assert found == [
        (Output("é?", {"token": ("/path", True)}), b"1"),
        (Metric("a", "n", [1, {"x": None}], "append"), b""),
        (Done("a"), big),
    ]


@given(st.lists(st.binary(max_size=100), max_size=4))
def test_the_worker_reads_the_same_waiting_or_not(bodies: list[bytes]) -> None:
    data = b"".join(frame({"kind": "predict", "id": "x"}, body) for body in bodies)
    expected = [({"kind": "predict", "id": "x"}, body) for body in bodies]
    for waiting in (True, False):
        ours, theirs = socket.socketpair()
        worker = channel.Channel(theirs)
        with ours:
            ours.sendall(data)
            if waiting:
                assert [worker.receive() for _ in bodies] == expected
            else:
                assert worker.receive_ready() == expected
        assert (worker.receive() if waiting else worker.receive_ready()) is None
        worker.close()
