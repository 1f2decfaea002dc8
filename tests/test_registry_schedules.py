"""Pushes through a proxy that does everything wrong that networks and registries do wrong, by seeded schedules."""

from __future__ import annotations

import base64
import json
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from layerforge.errors import LayerforgeError
from layerforge.image import Image
from layerforge.reference import Reference
from layerforge.registry import push_image, retry
from layerforge.store import Store
from layerforge.validate import validate_image
from tests.loopback import LoopbackServer
from tests.made_images import make_image
from tests.registry_servers import (
    PASSWORD,
    USER,
    Changed,
    Cut,
    Proxy,
    Reply,
    Request,
    Stall,
    Trick,
    Twice,
    serve_registry_with_password,
)
from tests.test_registry import News, Remote, tag_of

pytestmark = pytest.mark.registry

MOST_FAULTS = 12
"""Faults in one schedule; after these the network is as good as new."""


class Stranger(LoopbackServer):
    """Another host, to which requests are redirected. ``secrets`` are what it was given of ours."""

    def __init__(self) -> None:
        super().__init__()
        self.secrets: list[str] = []
        self.url = f"http://{self.address}"

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        self.secrets += handler.headers.get_all("Authorization", [])
        handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        handler.send_response(404)
        handler.send_header("Content-Length", "0")
        handler.end_headers()


class Schedule:
    """Decides by ``seed`` what goes wrong, and how often; ``told`` remembers it for a failed assertion."""

    def __init__(self, seed: int, stranger: str) -> None:
        self._random = random.Random(seed)
        self._rate = self._random.choice((0.05, 0.15, 0.3, 0.6))
        self._stranger = stranger
        self._guard = threading.Lock()
        self.told: list[str] = []

    def __call__(self, request: Request) -> Trick:
        with self._guard:
            if len(self.told) >= MOST_FAULTS or self._random.random() > self._rate:
                return None
            name = self._random.choice(sorted(self._faults(request)))
            self.told.append(f"{request.method} {request.path.partition('?')[0]}: {name}")
            return self._faults(request)[name]()

    def _faults(self, request: Request) -> dict[str, Callable[[], Trick]]:
        draw = self._random
        busy = lambda status, headers: lambda: Reply(status, headers, b"")  # noqa: E731
        faults: dict[str, Callable[[], Trick]] = {
            "500": busy(500, {}),
            "502": busy(502, {}),
            "503 with Retry-After": busy(503, {"Retry-After": "0"}),
            "429": busy(429, {}),
            "429 with Retry-After": busy(429, {"Retry-After": "0"}),
            "cut off": lambda: Cut(draw.choice((0, 1000, 100_000))),
            "lost answer": lambda: Cut(answered=True),
            "answer twice": Twice,
            "stall": lambda: Stall(draw.choice((0.01, 0.05))),
            "redirect to a stranger": lambda: Reply(307, {"Location": self._stranger + request.path}),
        }
        if request.method == "GET":
            faults["truncated"] = lambda: Changed(body=lambda data: data[: len(data) // 2])
            faults["corrupted"] = lambda: Changed(body=_flip)
        if request.method in ("POST", "PATCH"):
            faults["no location"] = lambda: Changed({"Location": ""})
            faults["strange location"] = lambda: Changed({"Location": "/v2/elsewhere/blobs/uploads/1"})
            faults["location at a stranger's"] = lambda: Changed({"Location": f"{self._stranger}/upload"})
            faults["relative location"] = Relative
        if request.method == "PUT":
            faults["wrong digest"] = lambda: Changed({"Docker-Content-Digest": f"sha256:{'0' * 64}"})
        return faults


class Relative(Changed):
    """The Location without scheme and host."""

    def change(self, headers: dict[str, str]) -> dict[str, str]:
        location = headers.get("Location", "")
        return {**headers, "Location": "/v2/" + location.partition("/v2/")[2]} if location else headers


def _flip(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1]) if data else data


@contextmanager
def site(folder: Path) -> Iterator[tuple[str, Stranger]]:
    with serve_registry_with_password(folder / "registry") as address, Stranger() as stranger:
        yield address, stranger


@pytest.mark.parametrize("count", [12, pytest.param(500, marks=pytest.mark.slow)])
def test_every_schedule_ends_in_a_whole_image_or_a_clear_error(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "_FIRST", 0.001)
    monkeypatch.setattr(retry, "_LONGEST", 0.01)
    config = tmp_path / "docker" / "config.json"
    config.parent.mkdir()
    monkeypatch.setenv("DOCKER_CONFIG", str(config.parent))
    outcomes: dict[str, int] = {"pushed": 0, "failed": 0}
    with site(tmp_path) as (address, stranger):
        for seed in range(count):
            store = Store(tmp_path / f"store-{seed % 8}")
            old = make_image(store, tmp_path / f"old-{seed}", text="old")
            new = make_image(store, tmp_path / f"model-{seed}", text=f"new {seed}", weights=_weights(seed))
            there = Reference(address, f"schedules/{seed}", "v1")
            _write_logins(config, address)
            if seed % 3:
                push_image(store, old.manifest, there)
            outcomes[_push(store, new, there, seed, stranger, config)] += 1
            store.close()
        assert stranger.secrets == [], "another host was given our credentials"
    assert outcomes["pushed"] >= count // 4, outcomes
    assert outcomes["failed"] > 0, outcomes


def _push(store: Store, image: Image, there: Reference, seed: int, stranger: Stranger, config: Path) -> str:
    """One push through the faults; then one without, which must mend everything."""
    before = tag_of(there)
    schedule = Schedule(seed, stranger.url)
    with Proxy(there.registry, schedule) as proxy:
        _write_logins(config, there.registry, proxy.address)
        name = Reference(proxy.address, there.repository, "v1")
        try:
            push_image(store, image.manifest, name, jobs=1 + seed % 4, reporter=News())
            outcome = "pushed"
        except LayerforgeError as error:
            assert error.message, schedule.told
            outcome = "failed"
    after = tag_of(there)
    assert after in (before, image.manifest.digest), (seed, schedule.told)
    if outcome == "pushed":
        assert after == image.manifest.digest, (seed, schedule.told)
    if after == image.manifest.digest:
        validate_image(Remote(there), image.manifest)
    if seed % 10 == 0:
        push_image(store, image.manifest, there)
        validate_image(Remote(there), image.manifest)
    return outcome


def _weights(seed: int) -> bytes:
    return random.Random(seed).randbytes(200_000)


def _write_logins(config: Path, *addresses: str) -> None:
    auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    config.write_text(json.dumps({"auths": {address: {"auth": auth} for address in addresses}}))
