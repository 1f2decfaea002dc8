"""``python -m benchmarks.weights``: new weights to a registry, beside the bare cost of sending the same bytes.

The rows are ratios in one run, the sides taking turns: ``curl`` sends each file as one PUT, four at a time; umoci and
skopeo put the same file into an image and push it; Layerforge builds and pushes the model. Every side has a real
docker-registry on loopback.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

from benchmarks.environment import (
    BenchmarkError,
    Measurement,
    Registry,
    describe_machine,
    find_program,
    interruptible,
    make_scratch,
    measure,
    start_registry,
)
from benchmarks.sides import LAYERFORGE

_MIB = 1 << 20
_NAMES = ("a", "b", "c", "d")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mib", type=int, default=256, help="size of each of the four files, in MiB")
    parser.add_argument("--scratch", type=Path, help="folder for temporary files")
    arguments = parser.parse_args()
    try:
        with interruptible(), make_scratch(arguments.scratch) as scratch:
            rows = list(_measure(scratch, arguments.rounds, arguments.mib * _MIB))
    except BenchmarkError as error:
        sys.exit(f"error: {error}")
    print(f"\n{describe_machine()}\n\n| | bare PUT | umoci + skopeo | layerforge | layerforge : bare | memory |")
    print("|---|--:|--:|--:|--:|--:|")
    for name, bare, umoci, ours in rows:
        beside = f"{median(umoci):.2f} s" if umoci else "-"
        seconds = median(run.seconds for run in ours)
        ratio = f"{seconds / median(bare):.2f}" if bare else "-"
        first = f"{median(bare):.2f} s" if bare else "-"
        memory = max(run.peak_memory for run in ours) / _MIB
        print(f"| {name} | {first} | {beside} | {seconds:.2f} s | {ratio} | {memory:.0f} MiB |")


Row = tuple[str, list[float], list[float], list[Measurement]]


def _measure(scratch: Path, rounds: int, size: int) -> Iterator[Row]:
    model = _make_model(scratch / "model")
    environment = {**os.environ, "LAYERFORGE_HOME": str(scratch / "home"), "NO_COLOR": "1"}

    def build(registry: Registry) -> Measurement:
        command = [str(LAYERFORGE), "build", str(model), "--push", "-t", f"{registry.address}/model:latest"]
        return measure(command, environment, scratch / "log")

    with start_registry(scratch / "first") as ours:
        build(ours)  # everything but the weights is known from now on, to store and registry
        bare: list[float] = []
        runs: list[Measurement] = []
        for number in range(rounds):
            files = _write_weights(model, _NAMES, size)
            with start_registry(scratch / f"bare{number}") as other:
                bare.append(_put(other, files))
            shutil.rmtree(scratch / f"bare{number}", ignore_errors=True)
            runs.append(build(ours))
        yield f"4 new files of {size // _MIB} MiB", bare, [], runs
        bare, runs, others = [], [], []
        for number in range(rounds):
            files = _write_weights(model, _NAMES[number % 4 :][:1], size)
            with start_registry(scratch / f"bare{number}") as other:
                bare.append(_put(other, files))
            shutil.rmtree(scratch / f"bare{number}", ignore_errors=True)
            runs.append(build(ours))
            if shutil.which("umoci") and shutil.which("skopeo"):
                others.append(_umoci(scratch / "umoci", ours, files[0], scratch / "log"))
        yield f"1 of 4 files of {size // _MIB} MiB", bare, others, runs
        yield "nothing changed", [], [], [build(ours) for _ in range(rounds)]


def _make_model(folder: Path) -> Path:
    """A model whose image is small but for its weights."""
    folder.mkdir()
    (folder / "cog.yaml").write_text('build:\n  python_version: "3.13"\nrun: "run.py:Runner"\n')
    source = "from cog import BaseRunner\n\n\nclass Runner(BaseRunner):\n    def run(self) -> str:\n        return ''\n"
    (folder / "run.py").write_text(source)
    return folder


def _write_weights(folder: Path, names: Sequence[str], size: int) -> list[Path]:
    """Files of random bytes, on the disk before the clock starts."""
    paths = [folder / f"{name}.safetensors" for name in names]
    for path in paths:
        path.unlink(missing_ok=True)
        with path.open("wb") as file:
            for _ in range(size // _MIB):
                file.write(os.urandom(_MIB))
    return paths


def _put(registry: Registry, files: Sequence[Path]) -> float:
    """Seconds for one PUT of each file, four at a time; digests are known beforehand."""
    curl = find_program("curl", "curl")
    digests = {path: _hash(path) for path in files}

    def send(path: Path) -> None:
        begin = [curl, "-sf", "-X", "POST", "-o", "/dev/null", "-w", "%header{location}"]
        url = f"http://{registry.address}/v2/bare/blobs/uploads/"
        location = subprocess.run([*begin, url], capture_output=True, text=True, check=True).stdout
        if not location.startswith("http"):
            head = subprocess.run([curl, "-sf", "-X", "POST", "-i", url], capture_output=True, text=True).stdout
            lines = (line.partition(":") for line in head.splitlines())
            location = next(value.strip() for name, _, value in lines if name.lower() == "location")
        url = f"{location}&digest=sha256:{digests[path]}"
        header = "Content-Type: application/octet-stream"
        subprocess.run([curl, "-sf", "-T", str(path), "-H", header, url], check=True, capture_output=True)

    os.sync()
    start = time.perf_counter()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(send, files))
    return time.perf_counter() - start


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(_MIB):
            digest.update(data)
    return digest.hexdigest()


def _umoci(folder: Path, registry: Registry, file: Path, log: Path) -> float:
    """Seconds for the same change with umoci and skopeo, which keep a local layout of the image."""
    image = f"{folder}:latest"
    if not folder.exists():
        source = f"docker://{registry.address}/model:latest"
        copy = ["skopeo", "copy", "--src-tls-verify=false", source, f"oci:{image}"]
        measure(copy, os.environ, log)
    insert = ["umoci", "insert", "--image", image, str(file), f"/src/{file.name}"]
    push = ["skopeo", "copy", "--dest-tls-verify=false", f"oci:{image}", f"docker://{registry.address}/umoci:latest"]
    return sum(measure(command, os.environ, log).seconds for command in (insert, push))


if __name__ == "__main__":
    main()
