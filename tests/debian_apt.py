"""A release's real index, and the release's own apt asked what it would install from exactly these files.

apt and its libraries are unpacked from the release's packages and started through their own dynamic loader, so that
bookworm is judged by apt 2.6 and trixie by apt 3.0 whatever the host has. apt reads the index files and a dpkg status
that we write, and touches no network.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import unquote

from layerforge.lock import LockedDeb
from layerforge.oci import Digest
from layerforge.sources.debian.archive import debian_urls, fetch_release, suites_of
from layerforge.sources.debian.catalog import PackageIndex, inflate_index, read_catalog
from layerforge.sources.debian.control import Package
from layerforge.sources.debian.loader import TRIPLETS
from layerforge.sources.debian.locking import BASE, lock_packages
from layerforge.sources.debian.mirrors import Mirrors
from layerforge.sources.debian.resolve import resolve
from layerforge.sources.download import download
from layerforge.sources.http import read_url
from layerforge.store import Store

Chosen = frozenset[tuple[str, str, str]]
"""Name, version and architecture of each package."""

_VERSION = re.compile(rb"^Version: (.*)$", re.MULTILINE)
_FILE = re.compile(r"^'[^']*' ([^_ ]+)_([^_ ]+)_([^_ ]+)\.deb [0-9]+ ", re.MULTILINE)
_REMOVED = re.compile(r"will be REMOVED:\n((?: .*\n)+)")


class Snapshot:
    """The Packages files of a release as the mirrors have them now, and the packages of our base from them."""

    def __init__(self, release: str, architecture: str, mirrors: Mirrors) -> None:
        self.release, self.architecture = release, architecture
        self.files: dict[str, tuple[str, bytes, bytes]] = {}
        catalogs = []
        for suite, archive in suites_of(release):
            base = f"{mirrors.of(archive)[0]}/dists/{suite}"
            signed = fetch_release(base, suite, mirrors.keys)
            file = signed.files[f"main/binary-{architecture}/Packages.xz"]
            path = file.by_hash if signed.acquire_by_hash else file.path
            data = read_url(f"{base}/{path}", limit=file.size)
            assert Digest.of(data) == file.digest
            text = b"".join(inflate_index(data, where=path))
            self.files[suite] = (archive, read_url(f"{base}/InRelease", limit=1 << 24), text)
            catalogs.append((read_catalog([text]), archive))
        self.index = PackageIndex(catalogs, suites=list(self.files), architecture=architecture)
        python = {"bookworm": "python3.11", "trixie": "python3.13"}[release]
        base_names = [*(package.name for package in self.index.essential()), *BASE]
        self.base = resolve(self.index, base_names)
        self.installed = (*self.base, *resolve(self.index, [python], installed=self.base))

    def stanzas(self, packages: Iterable[Package]) -> list[str]:
        """The stanzas of ``packages`` as the index has them."""
        wanted = {(package.name.encode(), package.version.encode()): "" for package in packages}
        names = {name for name, _ in wanted}
        for _, _, text in self.files.values():
            for stanza in text.split(b"\n\n"):
                name = stanza[len(b"Package: ") : stanza.find(b"\n")]
                if name in names and (match := _VERSION.search(stanza)) and (name, match[1]) in wanted:
                    wanted[name, match[1]] = stanza.decode()
        assert all(wanted.values())
        return list(wanted.values())


class Apt:
    """The apt of a snapshot's release, in ``folder``, with the snapshot's index and ``installed`` packages."""

    def __init__(self, folder: Path, snapshot: Snapshot, store: Store, mirrors: Mirrors) -> None:
        self._folder = folder
        self._architecture = snapshot.architecture
        (folder / "root").mkdir(parents=True)
        for deb in lock_packages(resolve(snapshot.index, ["apt"])):
            self._unpack(deb, store, mirrors)
        names = ("etc/apt/preferences.d", "etc/apt/apt.conf.d", "state/lists/partial", "cache/archives/partial", "log")
        for name in names:
            (folder / name).mkdir(parents=True)
        lines = []
        for suite, (archive, signed, text) in snapshot.files.items():
            lines.append(f"deb [trusted=yes] http://mirror.invalid/{archive} {suite} main\n")
            prefix = folder / "state/lists" / f"mirror.invalid_{archive}_dists_{suite}"
            Path(f"{prefix}_InRelease").write_bytes(signed)
            Path(f"{prefix}_main_binary-{snapshot.architecture}_Packages").write_bytes(text)
        (folder / "etc/apt/sources.list").write_text("".join(lines))
        self._status = folder / "status"
        self._configure(folder)
        self.set_status(snapshot.stanzas(snapshot.installed))

    def _unpack(self, deb: LockedDeb, store: Store, mirrors: Mirrors) -> None:
        path = download(store, debian_urls(deb, mirrors), deb.digest, size=deb.size)
        subprocess.run(["dpkg-deb", "-x", path, self._folder / "root"], check=True)

    def _configure(self, folder: Path) -> None:
        settings: dict[str, object] = {"Dir": folder, "Dir::State": folder / "state", "Dir::Cache": folder / "cache"}
        settings |= {"Dir::State::status": self._status, "Dir::Etc": folder / "etc/apt", "Dir::Log": folder / "log"}
        settings |= {"APT::Architecture": self._architecture, "APT::Architectures": self._architecture}
        settings |= {"APT::Install-Recommends": "false", "Acquire::Languages": "none", "Debug::NoLocking": "true"}
        (folder / "apt.conf").write_text("".join(f'{name} "{value}";\n' for name, value in settings.items()))

    def set_status(self, stanzas: Iterable[str]) -> None:
        """Make the packages of ``stanzas`` the installed ones."""
        installed = (stanza.replace("\n", "\nStatus: install ok installed\n", 1).strip() for stanza in stanzas)
        self._status.write_text("\n\n".join(installed) + "\n")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """apt-get with ``arguments``."""
        root, triplet = self._folder / "root", TRIPLETS[self._architecture]
        (loader,) = [
            path
            for pattern in ("lib64/ld-*.so.*", "usr/lib64/ld-*.so.*", "lib/ld-*.so.*", "usr/lib/ld-*.so.*")
            for path in sorted(root.glob(pattern))
        ][:1]
        folders = [root / place / triplet for place in ("lib", "usr/lib")]
        command = [str(loader.resolve()), "--library-path", ":".join(map(str, folders)), str(root / "usr/bin/apt-get")]
        environment = {"APT_CONFIG": str(self._folder / "apt.conf"), "LC_ALL": "C", "PATH": os.environ["PATH"]}
        return subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True)

    def install(self, roots: Sequence[str]) -> Chosen | str:
        """What ``apt-get --no-install-recommends install`` would install; its words where it refuses.

        The simulation (``--simulate``) goes on to order the packages, which takes five times as long.
        """
        result = self.run("--print-uris", "--yes", "--no-install-recommends", "--allow-downgrades", "install", *roots)
        if result.returncode:
            return result.stdout + result.stderr
        chosen = {
            (name, unquote(version), architecture) for name, version, architecture in _FILE.findall(result.stdout)
        }
        removed = (name for listing in _REMOVED.findall(result.stdout) for name in listing.split())
        return frozenset(chosen | {(name.rstrip("*"), "", "removed") for name in removed})


def described(packages: Iterable[Package]) -> Chosen:
    """``packages`` as :meth:`Apt.install` gives them."""
    return frozenset((package.name, package.version, package.architecture) for package in packages)
