"""Uploads in chunks, uploads that break, and registries with manners of their own."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from layerforge.errors import LayerforgeError, RegistryError, VerificationError
from layerforge.oci import LAYER_TAR, Descriptor
from layerforge.reference import Reference
from layerforge.registry import Registry, push_image, retry
from layerforge.registry.feed import CHUNK, Feed
from layerforge.registry.memory import Memory
from layerforge.registry.profile import MIB, Profile, Settings, choose_chunk, find_profile, learn_limit, read_settings
from layerforge.registry.upload import read_range
from layerforge.store import Store
from layerforge.validate import validate_image
from tests.made_images import make_image
from tests.registry_standin import Manners, StandIn
from tests.test_registry import News, Remote, start_push

SIZE = 10 * MIB + 12_345


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "_FIRST", 0.005)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COG_PUSH_DEFAULT_CHUNK_SIZE", str(MIB))
    monkeypatch.setenv("COG_PUSH_MULTIPART_THRESHOLD", str(2 * MIB))


@pytest.fixture
def standin() -> Iterator[StandIn]:
    with StandIn() as standin:
        yield standin


@pytest.fixture
def blob(store: Store) -> Descriptor:
    return store.put_bytes(random.Random(1).randbytes(SIZE), LAYER_TAR)


def send(standin: StandIn, store: Store, blob: Descriptor, memory: Memory | None = None) -> News:
    news = News()
    reference = Reference(standin.address, "a")
    memory = memory or Memory(reference, store)
    with Registry(reference, reporter=news, memory=memory) as registry:
        sent = registry.push_blob(blob, lambda: store.open_blob(blob), task="t")
    assert standin.blobs["a", blob.digest] == store.read_blob(blob)
    assert news.done == (blob.size if sent else 0), "progress tells what was sent, each byte once"
    return news


# -- chunks ----------------------------------------------------------------------------------------------------


def test_one_piece_is_the_default(standin: StandIn, store: Store, blob: Descriptor) -> None:
    send(standin, store, blob)
    assert standin.bodies("PUT") == [SIZE]
    assert standin.count("PATCH") == 0


@pytest.mark.usefixtures("small_chunks")
def test_chunks_as_cogs_variables_say(standin: StandIn, store: Store, blob: Descriptor) -> None:
    send(standin, store, blob)
    assert standin.bodies("PATCH") == [MIB] * 10 + [12_345]
    assert standin.bodies("PUT") == [0]


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.registry
def test_a_real_registry_takes_chunks(registry: str, store: Store, tmp_path: Path) -> None:
    image = make_image(store, tmp_path / "model", weights=os.urandom(5 * MIB))
    reference = Reference(registry, "uploads/chunks", "v1")
    push_image(store, image.manifest, reference)
    validate_image(Remote(reference), image.manifest)


@pytest.mark.usefixtures("small_chunks")
def test_the_registrys_limits_come_before_ours(standin: StandIn, store: Store, blob: Descriptor) -> None:
    standin.manners = Manners(announced=(4 * MIB, 5 * MIB))
    send(standin, store, blob)
    assert standin.bodies("PATCH") == [4 * MIB, 4 * MIB, SIZE - 8 * MIB]


@pytest.mark.usefixtures("small_chunks")
def test_a_registry_that_says_201_to_a_chunk(standin: StandIn, store: Store, blob: Descriptor) -> None:
    standin.manners = Manners(patched=201)
    send(standin, store, blob)


def test_a_body_that_is_too_large_is_cut_and_not_tried_again(standin: StandIn, store: Store, blob: Descriptor) -> None:
    standin.manners = Manners(most_body=5 * MIB)
    news = send(standin, store, blob)
    assert any("in smaller chunks" in line for line in news.lines)
    assert standin.bodies("PUT") == [SIZE, 0]
    standin.asked.clear()
    other = store.put_bytes(os.urandom(SIZE), LAYER_TAR)
    send(standin, store, other)
    assert standin.bodies("PUT") == [0], "what was learned is remembered by the store"


def test_a_proxy_that_loses_patience_with_large_bodies(standin: StandIn, store: Store, blob: Descriptor) -> None:
    standin.manners = Manners(slow_body=5 * MIB)
    send(standin, store, blob)
    assert max(standin.bodies("PATCH")) <= 4 * MIB


@pytest.mark.usefixtures("small_chunks")
def test_a_registry_that_refuses_large_chunks(
    standin: StandIn, store: Store, blob: Descriptor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COG_PUSH_DEFAULT_CHUNK_SIZE", str(6 * MIB))
    standin.manners = Manners(most_patch=4 * MIB)
    send(standin, store, blob)
    assert standin.bodies("PATCH")[1:] == [4 * MIB, 4 * MIB, SIZE - 8 * MIB]


def test_a_limit_below_every_step_is_an_error(standin: StandIn, store: Store, blob: Descriptor) -> None:
    standin.manners = Manners(most_body=MIB)
    with pytest.raises(RegistryError, match="413") as caught:
        send(standin, store, blob)
    assert "raise its limit" in caught.value.hint


def test_a_blob_above_the_registrys_limit_is_refused_before_it_is_sent(
    standin: StandIn, store: Store, blob: Descriptor
) -> None:
    memory = Memory(Reference(standin.address, "a"), store)
    memory.profile = Profile(most_blob=SIZE - 1)
    with pytest.raises(RegistryError, match="takes no blob of more than") as caught:
        send(standin, store, blob, memory)
    assert "split the file" in caught.value.hint
    assert standin.asked == []


# -- what breaks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [0, 64 << 10, 3 * MIB, 9 * MIB])
def test_a_broken_upload_goes_on_where_it_broke(standin: StandIn, store: Store, blob: Descriptor, after: int) -> None:
    broken: list[int] = []

    def trick(method: str, _path: str, done: int) -> bool:
        if method != "PUT" or broken or done < after:
            return False
        broken.append(done)
        return True

    standin.trick = trick
    send(standin, store, blob)
    assert broken
    assert standin.received == SIZE, "no byte is sent twice"
    assert standin.count("POST") == 1


@pytest.mark.usefixtures("small_chunks")
def test_the_lost_answer_to_a_chunk_sends_it_once(standin: StandIn, store: Store, blob: Descriptor) -> None:
    lost: list[str] = []

    def trick(method: str, path: str, done: int) -> bool:
        return method == "PATCH" and done == -1 and len(lost) < 3 and not lost.append(path)

    standin.trick = trick
    send(standin, store, blob)
    assert standin.received == SIZE


@pytest.mark.usefixtures("small_chunks")
def test_more_breaks_than_attempts_when_each_got_further(standin: StandIn, store: Store, blob: Descriptor) -> None:
    breaks: list[int] = []

    def trick(method: str, _path: str, done: int) -> bool:
        return method == "PATCH" and done == 512 << 10 and len(breaks) < 9 and not breaks.append(done)

    standin.trick = trick
    send(standin, store, blob)
    assert len(breaks) == 9 > retry.ATTEMPTS
    assert standin.received == SIZE


def test_the_lost_answer_to_a_commit(standin: StandIn, store: Store, blob: Descriptor) -> None:
    lost: list[int] = []
    standin.trick = lambda method, _, done: method == "PUT" and done == -1 and not lost and not lost.append(done)
    send(standin, store, blob)
    assert standin.received == SIZE


def test_a_session_that_was_forgotten_begins_anew(standin: StandIn, store: Store, blob: Descriptor) -> None:
    def trick(method: str, _path: str, done: int) -> bool:
        if method == "PUT" and done == 5 * MIB and standin.count("POST") == 1:
            standin.sessions.clear()
            return True
        return False

    standin.trick = trick
    send(standin, store, blob)
    assert standin.count("POST") == 2


def test_a_prefix_that_is_not_ours_is_found_out_and_sent_again(
    standin: StandIn, store: Store, blob: Descriptor
) -> None:
    """Somebody else, or a bad disk, has filled the session with other bytes."""

    def trick(method: str, _path: str, done: int) -> bool:
        if method == "PUT" and done == 5 * MIB and standin.count("POST") == 1:
            for data in standin.sessions.values():
                data[0] ^= 1
            return True
        return False

    standin.trick = trick
    send(standin, store, blob)
    assert standin.count("POST") == 2


def test_a_killed_push_goes_on_in_the_next_process(standin: StandIn, store: Store, tmp_path: Path) -> None:
    image = make_image(store, tmp_path / "model", weights=os.urandom(12 * MIB))
    reference = Reference(standin.address, "a", "v1")
    whole = sum(layer.size for layer in image.layers) + image.config.size + image.manifest.size
    for part in (0.3, 0.6):
        process = start_push(store, image, reference)
        while standin.received < part * whole and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert ("a", "v1") not in standin.manifests
        _settle(standin)
    push_image(Store(store.root), image.manifest, reference)
    assert standin.received == whole, "no byte is sent twice"
    assert standin.manifests["a", "v1"][1] == image.manifest_bytes
    assert not list(store.uploads.iterdir()), "what is done is forgotten"


def _settle(standin: StandIn) -> None:
    """Until what the killed process has sent has been read."""
    seen = -1
    while seen != standin.received:
        seen = standin.received
        time.sleep(0.1)


def test_two_processes_do_not_share_a_session(standin: StandIn, store: Store, blob: Descriptor) -> None:
    reference = Reference(standin.address, "a")
    first, second = Memory(reference, store), Memory(reference, store)
    first.sessions.remember(blob.digest, blob.size, "http://example.com/1")
    assert second.sessions.recall(blob.digest, blob.size) == ""
    second.sessions.remember(blob.digest, blob.size, "http://example.com/2")
    second.close()
    first.close()
    assert Memory(reference, store).sessions.recall(blob.digest, blob.size) == "http://example.com/1"
    (file,) = store.uploads.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600, "the URL may be a permission to write"


def test_a_damaged_blob_is_not_committed_and_its_session_is_given_up(
    standin: StandIn, store: Store, blob: Descriptor
) -> None:
    path = store.blob_path(blob.digest)
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(VerificationError):
        send(standin, store, blob)
    assert standin.sessions == {} == standin.blobs
    assert not list(store.uploads.iterdir())


# -- the parts -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_a_feed_gives_every_range(store: Store, size: int) -> None:
    data = random.Random(size).randbytes(size)
    descriptor = store.put_bytes(data, LAYER_TAR)
    feed = Feed(lambda: store.open_blob(descriptor), size, "blob")
    cuts = sorted({0, size // 3, size // 2, size})
    ranges = [(start, end) for start in cuts for end in cuts if start <= end]
    random.Random(7).shuffle(ranges)
    for start, end in ranges:
        assert b"".join(map(bytes, feed.pieces(start, end))) == data[start:end]
    feed.close()


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0-0", 0),
        ("0-1023", 1024),
        ("bytes=0-9", 10),
        ("", None),
        ("5-9", None),
        ("0-x", None),
        ("0-" + "9" * 30, None),
    ],
)
def test_read_range(text: str, count: int | None) -> None:
    assert read_range(text) == count


def test_profiles() -> None:
    assert find_profile("ghcr.io").most_chunk == 4 * MIB
    assert find_profile("europe-docker.pkg.dev").chunks is False
    assert find_profile("notghcr.io") == Profile()
    whole = Profile(chunks=False, most_body=1)
    assert choose_chunk(1 << 40, whole, Settings(), {}) == 0
    assert learn_limit(whole, 1 << 40) is None
    learned = learn_limit(Profile(), 1 << 40)
    assert learned is not None and learned.most_body == 480 * MIB
    assert choose_chunk(200 * MIB, find_profile("ghcr.io"), Settings(), {}) == 0, "a PUT is not limited there"
    assert choose_chunk(2048 * MIB, find_profile("ghcr.io"), Settings(), {}) == 4 * MIB


@pytest.mark.parametrize("text", ["x", "0", "-1", "1.5", "１"])
def test_settings_that_are_no_numbers(text: str) -> None:
    with pytest.raises(LayerforgeError, match="COG_PUSH_CONCURRENCY"):
        read_settings({"COG_PUSH_CONCURRENCY": text})


def test_settings() -> None:
    assert read_settings({}) == Settings()
    assert read_settings({"COG_PUSH_CONCURRENCY": "9", "COG_PUSH_DEFAULT_CHUNK_SIZE": "5"}).jobs == 9
