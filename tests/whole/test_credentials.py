"""A private index: nothing that a build writes or says holds its password."""

from __future__ import annotations

import base64
import gzip
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sources.test_credentials import PASSWORD, USER, guarded  # noqa: F401
from tests.whole.conftest import Forge

QUOTED = PASSWORD.replace("/", "%2F").replace(":", "%3A")
SECRETS = [
    PASSWORD.encode(),
    QUOTED.encode(),
    base64.b64encode(f"{USER}:{PASSWORD}".encode()).rstrip(b"=")[:-2],
]


def read_all(folder: Path, since: float) -> Iterator[tuple[Path, bytes]]:
    """Every file below ``folder`` that was written after ``since``, as it is and as what is compressed in it."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.stat().st_mtime >= since:
            data = path.read_bytes()
            yield path, data
            if data[:2] == b"\x1f\x8b":
                try:
                    yield path, gzip.decompress(data)
                except (OSError, EOFError, zlib.error):
                    pass


@pytest.mark.parametrize("way", ["variables", pytest.param("netrc", marks=pytest.mark.slow)])
def test_a_password_is_in_nothing_that_is_written(
    forge: Forge,
    guarded: str,  # noqa: F811
    tmp_path: Path,
    way: str,
) -> None:
    start = time.time() - 1
    environment = {"HOME": str(tmp_path / "home")}
    url = guarded
    if way == "variables":
        environment |= {"INDEX_USER": USER, "INDEX_PASSWORD": QUOTED}
        url = guarded.replace("://", "://${INDEX_USER}:${INDEX_PASSWORD}@")
    else:
        (tmp_path / "home/.netrc").write_text(f"machine 127.0.0.1 login {USER} password {PASSWORD}\n")
        (tmp_path / "home/.netrc").chmod(0o600)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "requirements.txt").write_text(f"--extra-index-url {url}\nsecret-tool\n")
    (folder / "cog.yaml").write_text(
        'build:\n  python_version: "3.13"\n  python_requirements: requirements.txt\nrun: run.py:Runner\n'
    )
    (folder / "run.py").write_text(
        "import secret_tool\nfrom cog import BaseRunner\n\n\n"
        "class Runner(BaseRunner):\n    def run(self) -> str:\n        return str(secret_tool.VALUE)\n"
    )
    said = [forge("build", folder, "--output", f"dir:{tmp_path / 'image'}", environment=environment)]
    assert said[0].status == 0, said[0].stderr
    said.append(forge("lock", "--upgrade", folder, environment=environment))
    said.append(forge("inspect", f"dir:{tmp_path / 'image'}", environment=environment))
    (folder / "requirements.txt").write_text(f"--extra-index-url {url}\nsecret-tool==9\n")
    said.append(forge("lock", folder, environment=environment))  # an error may not show it either
    assert said[-1].status == 1
    for result in said:
        for secret in SECRETS:
            assert secret.decode() not in result.stdout + result.stderr
    looked_at = 0
    for place in (forge.home, tmp_path / "image", folder):
        for path, data in read_all(place, start):
            looked_at += 1
            for secret in SECRETS:
                assert secret not in data, path
    assert looked_at > 10
