"""Made-up archives of standalone builds, in both of their forms, and catalogues that name them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import zstandard

from tests.debian_samples import Member, make_tar

ORIGIN = "https://github.com/astral-sh/python-build-standalone/releases/download"


def link_member(path: str, target: str, *, hard: bool = False) -> Member:
    info = tarfile.TarInfo(path)
    info.type, info.linkname, info.mode = tarfile.LNKTYPE if hard else tarfile.SYMTYPE, target, 0o777
    return info, b""


def make_archive(members: list[Member], *, form: str = "gzip") -> bytes:
    """``members`` as a compressed archive; their paths are taken as they are."""
    data = make_tar(members)
    return gzip.compress(data, 1, mtime=0) if form == "gzip" else zstandard.compress(data, 1)


def pack_folder(folder: Path, name: str = "python") -> bytes:
    """``folder`` as an ``install_only`` archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as tar:
        tar.add(folder, name)
    return buffer.getvalue()


def archive_name(version: str, machine: str = "x86_64", tag: str = "20261110") -> str:
    return f"cpython-{version}+{tag}-{machine}-unknown-linux-gnu-install_only_stripped.tar.gz"


def archive_url(version: str, machine: str = "x86_64", tag: str = "20261110", origin: str = ORIGIN) -> str:
    return f"{origin}/{tag}/{archive_name(version, machine, tag).replace('+', '%2B')}"


def listed(version: str, **other: Any) -> dict[str, Any]:
    """An item of what ``uv python list --output-format json`` prints."""
    machine = other.get("arch", "x86_64")
    item = {"version": version, "implementation": "cpython", "os": "linux", "arch": machine, "libc": "gnu"}
    return {**item, "variant": "default", "path": None, "url": archive_url(version, machine), **other}


def described(version: str, **other: Any) -> dict[str, Any]:
    """An item of uv's ``download-metadata.json``."""
    major, minor, patch = (int(part) for part in version.split("."))
    item = {"name": "cpython", "arch": {"family": "x86_64", "variant": None}, "os": "linux", "libc": "gnu"}
    item |= {"major": major, "minor": minor, "patch": patch, "prerelease": "", "variant": None, "sha256": None}
    return {**item, "url": archive_url(version), **other}


def write_catalogue(path: Path, items: list[dict[str, Any]]) -> Path:
    path.write_text(json.dumps({str(number): item for number, item in enumerate(items)}))
    return path


def write_release(root: Path, archives: Mapping[str, bytes], *, tag: str = "20261110", sums: bool = True) -> Path:
    """A mirror's folder of one release, with its ``SHA256SUMS`` unless that is not wanted."""
    folder = root / tag
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in archives.items():
        (folder / name).write_bytes(data)
    if sums:
        lines = [f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in archives.items()]
        (folder / "SHA256SUMS").write_text("".join(lines))
    return folder
