"""The root that mmdebstrap makes of the very same packages, maintainer scripts run.

It gets a repository of the .debs that the lock names and nothing else: versions cannot differ, no network is used.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from layerforge.layers.headers import EPOCH
from layerforge.lock import LockedDeb, PlatformLock
from layerforge.oci import Digest
from layerforge.platforms import host_platform
from layerforge.sources.debian.deb import DebFile
from layerforge.sources.debian.slim import DPKG_CONFIG
from tests.fidelity.roots import Root, read_root

_MERGE = """
for name in bin sbin lib lib64; do mkdir -p "$1/usr/$name"; ln -s "usr/$name" "$1/$name"; done
"""
"""What debootstrap does for releases whose packages do not ship these links."""

_MANUALS = 'mkdir -p "$1/usr/share/man/man1"'
"""Java's postinst fails where there is no such folder."""

_DPKG_OPTIONS = [line.replace(" ", "=", 1) for line in DPKG_CONFIG.splitlines() if not line.startswith("#")]
_REVISION = 3
"""Raised when the options below change, so that remembered roots are not used."""


def program() -> str | None:
    """mmdebstrap, where it is installed."""
    return shutil.which("mmdebstrap")


def remembered(section: PlatformLock, find: Callable[[Digest], Path], folder: Path, memory: Path | None) -> Root:
    """The reference root; with a ``memory`` folder, the one made before from the same packages."""
    identity = "\n".join(sorted(str(deb.digest) for deb in section.debs)) + f"\n{_REVISION}\n{DPKG_CONFIG}"
    name = hashlib.sha256(identity.encode()).hexdigest()
    known = memory / f"{name}.msgpack" if memory else None
    if known and known.exists():
        return msgspec.msgpack.decode(known.read_bytes(), type=Root)
    root = read_root([bootstrap(section, find, folder)])
    if known:
        known.parent.mkdir(parents=True, exist_ok=True)
        temporary = known.with_suffix(f".{os.getpid()}")
        temporary.write_bytes(msgspec.msgpack.encode(root))
        temporary.rename(known)
    return root


def bootstrap(section: PlatformLock, find: Callable[[Digest], Path], folder: Path) -> Path:
    """The archive of the root. ``find`` gives the file of a digest; ``folder`` is for everything that is written."""
    repository = folder / "repository"
    write_repository(section.debs, find, repository)
    archive = folder / "reference.tar"
    includes = ",".join(deb.name for deb in section.debs)
    command = [str(program()), "--mode=root", "--variant=apt", "--format=tar", f"--include={includes}"]
    command += [f"--architectures={host_platform().architecture}", "--dpkgopt=force-unsafe-io", "--skip=output/dev"]
    command += [f"--dpkgopt={option}" for option in _DPKG_OPTIONS]
    command += ['--aptopt=Acquire::Languages "none"', '--aptopt=APT::Install-Recommends "false"']
    command.append(f"--setup-hook={_MANUALS}")
    if section.release == "bookworm":
        command.append(f"--setup-hook={_MERGE}")
    command += [section.release, str(archive), f"deb [trusted=yes] copy:{repository} ./"]
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "TMPDIR": str(folder), "LC_ALL": "C.UTF-8"}
    environment |= {"SOURCE_DATE_EPOCH": str(EPOCH), "DEBIAN_FRONTEND": "noninteractive"}
    folder.chmod(0o755)  # apt's own user reads the repository
    result = subprocess.run(command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if result.returncode:
        raise RuntimeError(f"mmdebstrap failed:\n{(result.stdout + result.stderr)[-3000:]}")
    return archive


def write_repository(debs: Iterable[LockedDeb], find: Callable[[Digest], Path], folder: Path) -> None:
    """A flat repository (``deb copy:FOLDER ./``) of these packages."""
    folder.mkdir(parents=True)
    stanzas = []
    for deb in debs:
        path = find(deb.digest)
        name = f"{deb.digest.hex}.deb"
        (folder / name).symlink_to(path)
        with DebFile(path) as opened:
            control = opened.control["control"].content.decode().strip("\n")
        stanzas.append(f"{control}\nFilename: ./{name}\nSize: {path.stat().st_size}\nSHA256: {deb.digest.hex}\n")
    (folder / "Packages").write_text("\n".join(stanzas))
