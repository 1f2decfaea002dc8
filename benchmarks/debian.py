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

from benchmarks.environment import find_program, interruptible, make_scratch
from layerforge.build import build_image
from layerforge.layers.debian import DebianRecipe
from layerforge.layers.python import PythonRecipe
from layerforge.layers.root import RootRecipe
from layerforge.layers.step import Step
from layerforge.lock import Lock, LockedDeb, PlatformLock, Wanted
from layerforge.oci import ContainerConfig
from layerforge.plan import Plan
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
    base, python, system = (
        tuple(deb.digest for deb in debs) for debs in (section.base, section.interpreter, section.system)
    )
    platform = host_platform()
    steps: tuple[Step, ...] = (Step("system", DebianRecipe(debs=system)),)
    if what == "base":
        minor, version = section.python.minor, section.python.version
        root = RootRecipe(debs=base + python, release=section.release, architecture=platform.architecture)
        steps = (
            Step("base", DebianRecipe(debs=base)),
            Step("python", PythonRecipe(debs=python, minor=minor, version=version)),
            Step("root", root, after=("base", "python")),
        )
    return Plan(platform, steps, ContainerConfig(), {})


def build(minor: str, what: str, home: Path) -> None:
    """Layerforge's side, in a process of its own."""
    store = Store(home)
    section = lock(minor, store)
    whole = Lock(Wanted(minor), (section,))
    start = time.perf_counter()
    bench = LocalWorkbench(store, whole, section, home, SILENCE)
    with bench:
        build_image(plan(section, what), store, lambda: nullcontext(bench), 0, SILENCE)
    print(time.perf_counter() - start, peak_memory())
    store.close()


def peak_memory() -> int:
    """The largest resident set of this process in bytes.

    Not ``ru_maxrss``: that begins with the peak of who started the process, and here that one has read a whole index.
    """
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) << 10


def run(command: list[str]) -> tuple[str, float]:
    """What a command says, and the seconds that it took."""
    start = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise SystemExit(f"{command[0]} failed")
    return done.stdout, time.perf_counter() - start


def layerforge_side(minor: str, what: str, warm: Path, folder: Path) -> tuple[float, int]:
    """Seconds and peak memory, with a store that has downloads and indexes only."""
    home = folder / "home"
    Store(home).close()
    for name in ("materials", "notes"):
        shutil.copytree(warm / name, home / name, copy_function=os.link, dirs_exist_ok=True)
    for notes in (home / "notes").glob("deb-facts-*"):
        shutil.rmtree(notes)
    command = [sys.executable, "-m", "benchmarks.debian", "--side", what, "--home", str(home), "--python", minor]
    seconds, memory = run(command)[0].split()
    shutil.rmtree(home)
    return float(seconds), int(memory)


def dpkg_side(paths: list[Path], folder: Path) -> float:
    """Seconds that unpacking takes."""
    target = folder / "unpacked"
    target.mkdir()
    start = time.perf_counter()
    for path in paths:
        subprocess.run(["dpkg-deb", "-x", str(path), str(target)], check=True)
    seconds = time.perf_counter() - start
    shutil.rmtree(target)
    return seconds


def mmdebstrap_side(release: str, repository: Path, folder: Path) -> float:
    """Seconds until the archive of the root is there."""
    command = [find_program("mmdebstrap", "mmdebstrap"), "--quiet", "--variant=minbase", "--mode=root", "--format=tar"]
    command += ["--include=python3,ca-certificates", "--dpkgopt=force-unsafe-io", "--skip=output/dev"]
    if release == "bookworm":
        links = 'for name in bin sbin lib lib64; do mkdir -p "$1/usr/$name"; ln -s "usr/$name" "$1/$name"; done'
        command.append(f"--setup-hook={links}")
    command += [release, str(folder / "root.tar"), f"deb [trusted=yes] copy:{repository} ./"]
    _, seconds = run(command)
    (folder / "root.tar").unlink()
    return seconds


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
    peak = 0
    for number in range(rounds):
        theirs = mmdebstrap_side(section.release, folder / "repository", folder)
        ours, memory = layerforge_side(minor, "base", warm.root, folder)
        ratios["base"].append(theirs / ours)
        peak = max(peak, memory)
        print(f"{number} base: mmdebstrap {theirs:.1f} s, layerforge {ours:.1f} s, {memory >> 20} MiB", flush=True)
        theirs = dpkg_side(paths, folder)
        ours, memory = layerforge_side(minor, "system", warm.root, folder)
        ratios["system"].append(ours / theirs)
        peak = max(peak, memory)
        print(f"{number} ffmpeg: dpkg-deb -x {theirs:.1f} s, layerforge {ours:.1f} s, {memory >> 20} MiB", flush=True)
    print(f"base: {statistics.median(ratios['base']):.1f} times as fast as mmdebstrap (goal: 5)")
    print(f"{len(paths)} packages of ffmpeg: {statistics.median(ratios['system']):.2f} times dpkg-deb -x (goal: 1.6)")
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
