"""The real archive: what is locked is what apt would install, and the root assembled from it works when entered."""

from __future__ import annotations

import io
import marshal
import os
import random
import shutil
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from layerforge.errors import LayerError, SourceError
from layerforge.layers import debian, python, root
from layerforge.layers.step import Recipe
from layerforge.layers.tar import Layer, TarWriter
from layerforge.lock import LockedDeb, PlatformLock
from layerforge.oci import LINUX_AMD64, LINUX_ARM64, Digest
from layerforge.progress import SILENCE
from layerforge.sources.debian import debian_urls, find_mirrors, lock_debian
from layerforge.sources.debian.mirrors import Mirrors
from layerforge.sources.download import download
from layerforge.sources.interpreters import Interpreter, PythonSource, host_architecture
from layerforge.store import Store
from tests.conftest import require
from tests.debian_samples import FactKeeper

pytestmark = pytest.mark.network

MINORS = ("3.13", "3.11")


class Bench:
    """What a real build's Workbench does, for Debian's packages."""

    def __init__(self, store: Store, lock: PlatformLock, mirrors: Mirrors) -> None:
        self.store, self.lock, self.mirrors, self.reporter = store, lock, mirrors, SILENCE
        self.compressors = ThreadPoolExecutor(2)
        self.debs = {deb.digest: deb for deb in (*lock.base, *lock.interpreter)}
        self.interpreter = Interpreter(store, lock, self.material)
        keeper = FactKeeper(self.material)
        self.facts, self.keep_facts = keeper.facts, keeper.keep_facts
        self.expect_packages = self.interpreter.expect_packages

    def material(self, digest: Digest) -> Path:
        deb = self.debs[digest]
        return download(self.store, debian_urls(deb, self.mirrors), digest, size=deb.size)

    def open_project_file(self, path: str, digest: Digest) -> io.BytesIO:
        raise NotImplementedError

    def compile_bytecode(self, minor: str, sources: Sequence[tuple[str, bytes]]) -> list[bytes | None]:
        return self.interpreter.compile_bytecode(minor, sources)


def platform_lock(minor: str, store: Store) -> PlatformLock:
    platform = LINUX_AMD64 if host_architecture() == "amd64" else LINUX_ARM64
    found = lock_debian(minor, platform, store)
    return PlatformLock(str(platform), found.release, found.python, found.base, found.interpreter, (), (), ())


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    mirrors = find_mirrors()
    require(mirrors.urls.get("debian") and mirrors.keys, "this machine has no Debian mirrors or keyring configured")
    store = Store(tmp_path_factory.mktemp("debian") / "store")
    yield store
    store.close()


@pytest.fixture(scope="module", params=MINORS)
def bench(request: pytest.FixtureRequest, shared: Store) -> Iterator[Bench]:
    bench = Bench(shared, platform_lock(request.param, shared), find_mirrors())
    yield bench
    bench.compressors.shutdown()


def write_layer(recipe: Recipe, bench: Bench, path: Path) -> Layer:
    writers = {debian.DebianRecipe: debian.write, root.RootRecipe: root.write, python.PythonRecipe: python.write}
    with path.open("wb") as file:
        tar = TarWriter(file, executor=bench.compressors)
        writers[type(recipe)](recipe, tar, bench)  # type: ignore[operator]
        return tar.finish()


def recipes(lock: PlatformLock) -> tuple[Recipe, ...]:
    base, interpreter = (tuple(deb.digest for deb in debs) for debs in (lock.base, lock.interpreter))
    return (
        debian.DebianRecipe(base),
        python.PythonRecipe(interpreter, lock.python.minor, lock.python.version),
        root.RootRecipe(base + interpreter, lock.release, host_architecture()),
    )


