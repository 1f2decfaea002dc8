"""Failures of the interpreter on the build host, with made-up packages; what it compiles is in test_debian_real.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerforge.errors import SourceError
from layerforge.lock import LockedDeb, LockedPython, PlatformLock
from layerforge.oci import Digest
from layerforge.sources.interpreters import Interpreter, host_architecture
from layerforge.store import Store
from tests.debian_samples import Member, file_member, make_deb

PACKAGES = ("libc6", "libpython3.13-minimal", "python3.13-minimal", "libexpat1", "zlib1g")
LOADER = "ld-linux-aarch64.so.1" if host_architecture() == "arm64" else "ld-linux-x86-64.so.2"


class Shelf:
    """Made-up packages and a lock that names them."""

    def __init__(self, folder: Path, members: list[Member], names: tuple[str, ...] = PACKAGES) -> None:
        self.folder = folder
        debs = []
        for name in names:
            data = make_deb({"Package": name}, members if name == "libc6" else [])
            digest = Digest.of(data)
            (folder / digest.hex).write_bytes(data)
            debs.append(LockedDeb(name, "1", host_architecture(), "debian", f"pool/{name}.deb", len(data), digest))
        version = LockedPython("3.13", "3.13.5", "debian")
        self.lock = PlatformLock(f"linux/{host_architecture()}", "trixie", version, tuple(debs), (), (), (), ())
        self.found = 0

    def find(self, digest: Digest) -> Path:
        self.found += 1
        return self.folder / digest.hex


def compile_one(shelf: Shelf, store: Store) -> list[bytes | None]:
    return Interpreter(store, shelf.lock, shelf.find).compile_bytecode("3.13", [("a.py", b"")])


def program(text: str) -> list[Member]:
    """A loader that is a shell script: it is what gets executed."""
    return [
        file_member(f"./usr/lib64/{LOADER}", f"#!/bin/sh\n{text}\n".encode(), mode=0o755),
        file_member("./usr/bin/python3.13", b"", mode=0o755),
    ]


def test_nothing_is_fetched_for_nothing(tmp_path: Path, store: Store) -> None:
    shelf = Shelf(tmp_path, [])
    assert Interpreter(store, shelf.lock, shelf.find).compile_bytecode("3.13", []) == []
    assert shelf.found == 0


def test_a_lock_without_the_interpreter(tmp_path: Path, store: Store) -> None:
    with pytest.raises(SourceError, match=r"the lock lacks libpython3\.13-minimal, python3\.13-minimal"):
        compile_one(Shelf(tmp_path, [], ("libc6", "libexpat1", "zlib1g")), store)


def test_packages_without_a_program(tmp_path: Path, store: Store) -> None:
    with pytest.raises(SourceError, match=r"hold no Python 3\.13"):
        compile_one(Shelf(tmp_path, []), store)


def test_an_interpreter_that_stops_is_quoted(tmp_path: Path, store: Store) -> None:
    shelf = Shelf(tmp_path, program("echo 'Fatal: no encodings' >&2; exit 1"))
    with pytest.raises(SourceError, match="stopped while compiling: Fatal: no encodings"):
        compile_one(shelf, store)


def test_an_answer_that_is_cut_off(tmp_path: Path, store: Store) -> None:
    with pytest.raises(SourceError, match="stopped while compiling"):
        compile_one(Shelf(tmp_path, program(r"printf '\100\000\000\000abc'")), store)


def test_packages_are_unpacked_once_and_whole(tmp_path: Path, store: Store) -> None:
    answer = program(r"cat > /dev/null; printf '\003\000\000\000abc'")
    shelf = Shelf(tmp_path, answer)
    assert compile_one(shelf, store) == [b"abc"]
    assert shelf.found == len(PACKAGES)
    assert compile_one(shelf, store) == [b"abc"]
    assert shelf.found == len(PACKAGES)
    assert len(list((store.root / "roots").iterdir())) == 1


def test_a_damaged_package_leaves_nothing_behind(tmp_path: Path, store: Store) -> None:
    shelf = Shelf(tmp_path, program("exit 0"))
    (tmp_path / shelf.lock.base[-1].digest.hex).write_bytes(b"rubbish")
    with pytest.raises(Exception, match="not a Debian package"):
        compile_one(shelf, store)
    assert not list((store.root / "roots").iterdir())
