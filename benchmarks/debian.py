"""Measures Debian layers against the distribution's own tools: ``python -m benchmarks.debian``.

Base: ``mmdebstrap --variant=minbase --include=python3,ca-certificates`` against the layers base, python and root.
System packages: ``dpkg-deb -x`` of ffmpeg's packages, one after another, against their finished layer. Downloads are
warm for all. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path

import msgspec

from benchmarks.environment import find_program, interruptible, make_scratch
from layerforge.build import build_image
from layerforge.layers.debian import DebianRecipe
from layerforge.layers.step import Step
from layerforge.lock import Lock, LockedDeb, PlatformLock, Wanted
from layerforge.oci import ContainerConfig
from layerforge.plan import Plan, plan_foundation
from layerforge.platforms import host_platform
from layerforge.progress import SILENCE
from layerforge.sources.debian import debian_urls, lock_debian, open_index
from layerforge.sources.debian.archive import architecture_of
from layerforge.sources.debian.deb import DebFile
from layerforge.sources.debian.locking import BASE, RELEASES, lock_packages
from layerforge.sources.debian.resolve import resolve
from layerforge.sources.download import download
from layerforge.store import Store, default_home
from layerforge.workbench import LocalWorkbench

Debs = tuple[LockedDeb, ...]


def fetch(debs: Debs, store: Store) -> list[Path]:
    """The files of ``debs``, in their order."""
    return [download(store, debian_urls(deb), deb.digest, size=deb.size) for deb in debs]


def write_repository(paths: Iterable[Path], release: str, folder: Path) -> None:
    """A repository of ``release`` that apt can use without a network."""
    folder.mkdir()
    stanzas = []
    for path in paths:
        data = path.read_bytes()
        with DebFile(path) as deb:
            text = deb.control["control"].content.decode().strip()
        name = f"{path.name}.deb"
        shutil.copyfile(path, folder / name)
        stanzas.append(f"{text}\nFilename: ./{name}\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n")
    index = "\n".join(stanzas).encode()
    (folder / "Packages").write_bytes(index)
    head = (
        f"Suite: {release}\nCodename: {release}\nSHA256:\n {hashlib.sha256(index).hexdigest()} {len(index)} Packages\n"
    )
    (folder / "Release").write_text(head)


def lock(minor: str, store: Store) -> PlatformLock:
    """What Layerforge would make the image of: the base and the interpreter; ``system`` is ffmpeg and all below it."""
    platform = host_platform()
    found = lock_debian(minor, platform, store)
    assert found.python is not None
    index = open_index(found.release, architecture_of(platform), store)
    everything = resolve(index, [*(package.name for package in index.essential()), *BASE, "ffmpeg"])
    system = lock_packages(everything)
    return PlatformLock(str(platform), found.release, found.python, found.base, found.interpreter, system, (), ())


def plan(section: PlatformLock, what: str) -> Plan:
    """The steps of one comparison."""
    platform = host_platform()
    steps = [Step("system", DebianRecipe(debs=tuple(deb.digest for deb in section.system)))]
    if what == "base":
        steps = plan_foundation(msgspec.structs.replace(section, system=()), platform, ())
    return Plan(platform, tuple(steps), ContainerConfig(), {})


def build(minor: str, what: str, home: Path) -> None:
    """Layerforge's side, in a process of its own."""
    store = Store(home)
    section = lock(minor, store)
    whole = Lock(Wanted(minor), (section,))
    start = Clock()
    bench = LocalWorkbench(store, whole, section, home, SILENCE)
    with bench:
        build_image(plan(section, what), store, lambda: nullcontext(bench), 0, SILENCE)
    taken = start.read()
    print(taken.wall, taken.processor, peak_memory())
    store.close()


class Taken(msgspec.Struct, frozen=True):
    """Seconds that something took, by the clock on the wall and of all processors together."""

    wall: float
    processor: float

    def __str__(self) -> str:
        return f"{self.wall:.1f} s ({self.processor:.1f} s of processors)"


class Clock:
    """Measures what this process and those it waited for take from now on."""

    def __init__(self) -> None:
        self._begun = _now()

    def read(self) -> Taken:
        """What has been taken so far."""
        now = _now()
        return Taken(now.wall - self._begun.wall, now.processor - self._begun.processor)


def _now() -> Taken:
    times = os.times()
    return Taken(time.perf_counter(), times.user + times.system + times.children_user + times.children_system)


def peak_memory() -> int:
    """The largest resident set of this process in bytes.

    Not ``ru_maxrss``: that begins with the peak of who started the process, and here that one has read a whole index.
    """
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) << 10


