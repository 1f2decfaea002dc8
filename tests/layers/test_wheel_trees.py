"""What is installed is what other installers install: real wheels with uv, random ones with uv and PyPA's installer."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import uv
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from installer import install
from installer.destinations import SchemeDictionaryDestination
from installer.sources import WheelFile as WheelSource

from tests.layer_bench import MINOR, Make
from tests.wheel_samples import make_wheel, save_wheel

OWN = ("INSTALLER", "REQUESTED", "RECORD", "direct_url.json", "uv_cache.json")  # each installer's own affair
REAL = ["markupsafe", "charset-normalizer", "jsonschema", "ruff", "ipykernel"]


def read_folder(root: Path) -> dict[str, tuple[bool, bytes]]:
    """Every file under ``root``: whether it is executable, and its content."""
    found = {}
    for path in sorted(root.rglob("*")):
        if path.is_file() and not path.is_symlink():
            found[path.relative_to(root).as_posix()] = (bool(path.stat().st_mode & 0o111), path.read_bytes())
    return found


def normalise(files: dict[str, tuple[bool, bytes]]) -> dict[str, Any]:
    """Less what every installer does in its own way: its name, the text of scripts, bytecode."""
    result: dict[str, Any] = {}
    for path, (executable, content) in files.items():
        name = path.rpartition("/")[2]
        if name in (*OWN, ".lock") or "__pycache__" in path:
            continue
        first = content.partition(b"\n")[0]
        result[path] = (executable, b"script" if first.startswith(b"#!") and b"python" in first else content)
    return result


def install_with_uv(wheel: Path, venv: Path) -> dict[str, tuple[bool, bytes]]:
    """What uv writes into a new virtual environment for ``wheel``."""
    subprocess.run([uv.find_uv_bin(), "venv", "--quiet", "--python", sys.executable, str(venv)], check=True)
    before = set(read_folder(venv))
    command = [uv.find_uv_bin(), "pip", "install", "--quiet", "--no-deps", "--offline", "--link-mode", "copy"]
    subprocess.run([*command, "--no-cache", "--python", str(venv / "bin/python"), str(wheel)], check=True)
    return {path: value for path, value in read_folder(venv).items() if path not in before}


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.parametrize("package", REAL)
def test_the_tree_is_the_one_that_uv_installs(package: str, make: Make, tmp_path: Path) -> None:
    downloads, venv = tmp_path / "downloads", tmp_path / "venv"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", package]
    subprocess.run([*command, "--dest", str(downloads)], check=True)
    wheel = next(downloads.glob("*.whl"))
    expected = install_with_uv(wheel, venv)
    made = make(wheel)
    found = {
        path.removeprefix("usr/local/"): (bool(made.members[path].mode & 0o111), content)
        for path, content in made.files.items()
    }
    assert normalise(found) == normalise(expected)
    record = next(path for path in found if path.endswith(".dist-info/RECORD"))
    rows = [
        {row[0]: row[1:] for row in csv.reader(text.decode().splitlines()) if not row[0].endswith(OWN)}
        for text in (found[record][1], expected[record][1])
    ]
    scripts = {path for path in rows[0] if path.startswith("../") and rows[0][path] != rows[1].get(path)}
    assert rows[0].keys() == rows[1].keys()
    assert {path: rows[0][path] for path in rows[0] if path not in scripts} == {
        path: rows[1][path] for path in rows[1] if path not in scripts
    }


# -- random wheels ---------------------------------------------------------------------------------------------

FOLDERS = ["", "sample/", "sample/sub/", "space/", "Sample/", "a b/", "s\u00fc\u00df/"]
NAMES = ["__init__.py", "mod.py", "Mod.py", "data.txt", "x,y.csv", 'q"uote.txt', "lib.so.1", "n\u00e4me.py", "site.pth"]
SCHEMES = ["", "", "", "purelib/", "platlib/", "scripts/", "headers/", "data/etc/", "data/share/doc/"]
CONTENTS = st.one_of(
    st.sampled_from([b"", b"VALUE = 1\n", b"#!python\nprint(1)\n", b"#!pythonw\n", b"#!/bin/sh\n", b"def broken(:\n"]),
    st.binary(max_size=200),
    st.integers(9_000, 40_000).map(lambda size: bytes(range(256)) * (size >> 8)),  # some are spliced, others not
)


@st.composite
def random_wheels(draw: st.DrawFn) -> bytes:
    files: dict[str, bytes] = {}
    for _ in range(draw(st.integers(1, 8))):
        scheme, folder, name = (
            draw(st.sampled_from(SCHEMES)),
            draw(st.sampled_from(FOLDERS)),
            draw(st.sampled_from(NAMES)),
        )
        folder = "" if scheme == "scripts/" else folder
        files[f"sample-1.0.data/{scheme}{folder}{name}" if scheme else folder + name] = draw(CONTENTS)
    listed = sorted(files)
    places = {name.partition("lib/")[2] if ".data/pur" in name or ".data/pla" in name else name for name in listed}
    if len(places) < len(listed):  # two members for one path are refused: see test_wheels.py
        files = {name: content for name, content in files.items() if "lib/" not in name} or {"sample/x.py": b""}
    some = st.lists(st.sampled_from(sorted(files)), max_size=4).map(tuple)
    entries = draw(st.sampled_from(["", "[console_scripts]\nhello = sample.mod:App.main\nbye=sample:bye [extra]\n"]))
    return make_wheel(
        files=files,
        executable=draw(some),
        stored=draw(some),
        unseekable=draw(st.booleans()),
        entry_points=entries,
    )


def read_layer(make: Make, wheel: bytes) -> dict[str, tuple[bool, bytes]]:
    made = make(wheel)
    return {
        path.removeprefix("usr/local/"): (bool(made.members[path].mode & 0o111), content)
        for path, content in made.files.items()
    }


shared_fixtures = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@given(wheel=random_wheels())
@settings(shared_fixtures, max_examples=30)
def test_random_wheels_become_what_the_reference_installer_makes(
    wheel: bytes, make: Make, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("installed")
    site = folder / f"lib/python{MINOR}/site-packages"
    schemes = {"purelib": site, "platlib": site, "scripts": folder / "bin", "data": folder}
    schemes["headers"] = folder / f"include/site/python{MINOR}/sample"
    destination = SchemeDictionaryDestination(
        {name: str(path) for name, path in schemes.items()}, "/usr/local/bin/python", "posix"
    )
    with WheelSource.open(save_wheel(folder / "wheels", wheel)) as source:
        install(source, destination, {"INSTALLER": b"layerforge\n"})
    expected = {path: value for path, value in read_folder(folder).items() if not path.startswith("wheels/")}
    # It makes scripts executable that have a #!python line; uv and we make all of them so.
    expected = {path: (executable or path.startswith("bin/"), data) for path, (executable, data) in expected.items()}
    assert normalise(read_layer(make, wheel)) == normalise(expected)


@given(wheel=random_wheels())
@settings(shared_fixtures, max_examples=12)
@pytest.mark.slow
def test_random_wheels_become_what_uv_makes(wheel: bytes, make: Make, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("installed")
    path = save_wheel(folder / "wheels", wheel)
    expected = install_with_uv(path, folder / "venv")
    assert normalise(read_layer(make, wheel)) == normalise(expected)
