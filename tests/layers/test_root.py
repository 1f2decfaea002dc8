from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from layerforge.layers.remarks import read_remarks
from layerforge.layers.root import RootRecipe, write
from layerforge.layers.tar import Layer, TarWriter
from layerforge.oci import Digest
from layerforge.sources.debian.scripts.capabilities import encode_capabilities
from tests.debian_samples import FactKeeper, file_member, make_deb, special_member

BASE = [
    special_member("./etc", tarfile.DIRTYPE),
    special_member("./root", tarfile.DIRTYPE, mode=0o700),
    special_member("./usr/bin", tarfile.DIRTYPE),
    special_member("./var/lib/dpkg", tarfile.DIRTYPE),
    file_member("./usr/share/base-files/dot.profile", b"mesg n\n"),
    file_member("./usr/share/libc-bin/nsswitch.conf", b"hosts: files dns\n"),
    file_member("./usr/bin/update-unheard-of", b"\x7fELF", mode=0o755),
    file_member("./usr/bin/setcap", b"\x7fELF", mode=0o755),
    file_member("./usr/bin/ping", b"\x7fELF" + bytes(70_000), mode=0o4755),
    file_member("./usr/bin/agent", b"\x7fELF" + bytes(70_000), mode=0o755),
]
POSTINST = b"""#!/bin/sh
set -e
cp -p /usr/share/base-files/dot.profile /root/.profile
cp /usr/share/libc-bin/nsswitch.conf /etc/nsswitch.conf
echo 'root:*:0:0:root:/root:/bin/bash' > /etc/passwd
printf 'root:*:0:\\nagent:*:7:\\n' > /etc/group
install -d -m 1777 /tmp
mkdir -m 2775 /var/mail
chgrp agent /var/mail /usr/bin/agent
chmod 2755 /usr/bin/agent
if command -v setcap > /dev/null && setcap cap_net_raw+ep /usr/bin/ping; then chmod u-s /usr/bin/ping; fi
echo 127.0.0.1 > /etc/hosts
update-unheard-of --all
"""
CONTROL = {"postinst": POSTINST, "md5sums": b""}


@pytest.fixture
def state(tmp_path: Path) -> Iterator[tarfile.TarFile]:
    yield make(tmp_path, "trixie")


def make(folder: Path, release: str) -> tarfile.TarFile:
    return make_layer(folder, release)[1]


def make_layer(folder: Path, release: str) -> tuple[Layer, tarfile.TarFile]:
    data = make_deb({"Package": "base-passwd", "Version": "3"}, BASE, control=CONTROL)
    digest = Digest.of(data)
    (folder / digest.hex).write_bytes(data)
    output = io.BytesIO()
    with ThreadPoolExecutor(2) as threads:
        keeper = FactKeeper(lambda digest: folder / digest.hex)
        bench = SimpleNamespace(
            compressors=threads,
            facts=keeper.facts,
            material=lambda digest: folder / digest.hex,
        )
        writer = TarWriter(output)
        write(RootRecipe((digest,), release, "amd64"), writer, bench)  # type: ignore[arg-type]
        layer = writer.finish()
    return layer, tarfile.open(fileobj=io.BytesIO(output.getvalue()))


def read(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    assert file is not None
    return file.read()


def test_what_scripts_would_have_done(state: tarfile.TarFile) -> None:
    assert read(state, "root/.profile") == b"mesg n\n"
    assert read(state, "etc/nsswitch.conf") == b"hosts: files dns\n"
    assert read(state, "etc/passwd") == b"root:*:0:0:root:/root:/bin/bash\n"


def test_folders_have_their_modes(state: tarfile.TarFile) -> None:
    assert {name: state.getmember(name).mode for name in ("tmp", "root", "var/mail", "etc")} == {
        "tmp": 0o1777,
        "root": 0o700,
        "var/mail": 0o2775,
        "etc": 0o755,
    }


def test_a_large_file_whose_mode_changes_comes_from_its_package(state: tarfile.TarFile) -> None:
    member = state.getmember("usr/bin/agent")
    assert (member.mode, member.gid, member.size) == (0o2755, 7, 70_004)
    assert read(state, "usr/bin/agent").startswith(b"\x7fELF\0")


def test_capabilities_of_a_program_are_recorded_with_it(state: tarfile.TarFile) -> None:
    member = state.getmember("usr/bin/ping")
    assert (member.mode, member.size) == (0o755, 70_004)
    value = member.pax_headers["SCHILY.xattr.security.capability"].encode("utf-8", "surrogateescape")
    assert value == bytes.fromhex("0100000200200000000000000000000000000000")  # as setcap(8) writes it


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("cap_net_raw+ep", "0100000200200000000000000000000000000000"),
        ("cap_net_bind_service,cap_ipc_lock=p", "0000000200440000000000000000000000000000"),
        ("CAP_SYS_NICE=i cap_bpf+i", "0000000200000000000080000000000080000000"),
        ("cap_net_raw+e", "0100000200000000000000000000000000000000"),
        ("cap_unheard_of+ep", None),
        ("cap_net_raw-ep", None),
        ("cap_net_raw+ep cap_chown+p", None),
        ("all=ep", None),
    ],
)
def test_capabilities_as_the_kernel_keeps_them(text: str, value: str | None) -> None:
    assert encode_capabilities(text) == (None if value is None else bytes.fromhex(value))


def test_what_is_not_done_is_said(tmp_path: Path) -> None:
    layer, tar = make_layer(tmp_path, "trixie")
    tar.close()
    warnings = [remark.text for remark in read_remarks(layer.descriptor.annotations)]
    assert warnings == ['base-passwd: its postinst runs "update-unheard-of --all": not done here']


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
