"""The store's promises: whole files or none, many processes at once, and nothing lost to a kill."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from layerforge.errors import SourceError, StoreError, VerificationError
from layerforge.layers.tar import Layer
from layerforge.oci import CONFIG, LAYER_TAR, MANIFEST, Descriptor, Digest
from layerforge.segments import FileState, Segment, Segments
from layerforge.store import Store, default_home, digest_file
from layerforge.validate import validate_image
from tests.conftest import require
from tests.made_images import make_image

KEY = Digest.of(b"key")


def put_blob(store: Store, data: bytes) -> Descriptor:
    descriptor = Descriptor(LAYER_TAR, Digest.of(data), len(data))
    with store.write_blob() as blob:
        blob.write(data)
        blob.commit(descriptor.digest)
    return descriptor


def put_file_blob(store: Store, path: Path) -> Descriptor:
    data = b"<" + path.read_bytes() + b">"
    state = FileState.of(path.stat())
    store.put_segments(Digest.of(data), Segments((Segment(b"<"), Segment(path=str(path), state=state), Segment(b">"))))
    return Descriptor(LAYER_TAR, Digest.of(data), len(data))


def leftovers(store: Store) -> list[Path]:
    return [path for path in (store.root / "tmp").rglob("*") if path.is_file()]


# -- blobs -----------------------------------------------------------------------------------------------------


def test_a_new_store_is_an_image_layout(store: Store) -> None:
    assert (store.root / "oci-layout").read_bytes() == b'{"imageLayoutVersion":"1.0.0"}'
    assert b'"manifests":[]' in (store.root / "index.json").read_bytes()
    assert store.tags() == {}


def test_blobs(store: Store) -> None:
    blob = put_blob(store, b"data")
    assert store.has_blob(blob)
    assert store.read_blob(blob) == b"data"
    assert store.blob_path(blob.digest).stat().st_mode & 0o777 == 0o644
    assert not leftovers(store)
    document = store.put_bytes(b"{}", CONFIG)
    assert store.read_blob(document) == b"{}" and document == store.put_bytes(b"{}", CONFIG)


def test_a_blob_that_is_not_committed_leaves_nothing(store: Store) -> None:
    with pytest.raises(RuntimeError), store.write_blob() as blob:
        blob.write(b"x" * (1 << 20))
        raise RuntimeError
    assert not leftovers(store) and not list((store.root / "blobs" / "sha256").iterdir())


def test_a_blob_that_is_not_here(store: Store) -> None:
    missing = Descriptor(LAYER_TAR, Digest.of(b"?"), 1)
    assert not store.has_blob(missing)
    with pytest.raises(StoreError, match="does not have this blob") as caught:
        store.open_blob(missing)
    assert caught.value.hint == "build the image again"


@pytest.mark.parametrize("damage", [b"datA", b"dat", b"data!", b""])
def test_a_torn_blob_is_dropped_so_that_it_is_made_again(store: Store, damage: bytes) -> None:
    blob = put_blob(store, b"data")
    store.remember_layer(KEY, Layer(blob, blob.digest))
    store.blob_path(blob.digest).write_bytes(damage)
    with pytest.raises(VerificationError) as caught:
        store.read_blob(blob)
    assert "build the image again" in caught.value.hint
    assert not store.has_blob(blob) and store.find_layer(KEY) is None
    assert store.read_blob(put_blob(store, b"data")) == b"data"


def test_a_blob_that_was_replaced_while_it_was_read_stays(store: Store) -> None:
    blob = put_blob(store, b"data")
    store.blob_path(blob.digest).write_bytes(b"torn")
    with store.open_blob(blob) as reader:
        put_blob(store, b"data")
        with pytest.raises(VerificationError):
            reader.readall()
    assert store.read_blob(blob) == b"data"


def test_a_torn_document_is_written_again(store: Store) -> None:
    blob = store.put_bytes(b"document", MANIFEST)
    store.blob_path(blob.digest).write_bytes(b"d0cument")
    assert store.read_blob(store.put_bytes(b"document", MANIFEST)) == b"document"


# -- blobs in other files --------------------------------------------------------------------------------------


def test_a_blob_in_another_file(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"w" * 1000)
    blob = put_file_blob(store, path)
    assert store.has_blob(blob)
    assert store.read_blob(blob) == b"<" + b"w" * 1000 + b">"
    assert not store.blob_path(blob.digest).exists()
    wrong = Descriptor(LAYER_TAR, blob.digest, blob.size + 1)
    assert not store.has_blob(wrong)
    path.write_bytes(b"v" * 1000)
    assert not store.has_blob(blob)
    with pytest.raises(SourceError, match="has changed"):
        store.read_blob(blob)


def test_a_torn_file_does_not_hide_the_other_files(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"w" * 1000)
    blob = put_file_blob(store, path)
    store.blob_path(blob.digest).write_bytes(b"<ww")
    assert store.has_blob(blob)
    assert store.read_blob(blob) == b"<" + b"w" * 1000 + b">"


# -- layers by key ---------------------------------------------------------------------------------------------


def test_layers_by_key(store: Store) -> None:
    blob = put_blob(store, b"data")
    assert store.find_layer(KEY) is None
    store.remember_layer(KEY, Layer(blob, blob.digest))
    assert store.find_layer(KEY) == Layer(blob, blob.digest)
    store.blob_path(blob.digest).unlink()
    assert store.find_layer(KEY) is None


@pytest.mark.parametrize("record", [b"", b"{", b"[]", b"\0" * 300, b'{"descriptor":{}}', b'{"descriptor":1}'])
def test_a_torn_record_is_as_good_as_none(store: Store, record: bytes) -> None:
    blob = put_blob(store, b"data")
    store.remember_layer(KEY, Layer(blob, blob.digest))
    (store.root / "keys" / "sha256" / KEY.hex).write_bytes(record)
    (store.root / "files" / "sha256" / blob.digest.hex).write_bytes(record)
    assert store.find_layer(KEY) is None and store.find_segments(blob.digest) is None
    store.remember_layer(KEY, Layer(blob, blob.digest))
    assert store.find_layer(KEY) is not None


# -- tags ------------------------------------------------------------------------------------------------------


def test_tags(store: Store) -> None:
    first, second = store.put_bytes(b"1", MANIFEST), store.put_bytes(b"2", MANIFEST)
    store.tag("a", first)
    store.tag("b", first)
    store.tag("a", second)
    found = store.resolve_tag("a")
    assert found is not None and found.digest == second.digest
    assert {name: tagged.digest for name, tagged in store.tags().items()} == {"a": second.digest, "b": first.digest}
    assert store.resolve_tag("c") is None


def test_a_damaged_list_of_tags_says_what_to_do(store: Store) -> None:
    blob = store.put_bytes(b"1", MANIFEST)
    store.tag("a", blob)
    (store.root / "index.json").write_bytes(b"")
    with pytest.raises(StoreError, match="the list of tags is damaged") as caught:
        store.tags()
    assert caught.value.where.endswith("index.json") and caught.value.hint.startswith("remove this file")
    (store.root / "index.json").unlink()
    store.tag("a", blob)
    assert list(store.tags()) == ["a"]


TAGGER = """
    import sys
    from pathlib import Path
    from layerforge.oci import MANIFEST
    from layerforge.store import Store
    store = Store(Path(sys.argv[1]))
    for number in range(40):
        store.tag(f"{sys.argv[2]}-{number}", store.put_bytes(f"{sys.argv[2]} {number}".encode(), MANIFEST))
        store.tag("same", store.put_bytes(sys.argv[2].encode(), MANIFEST))
    store.close()
