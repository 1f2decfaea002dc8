"""The lock as others read it: ``pip install -r`` (pip 26.1 and later), ``uv pip sync`` and ``packaging.pylock``."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tomli
import uv
from packaging.pylock import PackageWheel, Pylock

from layerforge.lock import Lock, LockedPython, LockedWheel, PlatformLock, Wanted
from layerforge.lockfile import encode_lock
from layerforge.oci import Digest
from layerforge.platforms import host_platform
from tests.conftest import require
from tests.debian_samples import serve
from tests.wheel_samples import make_wheel
from tests.whole.conftest import LAYERFORGE, ROOT

pytestmark = [pytest.mark.network]

MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"
ABI = f"cp{sys.version_info.major}{sys.version_info.minor}"
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
HERE = host_platform().architecture
THERE = next(name for name in MACHINES if name != HERE)

Install = Callable[[Path], None]


class Environment:
    """A throwaway virtual environment with a pip that reads locks."""

    def __init__(self, folder: Path) -> None:
        self.python = folder / "bin/python"
        self._run(uv.find_uv_bin(), "venv", "--quiet", "--python", sys.executable, str(folder))
        self._uv("install", "pip>=26.1")
        self._uv("freeze")

    def pip(self, lock: Path) -> None:
        command = [str(self.python), "-m", "pip", "install", "--quiet", "--no-deps", "-r", str(lock)]
        self._run(*command, PIP_NO_INDEX="1")  # every file is at the address that the lock has

    def uv(self, lock: Path) -> None:
        self._uv("sync", "--no-cache", str(lock))

    def installed(self) -> dict[str, str]:
        lines = self._uv("freeze").split()
        return {name: version for name, _, version in (line.partition("==") for line in lines) if name != "pip"}

    def _uv(self, command: str, *arguments: str) -> str:
        return self._run(uv.find_uv_bin(), "pip", command, "--quiet", "--python", str(self.python), *arguments)

    def _run(self, *command: str, **environment: str) -> str:
        settings = {"UV_SYSTEM_CERTS": "1", "UV_LINK_MODE": "copy", **environment}
        done = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(params=["pip", "uv"])
def environment(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Environment, Install]:
    made = Environment(tmp_path / "environment")
    return made, getattr(made, request.param)


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[Path]:
    """A lock for two platforms: one wheel for both, one for each, one for this platform, one for the other."""
    folder = tmp_path / "files"
    folder.mkdir()
    with serve(folder) as (address, _):

        def publish(name: str, tag: str = "py3-none-any", version: str = "1.0") -> LockedWheel:
            kind = f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: {tag}\n"
            data = make_wheel(name, version, wheel=kind)
            filename = f"{name}-{version}-{tag}.whl"
            (folder / filename).write_bytes(data)
            return LockedWheel(name, version, filename, f"{address}/{filename}", len(data), Digest.of(data), "bin.0")

        def section(architecture: str, *others: LockedWheel) -> PlatformLock:
            native = publish("native", f"{ABI}-{ABI}-manylinux_2_17_{MACHINES[architecture]}")
            python = LockedPython(MINOR, f"{MINOR}.0", "debian")
            wheels = (native, publish("pure"), *others)
            return PlatformLock(f"linux/{architecture}", "trixie", python, (), (), (), wheels, ())

        here = section(HERE, publish("here"), publish("both", version="1.0"))
        there = section(THERE, publish("there"), publish("both", version="2.0"))
        path = tmp_path / "pylock.layerforge.toml"
        path.write_bytes(encode_lock(Lock(Wanted(MINOR), (there, here))))
        yield path


EXPECTED = {"native": "1.0", "pure": "1.0", "here": "1.0", "both": "1.0"}


def test_packaging_selects_what_this_platform_has(lock: Path) -> None:
    document = Pylock.from_dict(tomli.loads(lock.read_text()))
    document.validate()
    found = {package.name: file for package, file in document.select()}
    assert found.keys() == EXPECTED.keys()
    wheel = found["native"]  # type: ignore[index]
    assert isinstance(wheel, PackageWheel)
    assert wheel.filename.endswith(f"{MACHINES[HERE]}.whl")


def test_others_install_it(environment: tuple[Environment, Install], lock: Path) -> None:
    made, install = environment
    install(lock)
    assert made.installed() == EXPECTED


def test_others_refuse_a_wheel_that_was_changed(environment: tuple[Environment, Install], lock: Path) -> None:
    made, install = environment
    for path in (lock.parent / "files").glob("pure*"):
        path.write_bytes(make_wheel("pure", "1.0", files={"pure/__init__.py": b"VALUE = 2\n"}))
    with pytest.raises(AssertionError, match=r"(?i)hash|size"):
        install(lock)
    assert "pure" not in made.installed()


@pytest.mark.slow
def test_others_install_a_real_lock(environment: tuple[Environment, Install], tmp_path: Path) -> None:
    require(MINOR in ("3.11", "3.13"), "no Debian release has this Python")
    folder = tmp_path / "model"
    folder.mkdir()
    text = f'build:\n  python_version: "{MINOR}"\n  python_packages: [pillow, jinja2]\nrun: "run.py:Runner"\n'
    (folder / "cog.yaml").write_text(text)
    (folder / "run.py").write_bytes((ROOT / "fixtures/hello/run.py").read_bytes())
    command = [str(LAYERFORGE), "lock", str(folder), "--platform", "linux/amd64,linux/arm64"]
    subprocess.run(command, env={**os.environ, "LAYERFORGE_HOME": str(tmp_path / "home")}, check=True)
    made, install = environment
    lock = folder / "pylock.layerforge.toml"
    install(lock)
    expected = {package.name: str(package.version) for package, _ in Pylock.from_dict(
        tomli.loads(lock.read_text())
    ).select()}  # fmt: skip
    assert made.installed() == expected
    assert expected.keys() == {"pillow", "jinja2", "markupsafe"}
    subprocess.run([str(made.python), "-c", "import PIL.Image, jinja2, markupsafe"], check=True)
