"""The two ends of the frame protocol, and what they make of broken bytes."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from layerforge_worker.channel import Channel
from layerforge_worker.framing import HEAD_LIMIT, LARGE, PREFIX, Frame, FrameBuffer, FrameError, pack

from layerforge_runtime import frames
from layerforge_runtime.frames import Done, Failed, Metric, Output


def frame(head: Any, body: bytes = b"") -> bytes:
    packed = head if isinstance(head, bytes) else json.dumps(head).encode()
    return PREFIX.pack(len(packed), len(body)) + packed + body


def feed(buffer: FrameBuffer, data: bytes) -> list[Frame]:
    """Give ``data`` to ``buffer`` as a socket would; the frames that are complete then."""
    found = []
    while True:
        room = buffer.room()
        size = min(len(room), len(data))
        room[:size] = data[:size]
        buffer.filled(size)
        data = data[size:]
        while (each := buffer.next()) is not None:
            found.append(each)
        if not data:
            return found


parts = st.one_of(st.binary(max_size=300), st.sampled_from([b"", b"x" * LARGE, b"y" * (5 * LARGE + 1)]))


@given(st.lists(st.tuples(st.binary(max_size=40), parts), max_size=5), st.lists(st.integers(1, 70_000), max_size=40))
def test_frames_survive_every_way_of_cutting_them(expected: list[Frame], cuts: list[int]) -> None:
    data = b"".join(piece for head, body in expected for piece in pack(head, body))
    buffer = FrameBuffer()
    found: list[Frame] = []
    for size in [*cuts, len(data) or 1]:
        found += feed(buffer, data[:size])
        data = data[size:]
    assert found == expected


@given(st.binary(max_size=200))
def test_noise_is_refused_or_waited_for(data: bytes) -> None:
    buffer = FrameBuffer()
    try:
        feed(buffer, data)
    except FrameError:
        pass
    assert len(buffer.room()) <= 4 * LARGE  # whatever length the noise announced


@pytest.mark.parametrize("data", [struct.pack(">IQ", HEAD_LIMIT + 1, 0), b"Traceback (most recent call last):\n"])
def test_lengths_that_no_frame_has_are_refused(data: bytes) -> None:
    with pytest.raises(FrameError, match="a frame cannot have"):
        feed(FrameBuffer(), data)


def read_all(connection: socket.socket) -> tuple[list[tuple[Any, bytes]], str]:
    """What the server's end makes of everything in ``connection``, and what it says when it stops."""

    async def read() -> tuple[list[tuple[Any, bytes]], str]:
        found: list[tuple[Any, bytes]] = []
        broken: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        channel = frames.Channel(connection, lambda *each: found.append(each), broken.set_result)
        reason = await asyncio.wait_for(broken, 10)
        channel.close()
        return found, reason

    return asyncio.run(read())


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
def test_a_worker_that_breaks_the_protocol_is_given_up(data: bytes) -> None:
    ours, theirs = socket.socketpair()
    theirs.sendall(frame({"kind": "failed", "id": "x", "error": "e"}) + data)
    with theirs:
        found, reason = read_all(ours)
    assert found == [(Failed("x", "e"), b"")]
    assert reason.startswith("broke its connection to the server: ")


def test_the_two_ends_understand_each_other() -> None:
    ours, theirs = socket.socketpair()
    big = b"x" * 3_000_000

    def speak() -> None:
        worker = Channel(theirs)
        worker.send("output", b"1", id="é\ud83d", files={"token": ["/path", True]})
        worker.send("metric", id="a", name="n", value=[1, {"x": None}], mode="append")
        worker.send_last("done", big, id="a")
        worker.close()

    thread = threading.Thread(target=speak)
    thread.start()
    found, reason = read_all(ours)
    thread.join()
    assert found == [
        (Output("é?", {"token": ("/path", True)}), b"1"),
        (Metric("a", "n", [1, {"x": None}], "append"), b""),
        (Done("a"), big),
    ]
    assert reason == "closed its connection to the server"


def test_last_frames_wait_for_each_other_but_keep_their_place() -> None:
    ours, theirs = socket.socketpair()
    worker = Channel(theirs)
    waiting: list[Any] = []
    worker.defer(waiting.append)
    worker.send_last("done", b"1", id="a")
    worker.send_last("done", b"2", id="b")
    assert len(waiting) == 1
    worker.send("output", b"3", id="c")  # takes them along
    worker.send_last("done", b"4", id="c")
    waiting.pop()()
    worker.close()
    assert [body for _, body in read_all(ours)[0]] == [b"1", b"2", b"3", b"4"]


@given(st.lists(st.binary(max_size=100), max_size=4))
def test_the_worker_reads_the_same_waiting_or_not(bodies: list[bytes]) -> None:
    data = b"".join(frame({"kind": "predict", "id": "x"}, body) for body in bodies)
    expected = [({"kind": "predict", "id": "x"}, body) for body in bodies]
    for waiting in (True, False):
        ours, theirs = socket.socketpair()
        worker = Channel(theirs)
        with ours:
            ours.sendall(data)
            if waiting:
                assert [worker.receive() for _ in bodies] == expected
            else:
                assert worker.receive_ready() == (expected, True)
        if waiting:
            assert worker.receive() is None
        else:
            assert worker.receive_ready() == ([], False)
        worker.close()


def test_looking_for_a_cancel_loses_no_frame() -> None:
    ours, theirs = socket.socketpair()
    worker = Channel(theirs)
    with ours:
        ours.sendall(frame({"kind": "predict", "id": "a"}) + frame({"kind": "cancel", "id": "a"})[:20])
        assert worker.receive() == ({"kind": "predict", "id": "a"}, b"")
        assert not worker.find_cancel("a")
        ours.sendall(frame({"kind": "cancel", "id": "a"})[20:] + frame({"kind": "stop"}))
        assert worker.find_cancel("a")
        assert not worker.find_cancel("b")
        assert worker.receive() == ({"kind": "cancel", "id": "a"}, b"")
        assert worker.receive() == ({"kind": "stop"}, b"")
    worker.close()


def test_what_the_socket_does_not_take_is_sent_later_in_order() -> None:
    ours, theirs = socket.socketpair()
    sizes = [random.Random(1).randrange(200_000) for _ in range(100)]

    async def send() -> None:
        channel = frames.Channel(ours, lambda *_: None, lambda _: None)
        for size in sizes:
            channel.send("predict", bytes(size), id=str(size))
        reading = asyncio.to_thread(lambda: [received() for _ in sizes])
        assert await asyncio.wait_for(reading, 10) == [(str(size), size) for size in sizes]
        channel.close()

    def received() -> tuple[str, int]:
        message = worker.receive()
        assert message is not None
        return message[0]["id"], len(message[1])

    worker = Channel(theirs)
    asyncio.run(send())
    worker.close()