"""


def run_python(script: str, *arguments: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE)


def test_processes_that_tag_at_once_lose_nothing(tmp_path: Path) -> None:
    """They also create the store at once."""
    processes = [run_python(TAGGER, tmp_path / "new", name) for name in "abcd"]
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors.decode()
    store = Store(tmp_path / "new")
    expected = {f"{name}-{number}" for name in "abcd" for number in range(40)} | {"same"}
    assert set(store.tags()) == expected
    same = store.resolve_tag("same")
    assert same is not None and store.read_blob(same) in {b"a", b"b", b"c", b"d"}
    assert not leftovers(store)


def test_threads_share_one_store(store: Store) -> None:
    barrier = threading.Barrier(8)

    def work(number: int) -> None:
        barrier.wait()  # all ask for the first temporary folder together
        data = f"{number % 3}".encode() * 50_000
        blob = put_blob(store, data)
        store.tag(f"t{number}", store.put_bytes(data, MANIFEST))
        assert store.read_blob(blob) == data

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert len(store.tags()) == 8
    assert len(list((store.root / "tmp").iterdir())) == 1


# -- kills -----------------------------------------------------------------------------------------------------

WRITER = """
    import itertools, sys
    from pathlib import Path
    from layerforge.store import Store
    from tests.made_images import make_image
    store, folder = Store(Path(sys.argv[1])), Path(sys.argv[2])
    for number in itertools.count():
        image = make_image(store, folder / str(number % 5), text=f"{number} " * 200_000, weights=b"%d" % number * 1000)
        store.tag(f"image-{number % 5}", image.manifest)
        print(number, flush=True)
