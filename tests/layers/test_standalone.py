from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from layerforge.errors import LayerError
from layerforge.layers.kinds import write_layer
from layerforge.layers.standalone import StandaloneRecipe
from layerforge.layers.step import Step
from layerforge.layers.tar import Layer, TarWriter
from layerforge.oci import Digest
from layerforge.progress import SILENCE
from tests.debian_samples import Member, file_member, special_member
from tests.python_archives import link_member, make_archive

MEMBERS = [
    special_member("python", tarfile.DIRTYPE, mode=0o700),
    special_member("python/bin", tarfile.DIRTYPE, mode=0o777),
    file_member("python/bin/python3.12", b"ELF", mode=0o4755, uid=1000, gid=1000),
    link_member("python/bin/python3", "python3.12"),
    link_member("python/bin/python", "python/bin/python3.12", hard=True),
    file_member("python/lib/python3.12/json/__init__.py", b"source", mode=0o600),
    file_member("python/lib/python3.12/broken.py", b"broken"),
    file_member("python/lib/python3.12/data.txt", b"text"),
    file_member("python/lib/python3.12/_sysconfigdata__linux_.py", b"build_time_vars = {'prefix': '/install'}"),
    file_member("python/lib/tk9.0/other.py", b"not of the library"),
]


class FakeBench:
    def __init__(self, folder: Path, executor: ThreadPoolExecutor) -> None:
        self.folder, self.compressors, self.reporter = folder, executor, SILENCE
        self.compiled: list[str] = []

    def material(self, digest: Digest) -> Path:
        return self.folder / digest.hex

    def compile_bytecode(self, minor: str, sources: Sequence[tuple[str, bytes]]) -> list[bytes | None]:
        self.compiled += [path for path, _ in sources]
        return [None if b"broken" in source else minor.encode() + b":" + source[:6] for _, source in sources]


def write(folder: Path, members: list[Member], minor: str = "3.12") -> tuple[Layer, bytes]:
    data = make_archive(members)
    digest = Digest.of(data)
    (folder / digest.hex).write_bytes(data)
    output = io.BytesIO()
    with ThreadPoolExecutor(2) as threads:
        tar = TarWriter(output)
        bench = FakeBench(folder, threads)
        write_layer(StandaloneRecipe(digest, minor, f"{minor}.4"), tar, bench)  # type: ignore[arg-type]
        assert bench.compiled == sorted(bench.compiled)
        return tar.finish(), output.getvalue()


def test_the_interpreter_its_bytecode_and_its_environment(tmp_path: Path) -> None:
    layer, data = write(tmp_path, MEMBERS)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        members = {member.name: member for member in tar}
        contents = {name: tar.extractfile(member).read() for name, member in members.items() if member.isreg()}  # type: ignore[union-attr]
    assert contents["opt/python/bin/python3.12"] == b"ELF"
    assert members["opt/python/bin/python3.12"].mode == 0o755
    assert members["opt/python/bin"].mode == members["opt/python"].mode == 0o755
    assert members["opt/python/lib/python3.12/data.txt"].mode == 0o644
    assert members["opt/python/bin/python3"].linkname == "python3.12"
    assert members["opt/python/bin/python"].linkname == "opt/python/bin/python3.12"
    assert contents["opt/python/lib/python3.12/json/__pycache__/__init__.cpython-312.pyc"] == b"3.12:source"
    assert sum(name.endswith(".pyc") for name in contents) == 2  # the other is that of the mended file
    assert b"/opt/python" in contents["opt/python/lib/python3.12/_sysconfigdata__linux_.py"]
    assert contents["usr/local/pyvenv.cfg"] == (
        b"home = /opt/python/bin\ninclude-system-site-packages = false\nversion = 3.12.4\n"
    )
    for name in ("python", "python3", "python3.12"):
        assert members[f"usr/local/bin/{name}"].linkname == "/opt/python/bin/python3.12"
    assert members["usr/local/lib/python3.12/site-packages"].isdir()
    assert members["opt/python/lib/python3.12/site-packages"].isdir()
    assert {(member.uid, member.gid, member.mtime) for member in members.values()} == {(0, 0, 315_619_200)}
    assert layer == write(tmp_path, MEMBERS)[0]


def test_the_key_names_the_archive_and_nothing_of_where_it_lay() -> None:
    recipe = StandaloneRecipe(Digest.of(b"a"), "3.12", "3.12.4")
    assert recipe.materials() == (Digest.of(b"a"),)
    assert Step("python", recipe).key == Step("other", recipe, size=7).key
    assert Step("python", recipe).key != Step("python", StandaloneRecipe(Digest.of(b"b"), "3.12", "3.12.4")).key


def test_an_archive_of_another_python(tmp_path: Path) -> None:
    with pytest.raises(LayerError, match=r"holds no bin/python3\.10"):
        write(tmp_path, MEMBERS, "3.10")


@pytest.mark.parametrize(
    "member",
    [
        file_member("python/../../etc/passwd", b"x"),
        link_member("python/lib/escape", "/etc"),
        special_member("python/null", tarfile.CHRTYPE),
    ],
)
def test_unsafe_archives_are_refused(member: Member, tmp_path: Path) -> None:
    with pytest.raises(LayerError, match="not safe"):
        write(tmp_path, [*MEMBERS, member])
