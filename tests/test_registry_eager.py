"""Large new files that are sent while they are hashed."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from layerforge.errors import SourceError
from layerforge.image import Image
from layerforge.oci import Digest
from layerforge.reference import Reference
from layerforge.registry import push_image
from layerforge.registry.eager import EagerUploads
from layerforge.registry.memory import Memory
from layerforge.registry.profile import Profile
from layerforge.scan import scan_project
from layerforge.states import FileStates
from layerforge.store import Store
from tests.made_images import put_image, weight_layer
from tests.registry_standin import Manners, StandIn
from tests.test_registry import News

SIZE = 20 << 20


class Site:
    """A folder with one large weight, of which the store has an image, and a registry for it."""

    def __init__(self, store: Store, standin: StandIn, folder: Path) -> None:
        self.store = store
        self.standin = standin
        self.folder = folder
        self.path = folder / "model.safetensors"
        folder.mkdir()
        self.write(0)
        self.reference = Reference(standin.address, "eager", "v1")
        self.news = News()
        store.tag(str(self.reference), self.image().manifest)

    def write(self, seed: int) -> None:
        """Other weights, an hour old, so that their state may be remembered."""
        self.path.write_bytes(random.Random(seed).randbytes(SIZE))
        os.utime(self.path, ns=(10**18, 10**18 + seed))

    def image(self) -> Image:
        return put_image(self.store, {"weights/model.safetensors": weight_layer(self.store, self.path)})

    def scan(self) -> Digest:
        states = FileStates(self.store.root / "states.sqlite")
        with EagerUploads(self.reference, self.store, self.news) as eager:
            project = scan_project(self.folder, states, reporter=self.news, eager=eager)
        states.close()
        (layer,) = project.large_weights
        return layer.digest

    def digest(self) -> Digest:
        """As it is without sending anything."""
        (layer,) = scan_project(self.folder, FileStates(self.folder.parent / "other.sqlite")).large_weights
        return layer.digest


@pytest.fixture
def make_site(store: Store, tmp_path: Path) -> Callable[[StandIn], Site]:
    return lambda standin: Site(store, standin, tmp_path / "model")


def test_a_changed_file_is_read_and_sent_once(make_site: Callable[[StandIn], Site]) -> None:
    with StandIn() as standin:
        site = make_site(standin)
        site.write(1)
        digest = site.scan()
        assert digest == site.digest()
        assert len(standin.blobs["eager", digest]) == standin.received
        push_image(site.store, site.image().manifest, site.reference)
        assert standin.received < len(standin.blobs["eager", digest]) + 10_000, "it is not sent again"
        assert standin.bodies("PATCH") == [len(standin.blobs["eager", digest])]


def test_a_file_that_did_not_change_is_not_sent(make_site: Callable[[StandIn], Site]) -> None:
    with StandIn() as standin:
        site = make_site(standin)
        assert site.scan() == site.digest()
        assert standin.asked == []


def test_an_image_that_was_never_built_here_is_hashed_first(make_site: Callable[[StandIn], Site]) -> None:
    """The registry may have the same bytes: a fresh machine sends nothing before it has asked."""
    with StandIn() as standin:
        site = make_site(standin)
        site.store.remove_tag(str(site.reference))
        site.write(1)
        assert site.scan() == site.digest()
        assert standin.asked == []


@pytest.mark.parametrize(
    "manners", [Manners(most_body=1 << 20), Manners(slow_body=1 << 20), Manners(chunks=False), Manners(most_patch=1)]
)
def test_a_registry_that_refuses_gets_it_later(make_site: Callable[[StandIn], Site], manners: Manners) -> None:
    with StandIn(manners) as standin:
        site = make_site(standin)
        site.write(1)
        assert site.scan() == site.digest()
        assert standin.blobs == {}
        assert any("trying again when everything is made" in line for line in site.news.lines)


@pytest.mark.parametrize(("method", "after"), [("PATCH", 5 << 20), ("PATCH", -1), ("PUT", -1)])
def test_a_broken_connection(make_site: Callable[[StandIn], Site], method: str, after: int) -> None:
    with StandIn() as standin:
        site = make_site(standin)
        site.write(1)
        standin.trick = lambda called, _, done: called == method and (done == -1 if after < 0 else done >= after)
        assert site.scan() == site.digest()
        standin.trick = lambda *_: False
        push_image(site.store, site.image().manifest, site.reference)
        assert ("eager", site.digest()) in standin.blobs


def test_registries_that_want_chunks_are_left_for_later(make_site: Callable[[StandIn], Site]) -> None:
    with StandIn() as standin:
        site = make_site(standin)
        Memory(site.reference, site.store).learn(Profile(most_chunk=4 << 20))
        site.write(1)
        assert site.scan() == site.digest()
        assert standin.asked == []


def test_a_file_that_changes_meanwhile_is_never_committed(make_site: Callable[[StandIn], Site]) -> None:
    with StandIn() as standin:
        site = make_site(standin)
        site.write(1)

        def trick(method: str, _path: str, done: int) -> bool:
            if method == "PATCH" and done >= 1 << 20:
                os.utime(site.path)
            return False

        standin.trick = trick
        with pytest.raises(SourceError, match="changed while it was being read"):
            site.scan()
        assert standin.blobs == {}
        assert standin.sessions == {}, "the upload is given up"
