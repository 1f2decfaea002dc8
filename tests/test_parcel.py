"""A store as one file: the same bytes there, and nothing but what the digests prove."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerforge.errors import LayerforgeError, SourceError, StoreError, VerificationError
from layerforge.layers.headers import TRAILER, encode_header, padding
from layerforge.lock import Lock, LockedDeb, LockedPython, LockedWheel, PlatformLock, Wanted
from layerforge.oci import CONFIG, LAYER_GZIP, MANIFEST, Descriptor, Digest, Manifest, builtins, encode
from layerforge.parcel import Contents, export_parcel, import_parcel, list_everything, list_locked
from layerforge.parcel.contents import LIST, Entry
from layerforge.progress import SILENCE
from layerforge.store import Store
from tests.conftest import require

FILES = {f"materials/sha256/{Digest.of(data).hex}": data for data in (b"one", b"two" * 500, b"")}


def fill(store: Store) -> None:
    for path, data in FILES.items():
        (store.root / path).write_bytes(data)


def pack(files: dict[str, bytes], listed: dict[str, bytes] | None = None, **other: object) -> bytes:
    """A parcel of ``files``; its list may tell another story."""
    entries = [{"path": path, "size": len(data)} for path, data in (files if listed is None else listed).items()]
    listing = msgspec.json.encode({"files": entries, "format": 1, **other})
    parts = [encode_header(LIST, size=len(listing)), listing, padding(len(listing))]
    for path, data in files.items():
        parts += [encode_header(path, size=len(data)), data, padding(len(data))]
    return b"".join((*parts, TRAILER))


def take(data: bytes, store: Store) -> Contents:
    return import_parcel(io.BytesIO(data), store, "parcel", SILENCE)


def held(store: Store) -> dict[str, bytes]:
    folders = [store.root / folder / "sha256" for folder in ("blobs", "materials")]
    return {str(path.relative_to(store.root)): path.read_bytes() for folder in folders for path in folder.iterdir()}


@pytest.fixture(scope="module")
def parcel(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    store = Store(tmp_path_factory.mktemp("source") / "store")
    fill(store)
    output = io.BytesIO()
    export_parcel(list_everything(store, SILENCE), store, output, SILENCE)
    store.close()
    return output.getvalue()


def test_what_is_written_is_read(parcel: bytes, store: Store) -> None:
    assert parcel == pack(dict(sorted(FILES.items())), tags={})
    take(parcel, store)
    assert held(store) == FILES
    with tarfile.open(fileobj=io.BytesIO(parcel)) as archive:
        assert archive.getnames() == [LIST, *sorted(FILES)]


def test_what_is_there_is_not_written_again(parcel: bytes, store: Store) -> None:
    take(parcel, store)
    before = {path: (store.root / path).stat().st_ino for path in FILES}
    take(parcel, store)
    assert before == {path: (store.root / path).stat().st_ino for path in FILES}


def test_a_parcel_that_broke_off_is_read_again(parcel: bytes, store: Store) -> None:
    for length in range(0, len(parcel), 700):
        with pytest.raises(StoreError, match=r"cut off|no export") as caught:
            take(parcel[:length], store)
        assert caught.value.hint
        assert held(store).items() <= FILES.items()
        assert not list(store.scratch.iterdir())
    take(parcel, store)
    assert held(store) == FILES


ONE = f"materials/sha256/{Digest.of(b'one').hex}"
EVIL = (
    "../../evil", "/etc/evil", "materials/sha256/../../evil", "index.json", "oci-layout", "keys/sha256/" + "0" * 64,
    "notes/sha256/" + "0" * 64, "materials/sha256/evil", ONE.upper(), ONE + "\n", "materials/sha512/" + "0" * 64,
    ONE.replace("sha256/", "sha256//"),
)  # fmt: skip


@pytest.mark.parametrize("path", EVIL)
def test_paths_that_are_none_of_a_store(store: Store, path: str) -> None:
    with pytest.raises(StoreError, match=r"no file of a store|is no export|does not hold"):
        take(pack({path: b"one"}), store)
    with pytest.raises(StoreError, match="does not hold"):
        take(pack({path: b"one"}, {ONE: b"one"}), store)
    assert held(store) == {}
    assert not list(store.root.parent.rglob("evil"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE, tarfile.XHDTYPE])
def test_entries_that_are_no_files(parcel: bytes, store: Store, kind: bytes) -> None:
    header = encode_header(ONE, size=3)
    assert header in parcel
    with pytest.raises(StoreError, match="does not hold"):
        take(parcel.replace(header, encode_header(ONE, kind=kind, target="/etc/passwd")), store)


def test_other_content_than_the_name_says(store: Store) -> None:
    with pytest.raises(VerificationError, match="content has digest") as caught:
        take(pack({ONE: b"eno"}), store)
    assert ONE in caught.value.where
    assert held(store) == {}


def test_lists_that_are_none(store: Store) -> None:
    two = f"materials/sha256/{Digest.of(b'two').hex}"
    for data in (pack({ONE: b"one"}, format=9), pack({ONE: b"one"}, news=1), pack({ONE: b"one"}, tags=[1])):
        with pytest.raises(StoreError, match=r"format 9|news|tags"):
            take(data, store)
    first, second = sorted((ONE, two), reverse=True)
    with pytest.raises(StoreError, match="out of order"):
        take(pack({first: b"xxx", second: b"xxx"}), store)
    for data in (b"", b"x" * 5000, b"\0" * 10240, pack({ONE: b"one"})[512:], b"PK\3\4" + bytes(1000)):
        with pytest.raises(StoreError, match="is no export") as caught:
            take(data, store)
        assert "export-store" in caught.value.hint
    with pytest.raises(StoreError, match="does not end"):
        take(pack({ONE: b"one"})[:-1024] + encode_header(two, size=3) + bytes(1024), store)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_damaged_parcel_gives_nothing_wrong(parcel: bytes, tmp_path_factory: object, data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(parcel) - 1))
    flipped = parcel[:position] + bytes([parcel[position] ^ data.draw(st.integers(1, 255))]) + parcel[position + 1 :]
    store = Store(tmp_path_factory.mktemp("target") / "store")  # type: ignore[attr-defined]
    try:
        take(flipped, store)
    except LayerforgeError as error:
        assert error.where
    assert held(store).items() <= FILES.items()
    assert store.tags() == {}
    store.close()


def test_a_full_disk(parcel: bytes, tmp_path: Path) -> None:
    require(os.geteuid() == 0, "only root can mount a small disk")
    home = tmp_path / "home"
    home.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(home)], capture_output=True)
    require(mounted.returncode == 0, "mounting is not allowed here")
    try:
        store = Store(home)
        big = os.urandom(1 << 20)
        with pytest.raises(StoreError, match="no space left") as caught:
            take(pack({f"materials/sha256/{Digest.of(big).hex}": big}), store)
        assert "LAYERFORGE_HOME" in caught.value.hint
        fill(store)
        path = home / "out.tar"
        (store.root / f"materials/sha256/{Digest.of(big[:150_000]).hex}").write_bytes(big[:150_000])
        with pytest.raises(LayerforgeError, match="no space left"):
            export_parcel(list_everything(store, SILENCE), store, path, SILENCE)
        assert not path.exists()
        assert not list(home.glob(".out*"))
        store.close()
    finally:
        subprocess.run(["umount", "--lazy", str(home)], check=True)


def test_a_damaged_store_is_not_exported(store: Store, tmp_path: Path) -> None:
    fill(store)
    (store.root / ONE).write_bytes(b"eno")
    (tmp_path / "out.tar").write_bytes(b"before")
    with pytest.raises(VerificationError) as caught:
        export_parcel(list_everything(store, SILENCE), store, tmp_path / "out.tar", SILENCE)
    assert str(store.root / ONE) in caught.value.hint
    assert (tmp_path / "out.tar").read_bytes() == b"before"


def make_image(store: Store, layer: bytes) -> Descriptor:
    blob = store.put_bytes(layer, LAYER_GZIP)
    config = store.put_bytes(b"{}", CONFIG)
    return store.put_bytes(encode(Manifest(2, MANIFEST, config, (blob,))), MANIFEST)


def test_whole_images_keep_their_names(store: Store, tmp_path: Path) -> None:
    store.tag("whole:1", make_image(store, b"layer"))
    broken = make_image(store, b"other")
    store.tag("broken:1", broken)
    store.blob_path(Digest.of(b"other")).unlink()
    output = io.BytesIO()
    export_parcel(list_everything(store, SILENCE), store, output, SILENCE)
    other = Store(tmp_path / "other")
    take(output.getvalue(), other)
    assert list(other.tags()) == ["whole:1"]
    with pytest.raises(StoreError, match="broken"):
        data = held(store)
        take(pack(dict(sorted(data.items())), tags={"broken:1": builtins(broken)}), other)
    assert list(other.tags()) == ["whole:1"]
    other.close()


def test_only_what_the_lock_names(store: Store) -> None:
    fill(store)
    deb = LockedDeb("one", "1", "all", "debian", "pool/one.deb", 3, Digest.of(b"one"))
    local = LockedWheel("two", "1", "two-1-py3-none-any.whl", "", 3, Digest.of(b"in the project"), "", "two.whl")
    python = LockedPython("3.13", "3.13.5", "debian")
    section = PlatformLock("linux/amd64", "trixie", python, (deb,), (), (), (local,), ())
    lock = Lock(Wanted("3.13"), (section,))
    assert list_locked([lock, lock], store).files == (Entry(ONE, 3),)
    (store.root / ONE).unlink()
    with pytest.raises(SourceError, match=r"lacks one\.deb") as caught:
        list_locked([lock], store)
    assert "layerforge fetch" in caught.value.hint
