"""A base is looked up in a real registry: manifest and configuration come, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerforge.errors import ImageError, RegistryError, VerificationError
from layerforge.lock import LockedBase
from layerforge.oci import INDEX, LINUX_AMD64, LINUX_ARM64, Descriptor, Digest, Platform
from layerforge.sources.base.fetch import load_base, lock_base
from layerforge.store import Store
from tests.base_samples import files_layer, push_base, put_base, put_index
from tests.registry_servers import Changed, Proxy, Request

LAYERS = {"linux/amd64": LINUX_AMD64, "linux/arm64": LINUX_ARM64}


@pytest.fixture
def shop(tmp_path: Path) -> Store:
    """Where bases are made before they are pushed."""
    return Store(tmp_path / "shop")


def make(shop: Store, text: str, target: Platform = LINUX_AMD64, *, docker: bool = False) -> Descriptor:
    return put_base(shop, [files_layer(shop, {"etc/name": text})], target=target, docker=docker)


@pytest.mark.parametrize("docker", [False, True])
def test_only_manifest_and_configuration_are_fetched(shop: Store, store: Store, registry: str, docker: bool) -> None:
    images = {name: make(shop, name, target, docker=docker) for name, target in LAYERS.items()}
    push_base(shop, put_index(shop, images, docker=docker), f"{registry}/base/several:{docker}")
    with Proxy(registry) as proxy:
        reference = f"{proxy.address}/base/several:{docker}"
        locked, base = lock_base(reference, LINUX_ARM64, store)
        paths = [request.path.split("/base/several/")[1] for request in proxy.requests if request.method == "GET"]
    chosen = images["linux/arm64"]
    assert locked == LockedBase(reference, chosen.digest, chosen.size, chosen.media_type)
    assert paths == [f"manifests/{docker}", f"manifests/{chosen.digest}", f"blobs/{base.config.digest}"]
    stored = {path.name for path in (store.root / "blobs/sha256").iterdir()}
    assert stored == {chosen.digest.hex, base.config.digest.hex}
    origin = store.find_origin(base.layers[0].descriptor.digest)
    assert origin is not None
    assert str(origin.repositories[0]) == f"{proxy.address}/base/several"


def test_the_store_is_enough_afterwards(shop: Store, store: Store, registry: str) -> None:
    reference = push_base(shop, make(shop, "later"), f"{registry}/base/later:1")
    with Proxy(registry) as proxy:
        locked, base = lock_base(reference.replace(registry, proxy.address), LINUX_AMD64, store)
    assert load_base(locked, LINUX_AMD64, store) == base  # nobody listens there any more


def test_another_machine_fetches_by_digest(shop: Store, store: Store, registry: str, tmp_path: Path) -> None:
    reference = push_base(shop, make(shop, "first"), f"{registry}/base/moved:1")
    locked, base = lock_base(reference, LINUX_AMD64, store)
    push_base(shop, make(shop, "second"), reference)
    elsewhere = Store(tmp_path / "elsewhere")
    assert load_base(locked, LINUX_AMD64, elsewhere) == base
    assert elsewhere.find_origin(base.layers[0].descriptor.digest) is not None


def test_a_digest_may_be_named(shop: Store, store: Store, registry: str) -> None:
    manifest = make(shop, "pinned")
    push_base(shop, manifest, f"{registry}/base/pinned:1")
    locked, _ = lock_base(f"{registry}/base/pinned@{manifest.digest}", LINUX_AMD64, store)
    assert locked.manifest == manifest.digest


def test_a_platform_that_is_missing_is_an_error(shop: Store, store: Store, registry: str) -> None:
    index = put_index(shop, {"linux/amd64": make(shop, "amd64")})
    reference = push_base(shop, index, f"{registry}/base/one:1")
    with pytest.raises(ImageError, match="has no image for linux/arm64") as caught:
        lock_base(reference, LINUX_ARM64, store)
    assert "linux/amd64" in caught.value.hint


def test_a_base_that_is_not_there(store: Store, registry: str) -> None:
    with pytest.raises(RegistryError) as caught:
        lock_base(f"{registry}/no/such:1", LINUX_AMD64, store)
    assert caught.value.status == 404
    assert "is the name of the base right?" in caught.value.hint
    assert not list((store.root / "blobs/sha256").iterdir())


def test_another_manifest_than_named_is_refused(shop: Store, store: Store, registry: str) -> None:
    push_base(shop, make(shop, "x"), f"{registry}/base/forged:1")

    def change(request: Request) -> Changed | None:
        return Changed(body=lambda data: data.replace(b"{", b"{ ", 1)) if request.is_("GET", "/manifests/") else None

    with Proxy(registry, change) as proxy, pytest.raises(VerificationError):
        lock_base(f"{proxy.address}/base/forged:1", LINUX_AMD64, store)


def test_a_lock_does_not_name_an_index(shop: Store, store: Store, registry: str) -> None:
    index = put_index(shop, {"linux/amd64": make(shop, "amd64")})
    reference = push_base(shop, index, f"{registry}/base/index:1")
    with pytest.raises(ImageError):
        load_base(LockedBase(reference, index.digest, index.size, INDEX), LINUX_AMD64, store)
    missing = Digest.of(b"nothing")
    with pytest.raises(RegistryError):
        load_base(LockedBase(reference, missing, 7, index.media_type), LINUX_AMD64, store)
