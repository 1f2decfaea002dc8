"""Measures wheels becoming layers against the bare cost of their bytes: ``python -m benchmarks.splicing WHEEL…``.

*Bare* is what no design can do without: every member of the wheels is inflated with ISA-L, its content and its stored
bytes are hashed with SHA-256, by as many threads as there are processors. *Splicing* makes the finished layers of the
same wheels (one each, without bytecode): checks, tar, digest, DiffID and the file itself. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from isal import isal_zlib

from benchmarks.environment import interruptible, make_scratch
from layerforge.layers.kinds import write_layer
from layerforge.layers.tar import TarWriter
from layerforge.layers.wheel_archive import Member, WheelArchive
from layerforge.layers.wheels import WheelFile, WheelsRecipe
from layerforge.lock import Lock, LockedPython, LockedWheel, PlatformLock, Wanted
from layerforge.memory import bound_heap
from layerforge.oci import Digest
from layerforge.platforms import host_platform
from layerforge.progress import SILENCE
from layerforge.store import Store
from layerforge.workbench import LocalWorkbench

_INFLATED = 256 << 10


def do_bare(paths: list[Path]) -> None:
    """Inflate and hash, the largest members first, each thread taking the next."""
    with ExitStack() as stack:
        archives = [stack.enter_context(WheelArchive(path, path.name)) for path in paths]
        work = [(archive, member) for archive in archives for member in archive.members]
        waiting = iter(sorted(work, key=lambda pair: -pair[1].size))
        guard = threading.Lock()

        def run() -> None:
            while True:
                with guard:
                    pair = next(waiting, None)
                if pair is None:
                    return
                _hash_member(*pair)

        threads = [threading.Thread(target=run) for _ in range(os.cpu_count() or 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def _hash_member(archive: WheelArchive, member: Member) -> None:
    plain, stored = hashlib.sha256(), hashlib.sha256()
    inflater = isal_zlib.decompressobj(wbits=-15)
    for raw in archive.stream(member):
        stored.update(raw)
        if not member.deflated:
            plain.update(raw)
            continue
        data = inflater.decompress(raw, _INFLATED)
        while data or inflater.unconsumed_tail:
            plain.update(data)
            data = inflater.decompress(inflater.unconsumed_tail, _INFLATED)


def do_splicing(paths: list[Path], folder: Path) -> None:
    """The layers of ``paths``, two at a time as a build makes them, into the store ``folder``."""
    bound_heap()
    store = Store(folder)
    platform = str(host_platform())
    wheels = tuple(
        LockedWheel(path.stem.split("-")[0], "0", path.name, f"file://{path}", path.stat().st_size, digest, "")
        for path, digest in ((path, Digest.of(path.name.encode())) for path in paths)
    )
    for path, wheel in zip(paths, wheels, strict=True):
        store.material_path(wheel.digest).symlink_to(path.absolute())
    section = PlatformLock(platform, "trixie", LockedPython("3.13", "3.13.5", "debian"), (), (), (), wheels, ())
    bench = LocalWorkbench(store, Lock(Wanted("3.13"), (section,)), section, folder, SILENCE)

    def make(wheel: LockedWheel) -> None:
        with store.write_blob() as blob:
            tar = TarWriter(blob, executor=bench.compressors)
            write_layer(WheelsRecipe((WheelFile(wheel.filename, wheel.digest),), "3.13", bytecode=False), tar, bench)
            blob.commit(tar.finish().descriptor.digest)

    with bench, ThreadPoolExecutor(os.cpu_count() or 1) as makers:
        list(makers.map(make, wheels))
    store.close()


def measure(side: str, paths: list[Path], folder: Path) -> tuple[float, float, int]:
    """Wall-clock seconds, processor seconds and peak memory in bytes, of a process of its own."""
    command = [sys.executable, "-m", "benchmarks.splicing", "--side", side, "--scratch", str(folder / side)]
    done = subprocess.run([*command, *map(str, paths)], check=True, capture_output=True, text=True)
    subprocess.run(["rm", "-rf", str(folder / side)], check=True)
    wall, processor, memory = done.stdout.split()
    return float(wall), float(processor), int(memory)


def run_side(side: str, paths: list[Path], folder: Path) -> None:
    """One measurement, printed for :func:`measure`."""
    start, used = time.perf_counter(), time.process_time()
    if side == "bare":
        do_bare(paths)
    else:
        do_splicing(paths, folder)
    wall, processor = time.perf_counter() - start, time.process_time() - used
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    print(wall, processor, int(line.split()[1]) << 10)


def compare(paths: list[Path], rounds: int, folder: Path) -> None:
    """All rounds, the sides taking turns."""
    ratios: list[tuple[float, float]] = []
    for number in range(rounds):
        bare, ours = (measure(side, paths, folder) for side in ("bare", "splicing"))
        ratios.append((ours[0] / bare[0], ours[1] / bare[1]))
        for name, (wall, processor, memory) in (("bare", bare), ("splicing", ours)):
            print(f"{number} {name}: {wall:.2f} s, {processor:.2f} s of processors, {memory >> 20} MiB", flush=True)
    wall, processor = (statistics.median(column) for column in zip(*ratios, strict=True))
    print(f"splicing takes {wall:.2f} times as long as bare (goal: 1.5), and {processor:.2f} times its processor time")


def main() -> None:
    """Parse the options and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheels", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--scratch", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        run_side(options.side, options.wheels, options.scratch)
        return
    with interruptible(), make_scratch(None) as folder:
        compare(options.wheels, options.rounds, folder)


if __name__ == "__main__":
    main()
