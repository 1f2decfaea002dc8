"""Libraries made with the C compiler, and what really happens when they are loaded."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from layerforge.abi.demands import decode_demands, encode_demands, summarize_demands
from layerforge.abi.foundation import Foundation, Provides, summarize_provides
from layerforge.abi.survey import Surveyed, Surveyor
from layerforge.abi.verdict import Refusal, UpperLayer, judge
from tests.conftest import require

_LOADER = r"""
#include <dlfcn.h>
#include <stdio.h>
int main(int count, char **names) {
    for (int index = 1; index < count; index++)
        if (!dlopen(names[index], RTLD_NOW | RTLD_GLOBAL)) { puts(dlerror()); return 1; }
    return 0;
}
"""


class Library:
    """A library to be made.

    ``source`` is C; ``needs`` are further libraries of its side, by file name; ``versions`` is a version script.
    ``rpath`` and ``flags`` go to the linker. ``text`` makes a file of something else, ``link`` a symbolic link.
    """

    def __init__(
        self,
        source: str = "",
        *,
        needs: Sequence[str] = (),
        versions: str = "",
        rpath: str = "",
        flags: Sequence[str] = (),
        program: bool = False,
        text: bytes | None = None,
        link: str = "",
        machine: int = 0,
    ) -> None:
        self.source = source
        self.needs = tuple(needs)
        self.versions = versions
        self.rpath = rpath
        self.flags = tuple(flags)
        self.program = program
        self.text = text
        self.link = link
        self.machine = machine


Side = Mapping[str, Library]


def make(side: Side, folder: Path, beside: Path | None = None) -> Path:
    """Make the libraries of ``side`` in ``folder``, in order; those that they need are there or in ``beside``."""
    require(shutil.which("gcc"), "gcc is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    for name, library in side.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if library.link:
            path.symlink_to(library.link)
            continue
        if library.text is not None:
            path.write_bytes(library.text)
            continue
        command = ["gcc", "-x", "c", "-", "-o", str(path), "-w", "-O0"]
        if not library.program:
            command += ["-shared", "-fPIC", "-nostdlib", f"-Wl,-soname,{path.name}"]
        if library.versions:
            script = path.with_name(path.name + ".map")
            script.write_text(library.versions)
            command.append(f"-Wl,--version-script={script}")
        if library.rpath:
            command.append(f"-Wl,--enable-new-dtags,-rpath,{library.rpath}")
        for needed in library.needs:
            found = folder / needed if (folder / needed).exists() else (beside or folder) / needed
            command += ["-Wl,--no-as-needed", "-x", "none", str(found), "-x", "c"]
        command += ["-Wl,--allow-shlib-undefined", *library.flags]
        subprocess.run(command, input=library.source.encode(), check=True, capture_output=True)
        if library.versions:
            script.unlink()
        if library.machine:
            data = bytearray(path.read_bytes())
            data[18:20] = library.machine.to_bytes(2, "little")
            path.write_bytes(data)
    return folder


def make_loader(folder: Path) -> Path:
    """A program that opens the libraries that it is told of, every symbol bound at once."""
    require(shutil.which("gcc"), "gcc is not installed")
    path = folder / "loader"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["gcc", "-x", "c", "-", "-o", str(path), "-ldl"], input=_LOADER.encode(), check=True, capture_output=True
        )
    return path


def loads(loader: Path, base: Path, files: Sequence[Path]) -> bool:
    """Whether ``files`` can really be loaded (programs: started) with the libraries of ``base``."""
    environment = {"LD_LIBRARY_PATH": str(base), "LD_BIND_NOW": "1", "PATH": os.environ["PATH"]}
    programs = [path for path in files if os.access(path, os.X_OK) and ".so" not in path.name]
    libraries = [path for path in files if path not in programs]
    commands = [[str(path)] for path in programs]
    commands += [[str(loader), *map(str, libraries)]] if libraries else []
    for command in commands:
        try:
            if subprocess.run(command, env=environment, capture_output=True).returncode:
                return False
        except FileNotFoundError:  # also when its dynamic loader is missing
            return False
    return True


def survey_paths(paths: Sequence[Path]) -> Surveyed:
    """A layer of these files, at the paths where they are."""
    surveyor = Surveyor()
    for path in paths:
        place = str(path).lstrip("/")
        if path.is_symlink():
            surveyor.add_symlink(place, str(path.readlink()))
            continue
        data = path.read_bytes()
        surveyor.begin_file(place, len(data))
        for start in range(0, len(data), 1 << 20):
            surveyor.feed(data[start : start + (1 << 20)])
        surveyor.end_file()
    return surveyor.seen


def machine_layer(loader: Path) -> Provides:
    """What this machine gives a program: its C library, the dynamic loader, and ``loader``."""
    said = subprocess.run(["ldd", str(loader)], capture_output=True, text=True, check=True).stdout
    paths = [Path(word) for line in said.splitlines() for word in line.split() if word.startswith("/")]
    real = [Path(os.path.realpath(path)) for path in paths]
    seen = survey_paths([*dict.fromkeys(real), loader])
    for link, path in zip(paths, real, strict=True):
        if link != path:
            seen.links[str(link).lstrip("/")] = str(path)
    return summarize_provides(seen)


def foundation_of(machine: Provides, base: Path) -> Foundation:
    """The root of ``machine`` with the libraries of ``base``."""
    provides = summarize_provides(survey_paths(sorted(path for path in base.rglob("*") if not path.is_dir())))
    return Foundation((machine, provides), (f"LD_LIBRARY_PATH=/{str(base).lstrip('/')}",))


def compare(machine: Provides, loader: Path, old: Path, new: Path, upper: Sequence[Path]) -> tuple[Refusal, ...]:
    """The verdict on ``upper``, folders that are a layer each, with demands that went through an annotation."""
    layers = []
    for folder in upper:
        seen = survey_paths(sorted(path for path in folder.rglob("*") if not path.is_dir()))
        layers.append(UpperLayer(folder.name, decode_demands(encode_demands(summarize_demands(seen)))))
    return judge(layers, foundation_of(machine, new), lambda: foundation_of(machine, old), python=str(loader))
