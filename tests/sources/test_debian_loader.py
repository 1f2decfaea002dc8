"""The loader's cache, byte for byte what ldconfig writes: this machine's for small roots, the image's own for ours."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from layerforge.sources.debian import find_mirrors
from layerforge.sources.debian.facts import read_facts
from layerforge.sources.debian.loader import CACHE
from layerforge.sources.debian.loader_cache import CacheEntry, LoaderCache, decode_cache, encode_cache
from layerforge.sources.debian.rootstate import Entries
from layerforge.sources.debian.scripts.caches import CACHES
from layerforge.sources.debian.scripts.world import World
from layerforge.store import Store
from tests.conftest import require
from tests.debian_samples import file_member, make_deb, special_member
from tests.fidelity.assembled import Chooser, assemble, open_workbench
from tests.fidelity.package_sets import MINORS

TRIPLET = "x86_64-linux-gnu"
LIBRARIES = f"usr/lib/{TRIPLET}"


def ldconfig() -> str:
    program = shutil.which("ldconfig", path="/sbin:/usr/sbin:/bin")
    require(program, "ldconfig is not installed")
    return str(program)


def library(soname: str) -> bytes:
    path = Path(f"/{LIBRARIES}/{soname}")
    require(path.exists(), f"this is no amd64 Debian machine with {soname}")
    return path.read_bytes()


def make_both(folder: Path, files: dict[str, bytes], links: dict[str, str]) -> tuple[Entries, Path]:
    """What we make of a root with these files and links, and that root after ldconfig has been there."""
    root = folder / "root"
    for path, data in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    for path, target in links.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).symlink_to(target)
    members = [file_member(path, data) for path, data in files.items()]
    members += [special_member(path, b"2", target) for path, target in links.items()]
    deb = folder / "p.deb"
    deb.write_bytes(make_deb({"Package": "p"}, members))
    world = World("amd64")
    world.unpack(read_facts(deb))
    (root / "var/cache/ldconfig").mkdir(parents=True)
    subprocess.run([ldconfig(), "-r", str(root)], check=True, capture_output=True)
    writer = decode_cache((root / CACHE).read_bytes()).writer
    world.write(f"/{CACHE}", encode_cache(LoaderCache(writer=writer)))
    return CACHES["ldconfig"](world, ()), root


def test_every_kind_of_entry_is_ldconfigs(tmp_path: Path) -> None:
    z, lzma, bz2, expat = (library(name) for name in ("libz.so.1", "liblzma.so.5", "libbz2.so.1.0", "libexpat.so.1"))
    found, root = make_both(
        tmp_path,
        {
            "etc/ld.so.conf": b"# all of them\ninclude /etc/ld.so.conf.d/*.conf\n",
            "etc/ld.so.conf.d/b.conf": b"/opt/none\n/usr/lib/../lib/own/ # twice\n/usr/lib/own\n",
            "etc/ld.so.conf.d/a.conf": b"  /opt/first\n",
            "etc/ld.so.conf.d/ignored": b"/opt/ignored\n",
            "opt/ignored/libexpat.so.1": expat,
            "opt/first/libz.so.1": z,
            "usr/lib/own/libbz2.so.1.0.8": bz2,
            f"{LIBRARIES}/libz.so.1.9": z,
            f"{LIBRARIES}/libz.so.1.10": z,
            f"{LIBRARIES}/chosen/liblzma.so.5": lzma,
            f"{LIBRARIES}/libscript.so": b"/* GNU ld script */",
            f"{LIBRARIES}/glibc-hwcaps/x86-64-v3/libz.so.1.9": z,
            f"{LIBRARIES}/glibc-hwcaps/x86-64-v2/libz.so.1": z,
            f"{LIBRARIES}/glibc-hwcaps/x86-64-v2/libexpat.so.1": expat,
            f"{LIBRARIES}/python.so": expat,
        },
        {
            "lib": "usr/lib",
            "etc/alternatives/liblzma": f"/{LIBRARIES}/chosen/liblzma.so.5",
            f"{LIBRARIES}/liblzma.so.5": "/etc/alternatives/liblzma",
            f"{LIBRARIES}/liblzma.so": "liblzma.so.5",
            f"{LIBRARIES}/libz.so.1": "libz.so.1.9",
            f"{LIBRARIES}/libother.so.1": "/opt/first/libz.so.1",
            f"{LIBRARIES}/libnowhere.so": "gone",
        },
    )
    assert found[CACHE].content == (root / CACHE).read_bytes()
    cache = decode_cache(found[CACHE].content)
    assert {entry.hwcaps for entry in cache.entries} == {"", "x86-64-v2", "x86-64-v3"}
    assert len([entry for entry in cache.entries if entry.soname == "libz.so.1"]) == 4
    links = {path: entry.target for path, entry in found.items() if path != CACHE}
    assert links == {path: str((root / path).readlink()) for path in links}
    assert links == {"usr/lib/own/libbz2.so.1.0": "libbz2.so.1.0.8", f"{LIBRARIES}/libz.so.1": "libz.so.1.10"}


def test_a_root_without_libraries_has_an_empty_cache(tmp_path: Path) -> None:
    found, root = make_both(tmp_path, {"etc/x": b""}, {"lib": "usr/lib"})
    assert {path: entry.content for path, entry in found.items()} == {CACHE: (root / CACHE).read_bytes()}


def test_what_is_written_is_read_again() -> None:
    entries = tuple(
        CacheEntry("libx.so.1", f"/lib/{folder}/libx.so.1", 0x303, hwcaps)
        for folder, hwcaps in (("b", "x86-64-v2"), ("a", "x86-64-v3"), ("d", ""), ("c", ""))
    )
    for writer in ("", "a writer"):
        assert decode_cache(encode_cache(LoaderCache(entries, writer))) == LoaderCache(entries, writer)
    whole = encode_cache(LoaderCache(entries, "a writer"))
    for size in range(len(whole)):
        decode_cache(whole[:size])
    assert decode_cache(b"") == decode_cache(whole[:40]) == LoaderCache()


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.sandbox
@pytest.mark.parametrize("release", MINORS)
@pytest.mark.parametrize("name", ["blas", "ffmpeg", "mpi"])
def test_the_cache_of_a_root_is_its_own_ldconfigs(name: str, release: str, store: Store, tmp_path: Path) -> None:
    mirrors = find_mirrors()
    require(mirrors.urls.get("debian") and mirrors.keys, "this machine has no Debian mirrors or keyring configured")
    require(os.geteuid() == 0, "only root can unpack files of other users and enter a root")
    section, root = Chooser(store).choose(release, name), tmp_path / "root"
    with open_workbench(section, store) as bench:
        for path in assemble(section, bench, tmp_path):
            with tarfile.open(path) as tar:
                tar.extractall(root, filter="fully_trusted")
    ours, links = (root / CACHE).read_bytes(), links_of(root)
    subprocess.run(["chroot", str(root), "/sbin/ldconfig"], check=True, stdin=subprocess.DEVNULL)
    assert (root / CACHE).read_bytes() == ours
    assert links_of(root) == links
    if name == "blas":
        sonames = {entry.soname for entry in decode_cache(ours).entries}
        assert {"libblas.so.3", "liblapack.so.3", "libfakeroot-0.so"} <= sonames


def links_of(root: Path) -> dict[str, str]:
    found = (path for path in (root / "usr/lib").rglob("lib*.so*") if path.is_symlink())
    return {str(path.relative_to(root)): str(path.readlink()) for path in found}