"""


def test_a_process_killed_while_writing_leaves_a_valid_store(tmp_path: Path) -> None:
    random.seed(20)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    for round_ in range(8):
        command = [sys.executable, "-c", textwrap.dedent(WRITER), str(tmp_path / "store"), str(tmp_path / str(round_))]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(random.uniform(0, 0.2))
            process.send_signal(signal.SIGKILL)
        store = Store(tmp_path / "store")
        tags = store.tags()
        assert tags, "an image was made before the kill"
        for path in (store.root / "blobs" / "sha256").iterdir():
            assert digest_file(path)[0].hex == path.name
        latest = [manifest for manifest in tags.values() if _is_current(store, manifest)]
        for manifest in latest:
            validate_image(store, manifest)
        image = make_image(store, tmp_path / "after", text=f"{round_}")
        store.tag("after", image.manifest)
        validate_image(store, image.manifest)
        store.close()
        assert not list((store.root / "tmp").iterdir()), "what the killed process left is gone"


def _is_current(store: Store, manifest: Descriptor) -> bool:
    """Whether no weight file of the image was being replaced when its writer was killed."""
    from layerforge.oci import Manifest, decode

    return all(store.has_blob(layer) for layer in decode(store.read_blob(manifest), Manifest).layers)


def test_leftovers_of_dead_processes_go_and_those_of_living_ones_stay(tmp_path: Path) -> None:
    """A dead one's process id may be ours again, as it is in containers."""
    living = Store(tmp_path / "store")
    with living.write_blob() as blob:
        blob.write(b"x")
        stale = living.root / "tmp" / f"{os.getpid()}-stale"
        stale.mkdir()
        (stale / "huge").write_bytes(b"x" * 1000)
        other = Store(tmp_path / "store")
        put_blob(other, b"something")
        assert not stale.exists()
        descriptor = Descriptor(LAYER_TAR, Digest.of(b"x"), 1)
        blob.commit(descriptor.digest)
    assert living.read_blob(descriptor) == b"x"
    living.close(), other.close()
    assert not list((living.root / "tmp").iterdir())


