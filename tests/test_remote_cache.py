"""Which layers of other people's images are believed to be ours."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from layerforge.image import Image, identify_layer
from layerforge.layers.tar import Layer
from layerforge.oci import MANIFEST, Descriptor, Digest, Manifest, decode, encode
from layerforge.origin import Repository
from layerforge.reference import Reference
from layerforge.registry import Registry, push_image
from layerforge.remote_cache import CacheSource, RemoteCache, choose_sources
from layerforge.store import Store
from tests.made_images import make_image
from tests.registry_servers import Proxy, Reply
from tests.test_registry import News

pytestmark = pytest.mark.registry


@pytest.fixture
def image(store: Store, tmp_path: Path) -> Image:
    return make_image(store, tmp_path / "model")


@pytest.fixture
def reference(registry: str, request: pytest.FixtureRequest) -> Reference:
    name = request.node.name.replace("_", "-").partition("[")[0]
    return Reference(registry, f"cache/{name}", "v1")


@pytest.fixture
def fresh_store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "another")
    yield store
    store.close()


def layers_of(image: Image) -> dict[Digest, Layer]:
    return dict(named for layer in image.layers if (named := identify_layer(layer)) is not None)


def open_cache(
    reference: Reference, store: Store, news: News, *, trusted: bool = True, recorded: dict[Digest, Layer] | None = None
) -> RemoteCache:
    return RemoteCache([CacheSource(reference, trusted)], recorded or {}, store, news)


def test_layers_are_found_by_key_in_one_request(
    store: Store, image: Image, reference: Reference, fresh_store: Store
) -> None:
    push_image(store, image.manifest, reference)
    expected = layers_of(image)
    assert expected
    with Proxy(reference.registry) as proxy:
        there = Reference(proxy.address, reference.repository, reference.tag)
        cache = open_cache(there, fresh_store, News())
        assert proxy.requests == [], "nothing is asked before the first question"
        for key, layer in expected.items():
            assert cache.find(key) == layer
            origin = fresh_store.find_origin(layer.descriptor.digest)
            assert origin is not None
            assert origin.repositories == (Repository(there.registry, there.repository),)
        assert cache.find(Digest.of(b"another")) is None
        assert proxy.methods() == ["GET"]


def test_a_stranger_is_not_believed_unless_the_lock_says_the_same(
    store: Store, image: Image, reference: Reference, fresh_store: Store
) -> None:
    push_image(store, image.manifest, reference)
    (key, layer), *others = layers_of(image).items()
    news = News()
    cache = open_cache(reference, fresh_store, news, trusted=False, recorded={key: layer})
    assert cache.find(key) == layer
    assert [cache.find(other) for other, _ in others] == [None] * len(others)
    assert len(others) == 0 or any("does not vouch" in line for line in news.lines)


@pytest.mark.parametrize("trusted", [True, False])
def test_what_contradicts_the_lock_is_never_used(
    trusted: bool, store: Store, image: Image, reference: Reference, fresh_store: Store
) -> None:
    """Somebody pushed a manifest that gives another layer for our key."""
    key, layer = next(iter(layers_of(image).items()))
    evil = Descriptor(layer.descriptor.media_type, Digest.of(b"evil"), 4)
    manifest = decode(store.read_blob(image.manifest), Manifest)
    forged = tuple(
        msgspec.structs.replace(evil, annotations=each.annotations) if each.digest == layer.descriptor.digest else each
        for each in manifest.layers
    )
    data = encode(msgspec.structs.replace(manifest, layers=forged))
    push_image(store, image.manifest, reference)
    with Registry(reference) as registry:
        registry.push_blob(evil, lambda: io.BytesIO(b"evil"))  # type: ignore[arg-type, return-value]
        registry.push_manifest("evil", Descriptor(MANIFEST, Digest.of(data), len(data)), data)
    there = msgspec.structs.replace(reference, tag="evil")
    assert open_cache(there, fresh_store, News(), trusted=trusted, recorded={key: layer}).find(key) is None
    assert open_cache(there, fresh_store, News(), trusted=False).find(key) is None


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"schemaVersion":2,"layers":[{}]}'])
def test_garbage_makes_a_build_slower_and_no_more(
    body: bytes, store: Store, image: Image, reference: Reference
) -> None:
    push_image(store, image.manifest, reference)
    key = next(iter(layers_of(image)))
    with Proxy(reference.registry, lambda _: Reply(200, {"Content-Type": MANIFEST}, body)) as proxy:
        news = News()
        there = Reference(proxy.address, reference.repository, reference.tag)
        assert open_cache(there, store, news).find(key) is None
        assert any("does not serve as a cache" in line for line in news.lines)


def test_a_tag_that_is_not_there_is_no_news(store: Store, reference: Reference) -> None:
    news = News()
    assert open_cache(reference, store, news).find(Digest.of(b"")) is None
    assert news.lines == []


def test_who_is_trusted() -> None:
    target = Reference("r.example", "team/model", "v2")
    assert choose_sources([], target) == (CacheSource(target, True),)
    assert choose_sources([], None) == ()
    beside = Reference("r.example", "team/model", "v1")
    pinned = Reference("other.example", "model", "", Digest.of(b"pinned"))
    strange = Reference("r.example", "team/other", "v1")
    sources = choose_sources([beside, pinned, strange], target)
    assert [source.trusted for source in sources] == [True, True, False]
    assert [source.trusted for source in choose_sources([beside], None)] == [False]
