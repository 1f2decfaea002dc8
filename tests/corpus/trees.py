"""What is installed under /usr/local: by our layers, and by ``uv pip install`` from the same wheels."""

from __future__ import annotations

import csv
import hashlib
import os
import re
import stat
import subprocess
import sys
import tarfile
from collections.abc import Iterable
from pathlib import Path

import msgspec

from layerforge.inflate import inflate_layer
from layerforge.oci import ImageConfig, Manifest, decode
from layerforge.sources.uv import find_program
from layerforge.store import Store

_TEXT = re.compile(r"(usr/local/bin/[^/]*|.*\.dist-info/(RECORD|INSTALLER))")
_HOST_MINOR = f"3.{sys.version_info.minor}"


class Node(msgspec.Struct, frozen=True):
    """A file: mode, sha256, and its text where the comparison looks into it; or what else it is."""

    kind: str
    mode: int
    digest: str = ""
    text: bytes = b""


Tree = dict[str, Node]


def read_package_layers(store: Store, image: Manifest) -> Tree:
    """Every path of the image's package layers that is no folder, upper layers over lower ones."""
    config = decode(store.read_blob(image.config), ImageConfig)
    tree: Tree = {}
    for layer, history in zip(image.layers, config.history, strict=True):
        if not history.created_by.startswith("layerforge packages/"):
            continue
        with (
            store.open_blob(layer) as blob,
            inflate_layer(blob, layer) as stream,  # type: ignore[arg-type]
            tarfile.open(fileobj=stream, mode="r|", bufsize=1 << 20) as archive,
        ):
            for member in archive:
                if member.isdir():
                    assert (member.mode, member.uid, member.gid) == (0o755, 0, 0), member.name
                    continue
                assert (member.uid, member.gid) == (0, 0), member.name
                file = archive.extractfile(member) if member.isreg() else None
                data = file.read() if file is not None else member.linkname.encode()
                tree[member.name] = _describe(member.name, "file" if file else "link", member.mode, data)
    return tree


def install_with_uv(wheels: Iterable[Path], minor: str, folder: Path) -> Tree:
    """The tree that ``uv pip install`` makes of ``wheels`` in a new virtual environment, as if for ``/usr/local``.

    The environment is of this machine's Python, whatever ``minor``: what depends on it is the name of a folder.
    """
    venv = folder / "venv"
    uv = find_program()
    environment = {**os.environ, "UV_CACHE_DIR": str(folder / "cache"), "UV_NO_CONFIG": "1"}
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(venv)], check=True, env=environment)
    before = _list_files(venv)
    command = [uv, "pip", "install", "--quiet", "--no-deps", "--offline", "--no-index", "--link-mode", "hardlink"]
    command += ["--python", str(venv / "bin/python"), "--python-version", minor]
    command += ["--python-platform", "x86_64-manylinux_2_40"]
    # One by one, for uv installs in parallel: where two wheels have one path, the later one is to win.
    subprocess.run([*command, *map(str, wheels)], check=True, env={**environment, "UV_CONCURRENT_INSTALLS": "1"})
    tree: Tree = {}
    for path in _list_files(venv) - before:
        name = path.relative_to(venv).as_posix()
        name = "usr/local/" + name.replace(f"python{_HOST_MINOR}", f"python{minor}", 1)
        status = path.lstat()
        data = path.read_bytes().replace(str(venv / "bin/python").encode(), b"/usr/local/bin/python")
        tree[name] = _describe(name, "link" if path.is_symlink() else "file", stat.S_IMODE(status.st_mode), data)
    return tree


def _list_files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()}


def _describe(name: str, kind: str, mode: int, data: bytes) -> Node:
    text = data if (_TEXT.fullmatch(name) and len(data) < 1 << 20) or name.endswith("/RECORD") else b""
    return Node(kind, mode, hashlib.sha256(data).hexdigest(), text)


def read_record(text: bytes) -> dict[str, tuple[str, str]]:
    """The lines of a RECORD: path to hash and size."""
    return {row[0]: (row[1], row[2]) for row in csv.reader(text.decode().splitlines())}
