"""Failures of the interpreter on the build host, with made-up packages; what it compiles is in test_debian_real.py."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from layerforge.errors import SourceError
from layerforge.lock import LockedDeb, LockedFile, LockedPython, PlatformLock
from layerforge.oci import Digest
from layerforge.sources.debian.deb import DebFile, read_entries
from layerforge.sources.debian.placement import merge_path
from layerforge.sources.interpreters import Interpreter, PythonSource, host_architecture
from layerforge.sources.interpreters.packages import PackageRoots, Unpacking
from layerforge.store import Store
from tests.debian_samples import Member, file_member, make_deb
from tests.python_archives import make_archive

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
    assert len(list((store.root / "roots").iterdir())) == len(PACKAGES)


def test_a_damaged_package_leaves_nothing_behind(tmp_path: Path, store: Store) -> None:
    shelf = Shelf(tmp_path, program("exit 0"))
    (tmp_path / shelf.lock.base[0].digest.hex).write_bytes(b"rubbish")
    with pytest.raises(Exception, match="not a Debian package"):
        compile_one(shelf, store)
    assert not list((store.root / "roots").iterdir())


def read_package(path: Path, unpacking: Unpacking | None) -> None:
    """What a layer does with a package."""
    with DebFile(path) as deb:
        for entry, content in read_entries(deb.data_chunks(), where="package"):
            passing = unpacking.add(entry, merge_path(entry), content) if unpacking is not None else content
            for _ in passing:
                pass
    if unpacking is not None:
        unpacking.finish()


def test_packages_that_a_layer_reads_are_not_read_again(tmp_path: Path, store: Store) -> None:
    shelf = Shelf(tmp_path, program(r"cat > /dev/null; printf '\003\000\000\000abc'"))
    interpreter = Interpreter(store, shelf.lock, shelf.find)
    debs = [deb.digest for deb in shelf.lock.base]
    other = Digest.of(b"another package")
    with ThreadPoolExecutor(1) as thread, interpreter.expect_packages([*debs, other]) as begin:
        assert begin(other) is None
        answer = thread.submit(interpreter.compile_bytecode, "3.13", [("a.py", b"")])
        for digest in debs:
            assert not answer.done()
            read_package(tmp_path / digest.hex, begin(digest))
        assert answer.result(30) == [b"abc"]
    assert shelf.found == 0
    with interpreter.expect_packages(debs) as begin:
        assert begin(debs[0]) is None


def test_packages_that_were_to_be_read_and_are_not_are_unpacked_in_the_end(tmp_path: Path, store: Store) -> None:
    shelf = Shelf(tmp_path, program(r"cat > /dev/null; printf '\003\000\000\000abc'"))
    interpreter = Interpreter(store, shelf.lock, shelf.find)
    with ThreadPoolExecutor(1) as thread:
        with pytest.raises(RuntimeError), interpreter.expect_packages([deb.digest for deb in shelf.lock.base]) as begin:
            answer = thread.submit(interpreter.compile_bytecode, "3.13", [("a.py", b"")])
            assert begin(shelf.lock.base[0].digest) is not None  # begun, not finished
            raise RuntimeError
        assert answer.result(30) == [b"abc"]
    assert shelf.found == len(PACKAGES)
    assert not list(store.scratch.iterdir())


def test_conversions_of_character_sets_are_not_unpacked(tmp_path: Path, store: Store) -> None:
    members = [
        *program("exit 0"),
        file_member("./usr/lib/x86_64-linux-gnu/gconv/BIG5.so", b"big"),
        file_member("./usr/lib/x86_64-linux-gnu/libm.so.6", b"m"),
        file_member("./etc/ld.so.conf.d/x.conf", b"/usr/lib"),
    ]
    shelf = Shelf(tmp_path, members)
    root = PackageRoots(store).unpack(shelf.lock.base[0], shelf.find)
    files = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    assert files == ["usr/bin/python3.13", "usr/lib/x86_64-linux-gnu/libm.so.6", f"usr/lib64/{LOADER}"]


# -- standalone builds -----------------------------------------------------------------------------------------

ANSWER = r"""case "$*" in *-S\ -c*) exit 0;; esac; cat > /dev/null; printf '\003\000\000\000abc'"""


class Depot:
    """An archive whose Python is a shell script, and a lock that names it."""

    def __init__(self, folder: Path, text: str, debs: tuple[LockedDeb, ...] = (), platform: str = "") -> None:
        self.folder = folder
        members = [
            file_member("python/bin/python3.12", f"#!/bin/sh\n{text}\n".encode(), mode=0o755),
            file_member("python/lib/python3.12/os.py", b"", mode=0o644),
            file_member("python/include/python3.12/Python.h", b"", mode=0o644),
        ]
        data = make_archive(members)
        archive = LockedFile("cpython.tar.gz", "https://example.org/cpython.tar.gz", len(data), Digest.of(data))
        (folder / archive.digest.hex).write_bytes(data)
        self.python = LockedPython("3.12", "3.12.4", "standalone", "/opt/python/bin", "", archive)
        name = platform or f"linux/{host_architecture()}"
        self.lock = PlatformLock(name, "trixie", self.python, debs, (), (), (), ())
        self.found = 0

    def find(self, digest: Digest) -> Path:
        self.found += 1
        return self.folder / digest.hex


def test_a_standalone_python_is_unpacked_once_and_started_as_it_is(tmp_path: Path, store: Store) -> None:
    depot = Depot(tmp_path, ANSWER)
    for _ in range(2):
        interpreter = Interpreter(store, depot.lock, depot.find)
        assert interpreter.compile_bytecode("3.12", [("a.py", b"")]) == [b"abc"]
    assert depot.found == 1
    (root,) = (store.root / "roots").iterdir()
    assert sorted(path.name for path in root.rglob("*") if path.is_file()) == ["os.py", "python3.12"]


def test_where_it_does_not_start_the_loader_of_the_image_is_used(tmp_path: Path, store: Store) -> None:
    loader = file_member(f"./usr/lib64/{LOADER}", f"#!/bin/sh\n{ANSWER}\n".encode(), mode=0o755)
    data = make_deb({"Package": "libc6"}, [loader])
    deb = LockedDeb("libc6", "1", host_architecture(), "debian", "pool/libc6.deb", len(data), Digest.of(data))
    (tmp_path / deb.digest.hex).write_bytes(data)
    depot = Depot(tmp_path, "exit 127", (deb,))
    assert Interpreter(store, depot.lock, depot.find).compile_bytecode("3.12", [("a.py", b"")]) == [b"abc"]


def test_a_standalone_python_that_does_not_run_here(tmp_path: Path, store: Store) -> None:
    depot = Depot(tmp_path, "exit 127")
    with pytest.raises(SourceError, match=r"cpython\.tar\.gz: the standalone build of Python 3\.12 does not run"):
        Interpreter(store, depot.lock, depot.find).compile_bytecode("3.12", [("a.py", b"")])


def test_for_another_processor_the_same_python_for_this_one_is_used(tmp_path: Path, store: Store) -> None:
    foreign = Depot(tmp_path, "exit 1", platform="linux/riscv64")
    own = Depot(tmp_path, ANSWER)
    with pytest.raises(SourceError, match="for this machine"):
        Interpreter(store, foreign.lock, foreign.find).compile_bytecode("3.12", [("a.py", b"")])
    interpreter = Interpreter(store, foreign.lock, own.find, lambda: PythonSource(own.python, ()))
    assert interpreter.compile_bytecode("3.12", [("a.py", b"")]) == [b"abc"]
