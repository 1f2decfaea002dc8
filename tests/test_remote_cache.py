"""Which layers of other people's images are believed to be ours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from layerforge.errors import InvalidReference
from layerforge.image import Image, identify_layer
from layerforge.layers.tar import Layer
from layerforge.oci import MANIFEST, Digest
from layerforge.origin import Repository
from layerforge.reference import Reference
from layerforge.registry import push_image
from layerforge.remote_cache import RemoteCache, choose_sources
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


def test_layers_are_found_by_key_in_one_request(
    store: Store, image: Image, reference: Reference, fresh_store: Store
) -> None:
    push_image(store, image.manifest, reference)
    expected = layers_of(image)
    assert expected
    with Proxy(reference.registry) as proxy:
        there = Reference(proxy.address, reference.repository, reference.tag)
        cache = RemoteCache([there], fresh_store, News())
        assert proxy.requests == [], "nothing is asked before the first question"
        for key, layer in expected.items():
            assert cache.find(key) == layer
            origin = fresh_store.find_origin(layer.descriptor.digest)
            assert origin is not None
            assert origin.repositories == (Repository(there.registry, there.repository),)
        assert cache.find(Digest.of(b"another")) is None
        assert proxy.methods() == ["GET"]


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"schemaVersion":2,"layers":[{}]}'])
def test_garbage_makes_a_build_slower_and_no_more(
    body: bytes, store: Store, image: Image, reference: Reference
) -> None:
    push_image(store, image.manifest, reference)
    key = next(iter(layers_of(image)))
    with Proxy(reference.registry, lambda _: Reply(200, {"Content-Type": MANIFEST}, body)) as proxy:
        news = News()
        there = Reference(proxy.address, reference.repository, reference.tag)
        assert RemoteCache([there], store, news).find(key) is None
        assert any("does not serve as a cache" in line for line in news.lines)


def test_a_tag_that_is_not_there_is_no_news(store: Store, reference: Reference) -> None:
    news = News()
    assert RemoteCache([reference], store, news).find(Digest.of(b"")) is None
    assert news.lines == []


def test_who_is_believed() -> None:
    target = Reference("r.example", "team/model", "v2")
    assert choose_sources([], target, push=True) == (target,)
    assert choose_sources([], target, push=False) == ()
    beside = Reference("r.example", "team/model", "v1")
    pinned = Reference("other.example", "model", "", Digest.of(b"pinned"))
    assert choose_sources([beside, pinned], target, push=True) == (beside, pinned)
    for strange in (Reference("r.example", "team/other", "v1"), Reference("other.example", "team/model", "v2")):
        with pytest.raises(InvalidReference, match="could put any layer") as caught:
            choose_sources([strange], target, push=True)
        assert "by its digest" in caught.value.hint
