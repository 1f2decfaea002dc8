from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from layerforge.layers.python import PythonRecipe, write
from layerforge.layers.tar import TarWriter
from layerforge.oci import Digest
from layerforge.progress import SILENCE
from tests.debian_samples import FactKeeper, file_member, make_deb


class FakeBench:
    def __init__(self, folder: Path, executor: ThreadPoolExecutor) -> None:
        self.folder, self.compressors, self.reporter = folder, executor, SILENCE
        self.compiled: list[str] = []
        keeper = FactKeeper(self.material)
        self.keep_facts, self.expect_packages = keeper.keep_facts, keeper.expect_packages

    def material(self, digest: Digest) -> Path:
        return self.folder / digest.hex

    def compile_bytecode(self, minor: str, sources: Sequence[tuple[str, bytes]]) -> list[bytes | None]:
        self.compiled += [path for path, _ in sources]
        return [None if b"broken" in source else minor.encode() + b":" + source for _, source in sources]


def test_interpreter_environment_and_bytecode(tmp_path: Path) -> None:
    members = [
        file_member("./usr/bin/python3.13", b"ELF", mode=0o755),
        file_member("./usr/lib/python3.13/json/__init__.py", b"source"),
        file_member("./usr/lib/python3.13/broken.py", b"broken"),
        file_member("./usr/lib/python3.13/data.txt", b"text"),
        file_member("./usr/lib/python3/dist-packages/extra.py", b"extra"),
        file_member("./usr/share/gdb/other.py", b"other"),
    ]
    data = make_deb({"Package": "python3.13"}, members)
    digest = Digest.of(data)
    (tmp_path / digest.hex).write_bytes(data)
    output = io.BytesIO()
    with ThreadPoolExecutor(2) as threads:
        bench = FakeBench(tmp_path, threads)
        writer = TarWriter(output)
        write(PythonRecipe((digest,), "3.13", "3.13.5"), writer, bench)  # type: ignore[arg-type]
        writer.finish()
    with tarfile.open(fileobj=io.BytesIO(output.getvalue())) as tar:
        contents = {member.name: tar.extractfile(member).read() for member in tar if member.isreg()}  # type: ignore[union-attr]
        links = {member.name: member.linkname for member in tar if member.issym()}
        assert tar.getmember("usr/local/lib/python3.13/site-packages").isdir()
    assert contents["usr/lib/python3.13/json/__pycache__/__init__.cpython-313.pyc"] == b"3.13:source"
    assert contents["usr/lib/python3/dist-packages/__pycache__/extra.cpython-313.pyc"] == b"3.13:extra"
    assert contents["usr/lib/python3.13/broken.py"] == b"broken"
    assert sum(name.endswith(".pyc") for name in contents) == 2
    assert bench.compiled == sorted(bench.compiled)
    assert contents["usr/local/pyvenv.cfg"] == (
        b"home = /usr/bin\ninclude-system-site-packages = false\nversion = 3.13.5\n"
    )
    assert links == {f"usr/local/bin/{name}": "/usr/bin/python3.13" for name in ("python", "python3", "python3.13")}
    assert "var/lib/dpkg/info/python3.13.list" in contents
