"""Downloads that are cut, killed, wrong, too long, or come from a server without ranges; and a disk that is full."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from layerforge.errors import SourceError, StoreError, VerificationError
from layerforge.network import forbid_network
from layerforge.oci import Digest
from layerforge.sources.download import download
from layerforge.store import Store
from tests.conftest import require

DATA = b"".join(hashlib.sha256(str(number).encode()).digest() for number in range(1 << 15))  # 1 MiB
DIGEST = Digest.of(DATA)


class Server:
    """Serves DATA; ``ranges`` lists where each request began. The answer ends after ``cut`` bytes, if that is set."""

    def __init__(self) -> None:
        self.ranges: list[int] = []
        self.data = DATA
        self.cut = 0
        self.knows_ranges = True
        self.delay = 0.0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer._answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/file"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        match = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
        start = int(match[1]) if match and self.knows_ranges else 0
        self.ranges.append(start)
        if start >= len(self.data):
            request.send_error(416)
            return
        body = self.data[start:]
        request.send_response(206 if start else 200)
        request.send_header("Content-Length", str(len(body)))
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(self.data) - 1}/{len(self.data)}")
        request.end_headers()
        body = body[: self.cut or None]
        for position in range(0, len(body), 1 << 16):
            try:
                request.wfile.write(body[position : position + (1 << 16)])
            except OSError:
                return
            time.sleep(self.delay)


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture
def get(server: Server, store: Store) -> Callable[[], bytes]:
    return lambda: download(store, [server.url], DIGEST, size=len(DATA), name="file").read_bytes()


def leave_partial(store: Store, data: bytes) -> None:
    store.partial_path(DIGEST).write_bytes(data)


def leftovers(store: Store) -> list[Path]:
    return [*(store.root / "partial/sha256").iterdir(), *(store.root / "materials/sha256").iterdir()]


def test_a_cut_connection_is_taken_up(server: Server, get: Callable[[], bytes], store: Store) -> None:
    server.cut = 400_000
    assert get() == DATA
    assert server.ranges == [0, 1 << 18, 2 << 18, 3 << 18], "what of a portion was read before the cut is lost"
    assert leftovers(store) == [store.material_path(DIGEST)]


def test_what_another_process_left_is_taken_up(server: Server, get: Callable[[], bytes], store: Store) -> None:
    leave_partial(store, DATA[:300_000])
    assert get() == DATA
    assert server.ranges == [300_000]


@pytest.mark.parametrize("left", [b"x" * 1000, DATA[:5000] + b"x", DATA + b"more", b"x" * len(DATA)])
def test_wrong_leftovers_cost_a_request_and_no_more(
    server: Server, get: Callable[[], bytes], store: Store, left: bytes
) -> None:
    leave_partial(store, left)
    assert get() == DATA
    assert server.ranges[-1] == 0
    assert len(server.ranges) <= 2


def test_whole_leftovers_are_recognised(server: Server, get: Callable[[], bytes], store: Store) -> None:
    leave_partial(store, DATA)
    assert get() == DATA


def test_a_server_without_ranges_gives_it_all_again(server: Server, get: Callable[[], bytes], store: Store) -> None:
    server.knows_ranges = False
    leave_partial(store, DATA[:300_000])
    assert get() == DATA
    assert server.ranges == [0]


@pytest.mark.parametrize("data", [DATA[:-1] + b"x", DATA + b"x", b"<html>not found</html>"])
def test_other_bytes_are_refused_and_not_kept(
    server: Server, get: Callable[[], bytes], store: Store, data: bytes
) -> None:
    server.data = data
    with pytest.raises(SourceError) as caught:
        get()
    assert caught.value.where == server.url
    assert not store.material_path(DIGEST).exists()
    assert isinstance(caught.value, VerificationError)
    assert "locked" in caught.value.hint
    assert leftovers(store) == []


def test_a_server_that_gives_nothing_is_given_up(server: Server, get: Callable[[], bytes], store: Store) -> None:
    server.data = b""
    leave_partial(store, DATA[:10])
    with pytest.raises(SourceError):
        get()
    assert len(server.ranges) <= 2


def test_the_next_mirror_continues(server: Server, store: Store) -> None:
    leave_partial(store, DATA[:300_000])
    path = download(store, ["http://127.0.0.1:1/gone", server.url], DIGEST, size=len(DATA))
    assert path.read_bytes() == DATA
    assert server.ranges == [300_000]


def test_two_at_once_fetch_it_once(server: Server, get: Callable[[], bytes]) -> None:
    server.delay = 0.02
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: get(), range(4))) == [DATA] * 4
    assert server.ranges == [0]


def test_a_killed_process_loses_nothing_that_it_wrote(server: Server, get: Callable[[], bytes], store: Store) -> None:
    server.delay = 0.05
    script = (
        "import sys; from pathlib import Path; from layerforge.store import Store; from layerforge.oci import Digest;"
        "from layerforge.sources.download import download;"
        "download(Store(Path(sys.argv[1])), [sys.argv[2]], Digest(sys.argv[3]), size=int(sys.argv[4]))"
    )
    command = [sys.executable, "-c", script, str(store.root), server.url, str(DIGEST), str(len(DATA))]
    process = subprocess.Popen(command)
    deadline = time.monotonic() + 30
    path = store.partial_path(DIGEST)
    while not (path.exists() and path.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    left = path.stat().st_size
    assert 0 < left < len(DATA)
    server.delay = 0
    assert get() == DATA
    assert server.ranges == [0, left]


def test_a_full_disk_keeps_nothing_of_it(server: Server, tmp_path: Path) -> None:
    require(os.geteuid() == 0, "only root can mount a small disk")
    home = tmp_path / "home"
    home.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(home)], capture_output=True)
    require(mounted.returncode == 0, "mounting is not allowed here")
    try:
        store = Store(home)
        with pytest.raises(StoreError, match="no space left") as caught:
            download(store, [server.url], DIGEST, size=len(DATA))
        assert "LAYERFORGE_HOME" in caught.value.hint
        assert leftovers(store) == []
        store.close()
    finally:
        subprocess.run(["umount", "--lazy", str(home)], check=True)


def test_what_is_forbidden_is_not_tried(server: Server, get: Callable[[], bytes]) -> None:
    with forbid_network(), pytest.raises(SourceError, match="--offline") as caught:
        get()
    assert "layerforge fetch" in caught.value.hint
    assert server.ranges == []
    get()
    with forbid_network():
        assert get() == DATA


def test_old_leftovers_are_removed(store: Store) -> None:
    leave_partial(store, b"old")
    os.utime(store.partial_path(DIGEST), (0, 0))
    (store.root / "partial/sha256/new").write_bytes(b"new")
    other = Store(store.root)
    assert other.scratch.exists(), "asking for it sweeps"
    other.close()
    assert [path.name for path in leftovers(store)] == ["new"]
