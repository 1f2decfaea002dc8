"""What both sides start from: Docker's base image, the wheels, and the model.

The base image and the wheels are kept in a cache folder, so only the first run on a machine fetches them.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import parse_wheel_filename

from benchmarks.environment import BenchmarkError, find_program

ROOT = Path(__file__).parents[1]
PYTHON, SUITE = "3.13", "trixie"
LARGE_WEIGHTS = tuple(f"weights/large-{number}.safetensors" for number in range(1, 5))
LARGE_BYTES = 64 << 20
_CHUNK = 1 << 20
# Every manylinux tag that the C library of the suite (2.41) fulfils and that wheels carry.
_GLIBC = ("2_39", "2_34", "2_31", "2_28", "2_27", "2_26", "2_24", "2_17", "2_12", "2_5")


def default_cache() -> Path:
    """Where downloads for the benchmark are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "layerforge-benchmarks"


def prepare_base(cache: Path) -> Path:
    """A tar of a minimal Debian with its Python and pip, as ``docker import`` takes it.

    The release and the interpreter are the ones that Layerforge chooses for this Python. ``/usr/local`` is a virtual
    environment as in Layerforge's images, so that pip has a place to install to.
    """
    recipe = ["--mode=root", "--variant=essential"]
    recipe += [f"--include=python{PYTHON}-venv,ca-certificates,libstdc++6"]
    recipe += [f'--customize-hook=chroot "$1" python{PYTHON} -m venv /usr/local']
    revision = hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:8]
    base = cache / f"{SUITE}-python{PYTHON}-{platform.machine()}-{revision}.tar"
    if base.exists():
        return base
    cache.mkdir(parents=True, exist_ok=True)
    unfinished = base.with_suffix(".part.tar")
    _run([find_program("mmdebstrap", "mmdebstrap"), "--quiet", *recipe, SUITE, str(unfinished), _find_mirror()])
    return unfinished.replace(base)


def _find_mirror() -> str:
    """The Debian mirror of this machine's apt sources."""
    wanted = "$(ORIGIN) $(COMPONENT) $(CODENAME) $(REPO_URI)"
    command = ["apt-get", "indextargets", "--format", wanted, "Created-By: Packages"]
    for line in _run(command).splitlines():
        origin, component, codename, address = line.split(maxsplit=3)
        if (origin, component) == ("Debian", "main") and "-" not in codename:
            return address
    raise BenchmarkError("apt knows no Debian mirror: apt-get update")


def prepare_wheels(cache: Path) -> Path:
    """A folder with the wheels of the model and of the runtime."""
    files = ("fixtures/digits/requirements.txt", "runtime/requirements.txt")
    options = [word for name in files for word in ("--requirement", str(ROOT / name))]
    return download_wheels(cache / "wheels", options)


def download_wheels(prefix: Path, requirements: list[str]) -> Path:
    """A folder, whose name begins with ``prefix``, with the wheels of ``requirements`` (arguments for pip)."""
    folder = prefix.with_name(f"{prefix.name}-python{PYTHON}-{platform.machine()}")
    if folder.exists():
        return folder
    unfinished = folder.with_suffix(".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:", "--dest", str(unfinished)]
    command += ["--implementation=cp", f"--python-version={PYTHON}"]
    command += [f"--platform=manylinux_{version}_{platform.machine()}" for version in _GLIBC]
    command += [f"--platform=manylinux2014_{platform.machine()}"]
    _run([*command, *requirements])
    return unfinished.replace(folder)


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise BenchmarkError(f"{' '.join(command)} failed:\n{(done.stderr or done.stdout)[-2000:]}")
    return done.stdout


@dataclass
class Project:
    """The model: the fixture ``digits``, with four more weight files of 64 MiB each."""

    folder: Path
    edits: int = 0

    def edit_code(self) -> None:
        """Change one line of code."""
        self.edits += 1
        run = self.folder / "run.py"
        run.write_text(run.read_text().rstrip("\n").rpartition("\nREVISION = ")[0] + f"\nREVISION = {self.edits}\n")

    def replace_weights(self, name: str) -> None:
        """Give one large weight file new, random content."""
        write_weights(self.folder / name)


def write_project(folder: Path, wheels: Path) -> Project:
    """Write the model into ``folder``, with the versions of its requirements that ``wheels`` has."""
    fixture = ROOT / "fixtures" / "digits"
    left_out = shutil.ignore_patterns("samples", "train*", "held*", "pylock.*", "__pycache__")
    shutil.copytree(fixture, folder, ignore=left_out)
    versions = {str(name): version for name, version, *_ in (parse_wheel_filename(w.name) for w in wheels.iterdir())}
    lines = (fixture / "requirements.txt").read_text().splitlines()
    wanted = [line.partition(">=")[0] for line in lines if not line.startswith("#")]
    (folder / "requirements.txt").write_text("".join(f"{name}=={versions[name]}\n" for name in wanted))
    (folder / "cog.yaml").write_text(
        f'build:\n  python_version: "{PYTHON}"\n  python_requirements: requirements.txt\nrun: "run.py:Runner"\n'
    )
    with (folder / "run.py").open("a") as run:
        run.write("\nREVISION = 0\n")
    for name in LARGE_WEIGHTS:
        write_weights(folder / name)
    return Project(folder)


def write_weights(path: Path) -> None:
    """A valid safetensors file of 64 MiB: one tensor of random bytes. A new file takes the place of the old one."""
    size = LARGE_BYTES - 128
    header = json.dumps({"data": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode().ljust(120)
    unfinished = path.with_suffix(".part")
    with unfinished.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for start in range(0, size, _CHUNK):
            file.write(os.urandom(min(_CHUNK, size - start)))
    unfinished.replace(path)