@pytest.fixture(scope="module")
def assembled(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root, unpacked."""
    require(os.geteuid() == 0, "only root can unpack files of other users and enter a root")
    folder = tmp_path_factory.mktemp("root")
    for number, recipe in enumerate(recipes(bench.lock)):
        path = folder / f"{number}.tar.gz"
        write_layer(recipe, bench, path)
        with tarfile.open(path) as tar:
            tar.extractall(folder / "root", filter="fully_trusted")
    return folder / "root"


def enter(folder: Path, *command: str) -> str:
    environment = {"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/root"}
    chroot = shutil.which("chroot", path="/usr/sbin:/sbin:/usr/bin:/bin")
    result = subprocess.run(
        [str(chroot), str(folder), *command], env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.mark.sandbox
def test_python_works_with_its_libraries(assembled: Path, bench: Bench) -> None:
    modules = "bz2 ctypes curses decimal hashlib json lzma multiprocessing readline sqlite3 ssl sys zlib zoneinfo"
    program = (
        f"import {', '.join(modules.split())}\n"
        "zoneinfo.ZoneInfo('Europe/Berlin'); ctypes.CDLL('libssl.so.3')\n"
        "assert sqlite3.connect(':memory:').execute('select 1').fetchone() == (1,)\n"
        "assert ssl.create_default_context() and hashlib.new('sha256')\n"
        "print(sys.prefix, sys.base_prefix, sys.version.split()[0])\n"
    )
    version = bench.lock.python.version
    assert enter(assembled, "python", "-c", program).split() == ["/usr/local", "/usr", version]
    assert enter(assembled, f"python{bench.lock.python.minor}", "-c", program).split()[2] == version


@pytest.mark.sandbox
def test_bytecode_is_used_as_it_is(assembled: Path) -> None:
    said = subprocess.run(
        ["chroot", str(assembled), "/usr/local/bin/python", "-v", "-c", "import json, asyncio"],
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    assert "json/__init__.py" in said
    loaded = [line for line in said.splitlines() if line.startswith("# code object from")]
    # sitecustomize is a file for the administrator to change, which the maintainer script writes: not compiled
    sources = [line for line in loaded if "/__pycache__/" not in line and "/sitecustomize.py" not in line]
    assert len(loaded) > 50 and sources == []
    assert "# wrote" not in said


@pytest.mark.sandbox
def test_dpkg_and_apt_are_content(assembled: Path, bench: Bench) -> None:
    listing = enter(assembled, "dpkg-query", "-W", "-f", "${Package} ${Version} ${db:Status-Status}\n").splitlines()
    expected = {f"{deb.name} {deb.version} installed" for deb in (*bench.lock.base, *bench.lock.interpreter)}
    assert set(listing) == expected
    assert enter(assembled, "dpkg", "--audit") == ""
    assert "Building dependency tree" in enter(assembled, "apt-get", "check")
    dropped = ("/usr/share/doc/", "/usr/share/man/", "/usr/share/info/", "/usr/share/locale/", "/usr/share/lintian/")
    changed = subprocess.run(["chroot", str(assembled), "dpkg", "--verify"], capture_output=True, text=True).stdout
    assert [line for line in changed.splitlines() if not any(folder in line for folder in dropped)] == []


@pytest.mark.sandbox
def test_programs_and_state(assembled: Path) -> None:
    assert enter(assembled, "awk", "BEGIN { print 6 * 7 }") == "42\n"
    assert "perl" in enter(assembled, "perl", "-v")
    assert enter(assembled, "sh", "-c", "id -un; id -u _apt; which sh; readlink /etc/localtime").split() == [
        "root",
        "42",
        "/usr/bin/sh",
        "/usr/share/zoneinfo/Etc/UTC",
    ]
    authority = "/usr/share/ca-certificates/mozilla/ISRG_Root_X1.crt"
    assert "OK" in enter(assembled, "openssl", "verify", "-no-CAfile", "-CApath", "/etc/ssl/certs", authority)
    assert len([line for line in enter(assembled, "ldconfig", "-p").splitlines() if "=>" in line]) > 50
    before = (assembled / "etc/ld.so.cache").read_bytes()
    enter(assembled, "ldconfig")
    assert (assembled / "etc/ld.so.cache").read_bytes() == before


def test_layers_are_the_same_every_time_and_hold_nothing_odd(bench: Bench, tmp_path: Path) -> None:
    for recipe in recipes(bench.lock):
        assert write_layer(recipe, bench, tmp_path / "1") == write_layer(recipe, bench, tmp_path / "2")
        with tarfile.open(tmp_path / "1") as tar:
            members = tar.getmembers()
        assert all(member.isreg() or member.isdir() or member.issym() or member.islnk() for member in members)
        tops = {member.name.partition("/")[0] for member in members if "/" in member.name}
        assert not tops & {"bin", "sbin", "lib", "lib64"}


# -- the interpreter on this machine ------------------------------------------------------------------------------


def sources_of(bench: Bench) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    minor = bench.lock.python.minor

    class Collecting(Bench):
        def compile_bytecode(self, minor: str, sources: Sequence[tuple[str, bytes]]) -> list[bytes | None]:
            found.extend(sources)
            return [None] * len(sources)

    digests = tuple(deb.digest for deb in bench.lock.interpreter if deb.name == f"libpython{minor}-minimal")
    python.write(
        python.PythonRecipe(digests, minor, bench.lock.python.version),
        TarWriter(io.BytesIO()),
        Collecting(bench.store, bench.lock, bench.mirrors),
    )
    return found


def test_bytecode_does_not_depend_on_neighbours_order_or_threads(bench: Bench) -> None:
    minor, sources = bench.lock.python.minor, sources_of(bench)
    assert len(sources) > 100
    compiled = dict(zip([path for path, _ in sources], bench.compile_bytecode(minor, sources), strict=True))
    assert all(code is not None for code in compiled.values())
    shuffled = random.Random(1).sample(sources, len(sources))
    again = bench.compile_bytecode(minor, shuffled)
    assert [compiled[path] for path, _ in shuffled] == again
    for path, source in shuffled[:10]:
        assert bench.compile_bytecode(minor, [(path, source)]) == [compiled[path]]


def test_bytecode_is_unchecked_and_named_by_its_place_in_the_image(bench: Bench) -> None:
    minor = bench.lock.python.minor
    sources = [("src/a.py", b"x = 1\n"), ("src/b.py", b"def broken(:\n"), ("src/c.py", b"\xff\xfe"), ("d.py", b"")]
    good, *bad, empty = bench.compile_bytecode(minor, sources)
    assert bad == [None, None] and empty is not None and good is not None
    assert good[4:8] == b"\x01\x00\x00\x00"  # PEP 552: hash-based, not checked
    assert b"/src/a.py" in good
    if minor == f"{sys.version_info[0]}.{sys.version_info[1]}":
        assert marshal.loads(good[16:]).co_filename == "/src/a.py"


def test_many_large_sources_do_not_block(bench: Bench) -> None:
    sources = [(f"m{number}.py", b"x = '" + b"a" * 300_000 + b"'\n") for number in range(150)]
    assert all(bench.compile_bytecode(bench.lock.python.minor, sources))


def test_several_threads_may_compile_at_once(bench: Bench) -> None:
    fresh = Interpreter(bench.store, bench.lock, bench.material)
    results: list[list[bytes | None]] = []
    calls = [
        threading.Thread(
            target=lambda: results.append(fresh.compile_bytecode(bench.lock.python.minor, [("a.py", b"")]))
        )
        for _ in range(4)
    ]
    for call in calls:
        call.start()
    for call in calls:
        call.join()
    assert len(results) == 4 and len({bytes(result[0] or b"") for result in results}) == 1


def test_another_python_and_another_processor_are_refused(bench: Bench) -> None:
    with pytest.raises(LayerError, match=r"not 2\.7"):
        bench.compile_bytecode("2.7", [])
    foreign = tuple(_of_architecture(deb, "riscv64") for deb in (*bench.lock.base, *bench.lock.interpreter))
    lock = PlatformLock("linux/riscv64", bench.lock.release, bench.lock.python, foreign, (), (), (), ())
    with pytest.raises(SourceError, match="for this machine"):
        Interpreter(bench.store, lock, bench.material).compile_bytecode(bench.lock.python.minor, [("a.py", b"")])
    own = (*bench.lock.base, *bench.lock.interpreter)
    source = PythonSource(bench.lock.python, own)
    helped = Interpreter(bench.store, lock, bench.material, lambda: source)
    assert helped.compile_bytecode(bench.lock.python.minor, [("a.py", b"")])[0]


def _of_architecture(deb: LockedDeb, architecture: str) -> LockedDeb:
    return LockedDeb(deb.name, deb.version, architecture, deb.archive, deb.path, deb.size, deb.digest)