def test_the_key_lock_excludes_another_process(store: Store) -> None:
    script = """
        import sys, time
        from pathlib import Path
        from layerforge.oci import Digest
        from layerforge.store import Store
        with Store(Path(sys.argv[1])).key_lock(Digest.of(b"key")):
            print("held", flush=True)
            time.sleep(60)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(store.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        got = threading.Event()

        def wait() -> None:
            with store.key_lock(KEY):
                got.set()

        thread = threading.Thread(target=wait)
        thread.start()
        assert not got.wait(0.3)
        process.kill()  # its lock goes with it
        assert got.wait(10)
        thread.join()


def test_an_error_under_a_lock_is_not_blamed_on_the_store(store: Store) -> None:
    with pytest.raises(PermissionError), store.key_lock(KEY):
        raise PermissionError(13, "Permission denied", "/some/project/file")


# -- disks that say no -----------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    require(os.geteuid() == 0, "only root can mount a small disk")
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m,nr_inodes=400", "none", folder], capture_output=True
    )
    require(mounted.returncode == 0, "no small disk can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.sandbox
@pytest.mark.parametrize("piece", [1000, 100_000, 4 << 20])
def test_a_full_disk_while_a_blob_is_written(small_disk: Path, piece: int) -> None:
    store = Store(small_disk / "store")
    kept = put_blob(store, b"kept")
    with pytest.raises(StoreError, match="no space left") as caught, store.write_blob() as blob:
        for _ in range(1 + (4 << 20) // piece):
            blob.write(b"x" * piece)
        blob.commit(Digest.of(b"never"))
    assert "LAYERFORGE_HOME" in caught.value.hint
    assert not leftovers(store) and store.read_blob(kept) == b"kept"
    put_blob(store, b"y" * 100_000)  # there is room again


@pytest.mark.sandbox
def test_a_full_disk_while_the_rest_is_written(small_disk: Path) -> None:
    store = Store(small_disk / "store")
    blob = store.put_bytes(b"1", MANIFEST)
    store.tag("before", blob)
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file:
        while True:
            try:
                file.write(b"x" * 4096)
            except OSError:
                break
    for attempt in (
        lambda: store.tag("after", blob),
        lambda: store.remember_layer(KEY, Layer(blob, blob.digest)),
        lambda: store.put_bytes(b"2" * 10_000, MANIFEST),
        lambda: store.keep_note("topic", KEY, b"n" * 10_000),
    ):
        with pytest.raises(StoreError, match="no space left"):
            attempt()
    assert set(store.tags()) == {"before"}
    filler.unlink()
    store.tag("after", blob)
    assert set(store.tags()) == {"before", "after"}


@pytest.mark.sandbox
def test_a_disk_without_room_for_more_names(small_disk: Path) -> None:
    store = Store(small_disk / "store")
    store.scratch  # noqa: B018 - makes the temporary folder while there is room
    names = small_disk / "names"
    names.mkdir()
    for number in range(1000):
        try:
            (names / str(number)).touch()
        except OSError:
            break
    with pytest.raises(StoreError, match="no space left"), store.write_blob():
        pass
    with pytest.raises(StoreError, match="no space left"):
        Store(small_disk / "another")


@pytest.mark.sandbox
def test_a_read_only_store_can_be_read_but_not_written(small_disk: Path) -> None:
    store = Store(small_disk / "store")
    blob = put_blob(store, b"data")
    store.tag("a", blob)
    store.close()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    store = Store(small_disk / "store")
    assert store.read_blob(blob) == b"data" and set(store.tags()) == {"a"}
    assert store.put_bytes(b"data", LAYER_TAR) == blob
    for attempt in (lambda: put_blob(store, b"x"), lambda: store.tag("b", blob), lambda: Store(small_disk / "new")):
        with pytest.raises(StoreError, match="Read-only file system") as caught:
            attempt()
        assert "LAYERFORGE_HOME" in caught.value.hint


def test_a_home_that_may_not_be_written(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o555)
    script = """
        import os, sys
        from pathlib import Path
        from layerforge.errors import StoreError
        from layerforge.store import Store
        if os.geteuid() == 0:
            os.setegid(65534), os.seteuid(65534)
        try:
            Store(Path(sys.argv[1]) / "store")
        except StoreError as error:
            sys.exit(0 if "Permission denied" in str(error) and "LAYERFORGE_HOME" in error.hint else str(error))
        sys.exit("it could be written")
    """
    for path in (tmp_path, *list(tmp_path.parents)[:2]):
        path.chmod(path.stat().st_mode | 0o055)
    process = run_python(script, home)
    _, errors = process.communicate()
    assert process.returncode == 0, errors.decode()


@pytest.mark.parametrize("where", ["store", "store/blobs", "store/tmp"])
def test_a_file_in_the_way(tmp_path: Path, where: str) -> None:
    path = tmp_path / where
    path.parent.mkdir(exist_ok=True)
    path.touch()
    with pytest.raises(StoreError, match="is in the way"):
        Store(tmp_path / "store")


def test_a_store_that_has_lost_folders_gets_them_back(store: Store) -> None:
    blob = put_blob(store, b"data")
    store.close()
    for name in ("tmp", "keys", "locks", "notes"):
        shutil.rmtree(store.root / name)
    again = Store(store.root)
    again.tag("a", blob)
    assert again.find_layer(KEY) is None
    again.close()


# -- the rest --------------------------------------------------------------------------------------------------


def test_notes(store: Store) -> None:
    assert store.find_note("topic", KEY) is None
    store.keep_note("topic", KEY, b"fact")
    assert store.find_note("topic", KEY) == b"fact" and store.find_note("other", KEY) is None


def test_where_the_store_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/someone")
    assert default_home() == Path("/home/someone/.cache/layerforge")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert default_home() == Path("/cache/layerforge")
    monkeypatch.setenv("COG_CACHE_DIR", "/cog")
    assert default_home() == Path("/cog")
    monkeypatch.setenv("LAYERFORGE_HOME", str(tmp_path / "own"))
    assert default_home() == tmp_path / "own"
    assert Store().root == tmp_path / "own"


def test_digest_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 3_000_000)
    assert digest_file(path) == (Digest.of(b"x" * 3_000_000), 3_000_000)
