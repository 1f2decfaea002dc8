"""Fixtures shared by the tests of layers."""

from __future__ import annotations

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from layerforge.layers import wheels
from layerforge.layers.tar import TarWriter
from layerforge.layers.wheels import WheelFile, WheelsRecipe, write_private_wheels
from layerforge.oci import Digest
from tests.layer_bench import MINOR, FakeBench, Made, Make
from tests.wheel_samples import save_wheel


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    executor = ThreadPoolExecutor(2)

    def make_layer(*packed: bytes | Path, private: str = "", before: Made | None = None) -> Made:
        files: dict[Digest, Path] = {}
        listed = []
        for index, wheel in enumerate(packed):
            path = wheel if isinstance(wheel, Path) else save_wheel(tmp_path / str(index), wheel)
            digest = Digest.of(path.read_bytes())
            files[digest] = path
            listed.append(WheelFile(path.name if isinstance(wheel, Path) else f"wheel{index}", digest))
        bench = FakeBench(files, executor)
        bench.kept = dict(before.bench.kept) if before is not None else {}
        output = io.BytesIO()
        tar = TarWriter(output, executor=executor)
        if private:
            write_private_wheels(listed, private, MINOR, tar, bench)  # type: ignore[arg-type]
        else:
            wheels.write(WheelsRecipe(tuple(listed), MINOR), tar, bench)  # type: ignore[arg-type]
        layer = tar.finish()
        return Made(output.getvalue(), layer, bench)

    yield make_layer
    executor.shutdown()