def run(command: list[str]) -> tuple[str, Taken]:
    """What a command says, and what it took."""
    start = Clock()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise SystemExit(f"{command[0]} failed")
    return done.stdout, start.read()


def layerforge_side(minor: str, what: str, warm: Path, folder: Path) -> tuple[Taken, int]:
    """What is taken and the peak memory, with a store that has downloads and indexes only."""
    home = folder / "home"
    Store(home).close()
    for name in ("materials", "notes"):
        shutil.copytree(warm / name, home / name, copy_function=os.link, dirs_exist_ok=True)
    for notes in (home / "notes").glob("deb-facts-*"):
        shutil.rmtree(notes)
    command = [sys.executable, "-m", "benchmarks.debian", "--side", what, "--home", str(home), "--python", minor]
    wall, processor, memory = run(command)[0].split()
    shutil.rmtree(home)
    return Taken(float(wall), float(processor)), int(memory)


def dpkg_side(paths: list[Path], folder: Path) -> Taken:
    """What unpacking takes."""
    target = folder / "unpacked"
    target.mkdir()
    start = Clock()
    for path in paths:
        subprocess.run(["dpkg-deb", "-x", str(path), str(target)], check=True)
    taken = start.read()
    shutil.rmtree(target)
    return taken


def mmdebstrap_side(release: str, repository: Path, folder: Path) -> Taken:
    """What is taken until the archive of the root is there."""
    command = [find_program("mmdebstrap", "mmdebstrap"), "--quiet", "--variant=minbase", "--mode=root", "--format=tar"]
    command += ["--include=python3,ca-certificates", "--dpkgopt=force-unsafe-io", "--skip=output/dev"]
    if release == "bookworm":
        links = 'for name in bin sbin lib lib64; do mkdir -p "$1/usr/$name"; ln -s "usr/$name" "$1/$name"; done'
        command.append(f"--setup-hook={links}")
    command += [release, str(folder / "root.tar"), f"deb [trusted=yes] copy:{repository} ./"]
    _, taken = run(command)
    (folder / "root.tar").unlink()
    return taken


def compare(minor: str, rounds: int, folder: Path) -> None:
    """All rounds, the sides taking turns."""
    warm = Store(default_home())
    section = lock(minor, warm)
    paths = fetch(section.system, warm)
    fetch(section.interpreter + section.base, warm)
    index = open_index(section.release, architecture_of(host_platform()), warm)
    required = [name for name in index.names() if (found := index.candidate(name)) and found.priority == 1]
    minimal = resolve(index, [*(package.name for package in index.essential()), *BASE, *sorted(required), "python3"])
    folder.chmod(0o755)  # apt's own user reads the repository
    write_repository(fetch(lock_packages(minimal), warm), section.release, folder / "repository")
    ratios: dict[str, list[float]] = {"base": [], "system": []}
    processors: dict[str, list[float]] = {"base": [], "system": []}
    peak = 0
    for number in range(rounds):
        theirs = mmdebstrap_side(section.release, folder / "repository", folder)
        ours, memory = layerforge_side(minor, "base", warm.root, folder)
        ratios["base"].append(theirs.wall / ours.wall)
        processors["base"].append(theirs.processor / ours.processor)
        peak = max(peak, memory)
        print(f"{number} base: mmdebstrap {theirs}, layerforge {ours}, {memory >> 20} MiB", flush=True)
        theirs = dpkg_side(paths, folder)
        ours, memory = layerforge_side(minor, "system", warm.root, folder)
        ratios["system"].append(ours.wall / theirs.wall)
        processors["system"].append(ours.processor / theirs.processor)
        peak = max(peak, memory)
        print(f"{number} ffmpeg: dpkg-deb -x {theirs}, layerforge {ours}, {memory >> 20} MiB", flush=True)
    times, processor = ({name: statistics.median(found[name]) for name in found} for found in (ratios, processors))
    print(f"base: {times['base']:.1f} times as fast as mmdebstrap (goal: 5), whose processor seconds are", end=" ")
    print(f"{processor['base']:.1f} times ours")
    print(f"{len(paths)} packages of ffmpeg: {times['system']:.2f} times dpkg-deb -x (goal: 1.6),", end=" ")
    print(f"{processor['system']:.2f} times its processor seconds")
    print(f"peak memory: {peak >> 20} MiB (goal: 300)")


def main() -> None:
    """Parse the options and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--python", choices=sorted(RELEASES), default="3.13", help="decides the Debian release")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        build(options.python, options.side, options.home)
        return
    with interruptible(), make_scratch(None) as folder:
        compare(options.python, options.rounds, folder)


if __name__ == "__main__":
    main()
