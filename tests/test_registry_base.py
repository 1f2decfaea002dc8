"""Layers of a base on their way from one real registry to another, or into the store."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from layerforge.blobs import require_blobs
from layerforge.errors import RegistryError, SourceError, StoreError, VerificationError
from layerforge.image import Image, NamedLayer, assemble_image
from layerforge.oci import CONFIG, LAYER_GZIP, LINUX_AMD64, MANIFEST, ContainerConfig, Descriptor, Digest
from layerforge.origin import Repository
from layerforge.progress import SILENCE
from layerforge.reference import Reference, parse_reference
from layerforge.registry import Registry, push_image
from layerforge.registry.pull import pull_blobs
from layerforge.sinks.archive import ArchiveSink
from layerforge.sinks.layout import LayoutSink
from layerforge.sources.base.fetch import lock_base
from layerforge.store import Store
from layerforge.validate import validate_image
from tests.base_samples import files_layer, push_base, put_base
from tests.made_images import code_layer
from tests.registry_servers import Changed, Proxy, Reply, Request, serve_registry

SIZE = 3 << 20


class Site:
    """A base in a registry, behind a proxy that counts, and an image upon it in a store that lacks its layers."""

    def __init__(self, folder: Path, registry: str, name: str) -> None:
        self.shop = Store(folder / "shop")
        self.store = Store(folder / "store")
        self.name = name
        big = files_layer(self.shop, {"opt/big": os.urandom(SIZE), "etc/name": name})
        small = files_layer(self.shop, {"etc/small": name})
        push_base(self.shop, put_base(self.shop, [big, small], docker=True), f"{registry}/bases/{name}:1")
        self.proxy = Proxy(registry)

    def build(self) -> Image:
        _, base = lock_base(f"{self.proxy.address}/bases/{self.name}:1", LINUX_AMD64, self.store)
        self.layers = [layer.descriptor for layer in base.layers]
        named = (NamedLayer("code", Digest.of(b"key"), code_layer(self.store, self.name)),)
        image = assemble_image(named, ContainerConfig(cmd=("x",)), LINUX_AMD64, 0, {}, base)
        self.store.put_bytes(image.config_bytes, CONFIG)
        self.store.put_bytes(image.manifest_bytes, MANIFEST)
        return image

    def lacks_layers(self) -> bool:
        return not any(self.store.has_blob(layer) for layer in self.layers)


@pytest.fixture
def site(tmp_path: Path, registry: str, request: pytest.FixtureRequest) -> Iterator[Site]:
    made = Site(tmp_path, registry, request.node.name.replace("_", "-").split("[")[0])
    with made.proxy:
        yield made


def read_all(address: str, repository: str, blobs: list[Descriptor]) -> list[bytes]:
    with Registry(Reference(address, repository), push=False) as registry:
        return [registry.read_blob(blob).readall() for blob in blobs]


def test_pushing_beside_the_base_mounts_its_layers(site: Site) -> None:
    image = site.build()
    before = len(site.proxy.requests)
    push_image(site.store, image.manifest, parse_reference(f"{site.proxy.address}/models/{site.name}:1"))
    asked = site.proxy.requests[before:]
    mounts = [request for request in asked if request.is_("POST", "mount=")]
    assert len(mounts) == len(site.layers) == 2
    assert all(f"from=bases%2F{site.name}" in request.path for request in mounts)
    assert not [request for request in asked if request.is_("GET", "/blobs/")]
    assert site.proxy.received < 20_000  # manifest, configuration and code, but no layer of the base
    assert site.lacks_layers()
    assert [len(data) for data in read_all(site.proxy.address, f"models/{site.name}", site.layers)] == [
        layer.size for layer in site.layers
    ]


def test_pushing_elsewhere_passes_the_layers_on(site: Site, tmp_path: Path) -> None:
    image = site.build()
    with serve_registry(tmp_path / "other") as other:
        reference = parse_reference(f"{other}/models/{site.name}:1")
        push_image(site.store, image.manifest, reference)
        assert site.lacks_layers()
        expected = [site.shop.read_blob(layer) for layer in site.layers]
        assert read_all(other, f"models/{site.name}", site.layers) == expected
        before = len(site.proxy.requests)
        push_image(site.store, image.manifest, Reference(other, reference.repository, "2"))
        assert len(site.proxy.requests) == before  # the other registry has them now
    folder = list((site.store.root / "tmp").glob("*/*"))
    assert not folder


def test_a_registry_that_cannot_mount_gets_them_sent(site: Site) -> None:
    image = site.build()

    def refuse(request: Request) -> Reply | None:
        return Reply(405) if request.is_("POST", "mount=") else None

    site.proxy.trick = refuse
    push_image(site.store, image.manifest, parse_reference(f"{site.proxy.address}/models/{site.name}:1"))
    assert site.proxy.received > SIZE
    assert site.lacks_layers()


def test_a_damaged_layer_is_never_committed(site: Site, tmp_path: Path) -> None:
    image = site.build()

    def damage(request: Request) -> Changed | None:
        if request.is_("GET", site.layers[0].digest):
            return Changed(body=lambda data: data[:-1] + bytes((data[-1] ^ 1,)))
        return None

    site.proxy.trick = damage
    with serve_registry(tmp_path / "other") as other:
        reference = parse_reference(f"{other}/models/{site.name}:1")
        with pytest.raises(SourceError):
            push_image(site.store, image.manifest, reference)
        with Registry(reference) as registry:
            assert registry.find_manifest("1") is None
            assert not registry.has_blob(site.layers[0].digest)
    with pytest.raises(VerificationError, match="content has digest"):
        pull_blobs(site.store, site.layers[:1])
    assert site.lacks_layers()


def test_a_read_that_breaks_goes_on_where_it_broke(site: Site) -> None:
    site.build()
    wanted = site.layers[0]
    whole = site.shop.read_blob(wanted)
    seen: list[str] = []

    def cut(request: Request) -> Changed | None:
        if not request.is_("GET", wanted.digest):
            return None
        seen.append(request.headers.get("Range", ""))
        return None

    site.proxy.trick = cut
    site.proxy.break_after = 1 << 20
    pull_blobs(site.store, [wanted])
    assert site.store.read_blob(wanted) == whole
    assert seen[0] == ""
    assert len(seen) > 1
    starts = [int(text.removeprefix("bytes=").rstrip("-")) for text in seen[1:]]
    assert starts == sorted(starts)
    assert starts[0] > 0


@pytest.mark.parametrize("damaged", [False, True])
def test_what_another_process_left_is_gone_on_with(site: Site, damaged: bool) -> None:
    site.build()
    wanted = site.layers[0]
    whole = site.shop.read_blob(wanted)
    left = whole[:1000]
    site.store.partial_path(wanted.digest).write_bytes(b"x" + left[1:] if damaged else left)
    before = len(site.proxy.requests)
    pull_blobs(site.store, [wanted])
    ranges = [r.headers.get("Range", "") for r in site.proxy.requests[before:] if r.is_("GET", wanted.digest)]
    assert ranges == (["bytes=1000-", ""] if damaged else ["bytes=1000-"])
    assert site.store.read_blob(wanted) == whole
    assert not site.store.partial_path(wanted.digest).exists()


@pytest.mark.parametrize("kind", ["dir", "tar"])
def test_an_output_has_all_of_them(site: Site, kind: str, tmp_path: Path) -> None:
    image = site.build()
    sink = LayoutSink(tmp_path / "out") if kind == "dir" else ArchiveSink(tmp_path / "out.tar")
    sink.deliver(site.store, image.manifest, "models/out:1")
    assert not site.lacks_layers()
    validate_image(site.store, image.manifest)


def test_without_a_registry_a_push_says_what_is_missing(tmp_path: Path, registry: str) -> None:
    site = Site(tmp_path, registry, "gone")
    with site.proxy:
        image = site.build()
    with serve_registry(tmp_path / "other") as other, pytest.raises(RegistryError, match="cannot be reached"):
        push_image(site.store, image.manifest, parse_reference(f"{other}/models/gone:1"))
    unknown = Descriptor(LAYER_GZIP, Digest.of(b"unknown"), 7)
    with pytest.raises(StoreError, match="does not have this blob"):
        pull_blobs(site.store, [unknown])
    require_blobs(site.store, [unknown], SILENCE)  # whoever opens it says so


def test_the_next_repository_is_tried(site: Site) -> None:
    site.build()
    site.store.add_origin(site.layers[0], Repository(site.proxy.address, "nobody/here"))
    pull_blobs(site.store, site.layers)
    assert not site.lacks_layers()


def test_origins_are_remembered_newest_first(store: Store) -> None:
    blob = Descriptor(LAYER_GZIP, Digest.of(b"blob"), 4)
    for number in range(12):
        store.add_origin(blob, Repository("registry.example.org", f"team/{number}"))
    store.add_origin(blob, Repository("registry.example.org", "team/7"))
    origin = store.find_origin(blob.digest)
    assert origin is not None
    assert origin.size == 4
    assert [repository.name for repository in origin.repositories[:3]] == ["team/7", "team/11", "team/10"]
    assert len(origin.repositories) == 8


def test_two_at_once_fetch_it_once(site: Site) -> None:
    site.build()
    threads = [threading.Thread(target=pull_blobs, args=(site.store, site.layers)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    fetched = [request for request in site.proxy.requests if request.is_("GET", site.layers[0].digest)]
    assert len(fetched) == 1
    assert not site.lacks_layers()
