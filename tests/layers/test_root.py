from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from layerforge.layers.root import RootRecipe, write
from layerforge.layers.tar import TarWriter
from layerforge.oci import Digest
from tests.debian_samples import FactKeeper, file_member, make_deb

BASE = [
    file_member("./usr/share/base-passwd/passwd.master", b"root:*:0:0:root:/root:/bin/bash\n"),
    file_member("./usr/share/base-passwd/group.master", b"root:*:0:\n"),
    file_member("./usr/share/base-files/dot.profile", b"mesg n\n"),
    file_member("./usr/share/libc-bin/nsswitch.conf", b"hosts: files dns\n"),
]


@pytest.fixture
def state(tmp_path: Path) -> Iterator[tarfile.TarFile]:
    yield make(tmp_path, "trixie")


def make(folder: Path, release: str) -> tarfile.TarFile:
    data = make_deb({"Package": "base-passwd", "Version": "3"}, BASE)
    digest = Digest.of(data)
    (folder / digest.hex).write_bytes(data)
    output = io.BytesIO()
    with ThreadPoolExecutor(2) as threads:
        keeper = FactKeeper(lambda digest: folder / digest.hex)
        bench = SimpleNamespace(compressors=threads, facts=keeper.facts)
        writer = TarWriter(output)
        write(RootRecipe((digest,), release, "amd64"), writer, bench)  # type: ignore[arg-type]
        writer.finish()
    return tarfile.open(fileobj=io.BytesIO(output.getvalue()))


def read(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    assert file is not None
    return file.read()


def test_what_scripts_would_have_copied(state: tarfile.TarFile) -> None:
    assert read(state, "root/.profile") == b"mesg n\n"
    assert read(state, "etc/nsswitch.conf") == b"hosts: files dns\n"
    assert read(state, "etc/passwd") == b"root:*:0:0:root:/root:/bin/bash\n"


def test_folders_have_their_modes(state: tarfile.TarFile) -> None:
    modes = {name: state.getmember(name).mode for name in ("tmp", "var/tmp", "root", "run/lock", "var/mail", "srv")}
    assert modes == {
        "tmp": 0o1777,
        "var/tmp": 0o1777,
        "root": 0o700,
        "run/lock": 0o1777,
        "var/mail": 0o2775,
        "srv": 0o755,
    }
    assert state.getmember("var/run").linkname == "/run"


def test_dpkg_knows_the_packages(state: tarfile.TarFile) -> None:
    assert b"Package: base-passwd\nStatus: install ok installed\n" in read(state, "var/lib/dpkg/status")
    assert read(state, "var/lib/dpkg/info/format") == b"1\n"


def test_nothing_of_this_machine_is_in_it(state: tarfile.TarFile) -> None:
    names = set(state.getnames())
    assert not names & {"etc/hostname", "etc/hosts", "etc/resolv.conf", "etc/apt/sources.list"}
    assert not any(name.startswith("etc/apt") for name in names)


def test_links_into_usr_where_no_package_ships_them(tmp_path: Path, state: tarfile.TarFile) -> None:
    assert "lib" not in state.getnames()
    with make(tmp_path, "bookworm") as tar:
        links = {name: tar.getmember(name).linkname for name in ("bin", "lib", "lib64", "sbin")}
    assert links == {"bin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib64", "sbin": "usr/sbin"}


def test_entries_are_sorted(state: tarfile.TarFile) -> None:
    files = [member.name for member in state if not member.isdir()]
    assert files == sorted(files)
