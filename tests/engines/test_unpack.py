from __future__ import annotations

import io
import os
import stat
import subprocess
import sys
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from layerforge.engines.extract import extract
from layerforge.engines.tree import flatten, is_opaque, is_whiteout, remove_tree
from layerforge.engines.unpack import layer_folder, unpack_layer
from layerforge.errors import EngineError, LayerforgeError, VerificationError
from layerforge.layers.compression import COMPRESSIONS, GZIP, NONE, Compression
from layerforge.layers.tar import Layer, TarWriter
from layerforge.oci import Digest
from layerforge.progress import SILENCE
from layerforge.store import Store
from tests.conftest import require


def entry(
    name: str, kind: bytes = tarfile.REGTYPE, content: bytes = b"", **fields: object
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.mode = kind, len(content), 0o755 if kind == tarfile.DIRTYPE else 0o644
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def pack(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """A tar archive as hostile as needed, which the project's own writer could not make."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for info, content in entries:
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def unpack(folder: Path, *entries: tuple[tarfile.TarInfo, bytes]) -> Path:
    folder.mkdir(exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(pack(*entries)), mode="r|") as archive:
        extract(archive, folder)
    return folder


def listing(folder: Path) -> dict[str, str]:
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        name = str(path.relative_to(folder))
        if is_whiteout(status):
            found[name] = "gone"
        elif path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_dir():
            found[name] = "opaque" if is_opaque(str(path)) else "dir"
        else:
            found[name] = path.read_text()
    return found


def capability(path: Path) -> bytes | None:
    try:
        return os.getxattr(path, "security.capability")
    except OSError:
        return None


def test_capabilities_of_programs_are_kept(tmp_path: Path) -> None:
    value = bytes.fromhex("0100000200200000000000000000000000000000")  # cap_net_raw+ep
    probe = tmp_path / "probe"
    probe.touch()
    try:
        os.setxattr(probe, "security.capability", value)
    except OSError as error:
        require(False, f"capabilities of files cannot be set here: {error.strerror}")
    buffer = io.BytesIO()
    writer = TarWriter(buffer, compression=NONE)
    writer.file("ping", b"\x7fELF", mode=0o755, uid=7, gid=8, xattrs={"security.capability": value})
    writer.file("plain", b"\x7fELF", mode=0o755, xattrs={"security.capability": b"not one"})
    writer.finish()
    folder = tmp_path / "x"
    folder.mkdir()
    with tarfile.open(fileobj=io.BytesIO(buffer.getvalue()), mode="r|") as archive:
        extract(archive, folder)
    assert (capability(folder / "ping"), capability(folder / "plain")) == (value, None)
    flat = tmp_path / "flat"
    flat.mkdir()
    flatten([folder], flat)
    assert (capability(flat / "ping"), (flat / "ping").stat().st_uid) == (value, 7)


# -- entries -------------------------------------------------------------------------------------------------


def test_writes_what_the_archive_says(tmp_path: Path) -> None:
    folder = unpack(
        tmp_path / "x",
        entry("./", tarfile.DIRTYPE, mode=0o711),
        entry("./bin/", tarfile.DIRTYPE, mode=0o750),
        entry("./bin/tool", content=b"run", mode=0o4755, mtime=1000),
        entry("bin/alias", tarfile.SYMTYPE, linkname="tool"),
        entry("bin/same", tarfile.LNKTYPE, linkname="./bin/tool"),
        entry("pipe", tarfile.FIFOTYPE),
        entry("a/b/c", content=b"deep"),
        entry("disk", tarfile.BLKTYPE, devmajor=8, devminor=0),
        entry("null", tarfile.CHRTYPE, devmajor=1, devminor=3),
    )
    assert stat.S_IMODE(folder.stat().st_mode) == 0o711
    assert stat.S_IMODE((folder / "bin").stat().st_mode) == 0o750
    assert (folder / "bin/tool").stat().st_ino == (folder / "bin/same").stat().st_ino
    assert (folder / "bin/tool").stat().st_mtime == 1000
    assert stat.S_ISFIFO((folder / "pipe").stat().st_mode)
    assert sorted(path.name for path in folder.iterdir()) == ["a", "bin", "pipe"]
    assert (folder / "a/b/c").read_text() == "deep"
    assert stat.S_IMODE((folder / "bin/tool").stat().st_mode) == (0o4755 if os.geteuid() == 0 else 0o755)


@pytest.mark.parametrize(
    "entries",
    [
        [entry("../escape", content=b"!")],
        [entry("a/../../escape", content=b"!")],
        [entry("/../escape", content=b"!")],
        [entry("out", tarfile.SYMTYPE, linkname=".."), entry("out/escape", content=b"!")],
        [entry("d", tarfile.SYMTYPE, linkname="/tmp"), entry("d/escape", content=b"!")],
        [entry("d", tarfile.SYMTYPE, linkname="/tmp"), entry("d/.wh.escape", content=b"")],
        [entry("d", tarfile.SYMTYPE, linkname="/tmp"), entry("d/.wh..wh..opq", content=b"")],
        [entry("h", tarfile.LNKTYPE, linkname="../../etc/passwd")],
        [entry("h", tarfile.LNKTYPE, linkname="/etc/passwd")],
        [entry("s", tarfile.SYMTYPE, linkname="/etc"), entry("h", tarfile.LNKTYPE, linkname="s/passwd")],
        [entry("f", content=b""), entry("f/g", content=b"!")],
        [entry("d/", tarfile.DIRTYPE), entry("h", tarfile.LNKTYPE, linkname="d")],
    ],
)
def test_refuses_what_leaves_the_folder(tmp_path: Path, entries: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(EngineError, match="refusing to unpack"):
        unpack(inside, *entries)
    assert not (tmp_path / "escape").exists()
    assert [path for path in sorted(tmp_path.rglob("*")) if inside not in path.parents] == before


def test_an_absolute_name_is_inside(tmp_path: Path) -> None:
    assert listing(unpack(tmp_path / "x", entry("/etc/motd", content=b"hi"))) == {"etc": "dir", "etc/motd": "hi"}


def test_a_link_is_replaced_not_written_through(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    folder = unpack(tmp_path / "x", entry("f", tarfile.SYMTYPE, linkname=str(victim)), entry("f", content=b"theirs"))
    assert victim.read_text() == "mine"
    assert listing(folder) == {"f": "theirs"}


def test_the_last_entry_of_a_name_counts(tmp_path: Path) -> None:
    folder = unpack(
        tmp_path / "x",
        entry("a/b", content=b"1"),
        entry("a", content=b"file now"),
        entry("l", tarfile.SYMTYPE, linkname="a"),
        entry("l/", tarfile.DIRTYPE),
        entry("l/f", content=b"2"),
    )
    assert listing(folder) == {"a": "file now", "l": "dir", "l/f": "2"}


def test_whiteouts_become_what_overlayfs_knows(tmp_path: Path) -> None:
    folder = unpack(
        tmp_path / "x",
        entry("d/.wh..wh..opq"),
        entry("d/kept", content=b"k"),
        entry(".wh.file"),
        entry(".wh.both"),
        entry("both/", tarfile.DIRTYPE),
        entry("first", content=b"here"),
        entry(".wh.first"),
    )
    assert listing(folder) == {"both": "opaque", "d": "opaque", "d/kept": "k", "file": "gone", "first": "here"}


def test_folders_closed_to_their_owner_can_be_filled_and_removed(tmp_path: Path) -> None:
    folder = unpack(tmp_path / "x", entry("d/", tarfile.DIRTYPE, mode=0o000), entry("d/f", content=b"in"))
    remove_tree(folder)
    assert not folder.exists()


# -- layers --------------------------------------------------------------------------------------------------


def add_layer(store: Store, fill: Callable[[TarWriter], object], *, compression: Compression = GZIP) -> Layer:
    with store.write_blob() as blob:
        tar = TarWriter(blob, compression=compression)
        fill(tar)
        layer = tar.finish()
        blob.commit(layer.descriptor.digest)
    return layer


@pytest.mark.parametrize("compression", COMPRESSIONS.values(), ids=COMPRESSIONS)
def test_unpacks_a_layer_once(store: Store, compression: Compression) -> None:
    layer = add_layer(store, lambda tar: tar.file("a/b", b"content"), compression=compression)
    assert layer.descriptor.media_type == compression.media_type
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(unpack_layer, store, layer.descriptor, layer.diff_id, SILENCE) for _ in range(4)]
        folders = {call.result() for call in calls}
    assert folders == {layer_folder(store, layer.diff_id)}
    assert listing(folders.pop()) == {"a": "dir", "a/b": "content"}
    assert not list(store.scratch.iterdir())


def test_a_wrong_diff_id_leaves_nothing(store: Store) -> None:
    layer = add_layer(store, lambda tar: tar.file("f", b"x"))
    wrong = Digest.of(b"something else")
    with pytest.raises(VerificationError, match="unpacked content"):
        unpack_layer(store, layer.descriptor, wrong, SILENCE)
    assert not layer_folder(store, wrong).exists()
    assert not list(store.scratch.iterdir())


@pytest.mark.parametrize("position", [0, 15, 40, -4, -30])
def test_a_damaged_blob_leaves_nothing(store: Store, position: int) -> None:
    layer = add_layer(store, lambda tar: tar.file("f", bytes(range(256)) * 40))
    path = store.blob_path(layer.descriptor.digest)
    data = bytearray(path.read_bytes())
    data[position] ^= 0x55
    path.write_bytes(data)
    with pytest.raises(LayerforgeError):
        unpack_layer(store, layer.descriptor, layer.diff_id, SILENCE)
    assert not layer_folder(store, layer.diff_id).exists()


def test_a_cut_off_blob_leaves_nothing(store: Store) -> None:
    layer = add_layer(store, lambda tar: tar.file("f", bytes(range(256)) * 40))
    path = store.blob_path(layer.descriptor.digest)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(LayerforgeError):
        unpack_layer(store, layer.descriptor, layer.diff_id, SILENCE)
    assert not layer_folder(store, layer.diff_id).exists()


def test_memory_stays_bounded(tmp_path: Path) -> None:
    script = f"""
from pathlib import Path
from layerforge.engines.unpack import unpack_layer
from layerforge.layers.tar import TarWriter
from layerforge.progress import SILENCE
from layerforge.store import Store
def peak():
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])  # KiB, since exec
store = Store(Path({str(tmp_path / "home")!r}))
with store.write_blob() as blob:
    tar = TarWriter(blob)
    tar.file("large", (bytes(1 << 20) for _ in range(300)), size=300 << 20)
    for number in range(5000):
        tar.file(f"d{{number % 50}}/f{{number}}", b"x")
    layer = tar.finish()
    blob.commit(layer.descriptor.digest)
