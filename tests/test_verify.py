from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerforge.errors import VerificationError
from layerforge.oci import Digest
from layerforge.verify import VerifiedReader

DATA = b"some bytes that are checked" * 100


def reader(found: bytes, promised: bytes = DATA, size: int | None = -1) -> VerifiedReader:
    source = io.BytesIO(found)
    return VerifiedReader(source, Digest.of(promised), len(promised) if size == -1 else size)  # type: ignore[arg-type]


def test_right_bytes_pass() -> None:
    assert reader(DATA).readall() == DATA
    assert reader(DATA, size=None).readall() == DATA
    assert reader(b"", b"").readall() == b""
    assert reader(b"", b"", None).readall() == b""


@pytest.mark.parametrize("size", [-1, None])
@pytest.mark.parametrize("found", [DATA[:-1], DATA + b"x", b"", b"X" + DATA[1:], DATA[:-1] + b"X", DATA * 2])
def test_any_other_bytes_raise(found: bytes, size: int | None) -> None:
    with pytest.raises(VerificationError):
        reader(found, size=size).readall()


def test_the_error_says_what_was_read_and_what_was_found() -> None:
    wrong = VerifiedReader(io.BytesIO(b"b"), Digest.of(b"a"), 1, what="the layer")  # type: ignore[arg-type]
    with pytest.raises(VerificationError) as caught:
        wrong.read()
    assert str(caught.value) == f"the layer: content has digest {Digest.of(b'b')}, not {Digest.of(b'a')}"


@pytest.mark.parametrize("found", [b"X" + DATA[1:], DATA + b"more"])
def test_the_last_bytes_are_not_handed_out_when_something_is_wrong(found: bytes) -> None:
    """Whoever reads exactly the announced size, and never asks for more, is told all the same."""
    wrong = reader(found)
    buffer = memoryview(bytearray(len(DATA)))
    half = len(DATA) // 2
    assert wrong.readinto(buffer[:half]) == half
    with pytest.raises(VerificationError):
        wrong.readinto(buffer[half:])


def test_too_many_bytes_are_noticed_at_once() -> None:
    endless = VerifiedReader(open("/dev/zero", "rb", buffering=0), Digest.of(b""), 10_000)  # noqa: SIM115
    with endless, pytest.raises(VerificationError, match="more than the 10,000 bytes"):
        for _ in range(3):
            endless.read(4096)


def test_closing_closes_the_source() -> None:
    source = io.BytesIO(DATA)
    with VerifiedReader(source, Digest.of(DATA)):  # type: ignore[arg-type]
        pass
    assert source.closed


@given(st.binary(max_size=300), st.lists(st.integers(1, 50), min_size=1), st.integers(0, 299))
def test_one_flipped_bit_is_always_noticed(data: bytes, steps: list[int], place: int) -> None:
    def drain(found: bytes) -> bytes:
        got, checked = b"", reader(found, data)
        while True:
            piece = checked.read(steps[len(got) % len(steps)])
            if not piece:
                return got
            got += piece

    assert drain(data) == data
    if place < len(data):
        with pytest.raises(VerificationError):
            drain(data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :])
