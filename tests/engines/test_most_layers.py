"""An image with as many layers as :data:`layerforge.budget.MOST_LAYERS` allows starts; Docker takes not one more."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from layerforge.budget import MOST_LAYERS
from layerforge.engines.docker import Docker
from layerforge.engines.protocol import Engine
from layerforge.engines.sandbox import Sandbox
from layerforge.errors import EngineError
from layerforge.layers.tar import TarWriter
from layerforge.oci import ContainerConfig, Descriptor
from layerforge.progress import SILENCE
from layerforge.store import Store
from tests.engines.conftest import find_busybox, write_image, write_layer

pytestmark = [pytest.mark.engine, pytest.mark.slow]
MakeDeep = Callable[[int], Descriptor]


@pytest.fixture
def make_deep(store: Store, require: Callable[[object, str], None]) -> MakeDeep:
    """Makes an image of so many layers; started, it says how many it sees, and what the uppermost one holds."""
    busybox = find_busybox()
    require(busybox, "busybox is not installed as a static program (Debian: busybox-static)")
    assert busybox is not None
    program = busybox.read_bytes()

    def fill(number: int) -> Callable[[TarWriter], object]:
        def write(tar: TarWriter) -> None:
            if not number:
                tar.file("bin/busybox", program, mode=0o755)
                tar.symlink("bin/sh", "busybox")
            tar.file(f"layers/{number:03}", b"")
            tar.file("top", b"%d\n" % number)

        return write

    def make(count: int) -> Descriptor:
        layers = [write_layer(store, fill(number)) for number in range(count)]
        script = "set -- /layers/*; echo $# $(/bin/busybox cat /top); exec /bin/busybox sleep 60"
        return write_image(store, layers, ContainerConfig(env=("PATH=/bin",), cmd=("/bin/sh", "-c", script)))

    return make


def check_start(engine: Engine, store: Store, image: Descriptor) -> None:
    with engine.start(store, image, environment={}, reporter=SILENCE) as container:
        deadline = time.monotonic() + 20
        while not container.logs().endswith("\n") and time.monotonic() < deadline:
            time.sleep(0.05)
        assert container.logs() == f"{MOST_LAYERS} {MOST_LAYERS - 1}\n"
        container.stop(0)


def test_docker_takes_so_many_layers_and_no_more(docker: str, store: Store, make_deep: MakeDeep) -> None:
    check_start(Docker(), store, make_deep(MOST_LAYERS))
    with pytest.raises(EngineError, match="max depth exceeded"):
        Docker().start(store, make_deep(MOST_LAYERS + 1), environment={}, reporter=SILENCE)


@pytest.mark.sandbox
def test_the_sandbox_takes_so_many_layers(
    store: Store, make_deep: MakeDeep, require: Callable[[object, str], None]
) -> None:
    obstacle = Sandbox().find_obstacle()
    require(not obstacle, obstacle)
    check_start(Sandbox(), store, make_deep(MOST_LAYERS))