before = peak()
unpack_layer(store, layer.descriptor, layer.diff_id, SILENCE)
print(peak() - before)
store.close()
"""
    grown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert int(grown) < 40_000  # KiB


# -- copies --------------------------------------------------------------------------------------------------


def test_flatten_does_what_overlayfs_does(tmp_path: Path) -> None:
    lower = unpack(
        tmp_path / "0",
        entry("d/a", content=b"lower"),
        entry("d/b", content=b"lower", mode=0o600),
        entry("o/x", content=b"lower"),
        entry("link", tarfile.SYMTYPE, linkname="d"),
        entry("turns/f", content=b"lower"),
        entry("file", content=b"lower"),
    )
    upper = unpack(
        tmp_path / "1",
        entry("d/.wh.a"),
        entry("o/.wh..wh..opq"),
        entry("o/y", content=b"upper"),
        entry("link/", tarfile.DIRTYPE),
        entry("link/z", content=b"upper"),
        entry("turns", content=b"a file now"),
        entry("file/g", content=b"upper"),
    )
    root = tmp_path / "root"
    root.mkdir()
    flatten([lower, upper], root)
    assert listing(root) == {
        "d": "dir",
        "d/b": "lower",
        "file": "dir",
        "file/g": "upper",
        "link": "dir",
        "link/z": "upper",
        "o": "dir",
        "o/y": "upper",
        "turns": "a file now",
    }
    assert stat.S_IMODE((root / "d/b").stat().st_mode) == 0o600
    (root / "d/b").write_text("changed")
    assert (lower / "d/b").read_text() == "lower"
