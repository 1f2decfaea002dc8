"""The build graph, on layers small enough to see through: counting what is made, downloaded and reused."""

from __future__ import annotations

import tarfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from pathlib import Path
from typing import BinaryIO, cast

import msgspec
import pytest

from layerforge.build import build_image
from layerforge.errors import SourceError
from layerforge.image import identify_layer
from layerforge.layers import kinds
from layerforge.layers.code import CodeRecipe
from layerforge.layers.step import Recipe, Step, Workbench
from layerforge.layers.tar import Layer, TarWriter
from layerforge.layers.tree import TreeFile
from layerforge.oci import LINUX_AMD64, ContainerConfig, Descriptor, Digest, Manifest, decode
from layerforge.plan import Plan
from layerforge.progress import SILENCE, Silence
from layerforge.store import Store
from layerforge.verify import VerifiedReader


class ToyRecipe(Recipe, frozen=True, tag="toy"):
    """Writes the materials' bytes, one file each."""

    inputs: tuple[Digest, ...]

    def materials(self) -> tuple[Digest, ...]:
        return self.inputs


class EarlyRecipe(Recipe, frozen=True, tag="early"):
    """A kind that tells when it has read what it reads."""


class Bench:
    """A Workbench over a folder and a table of downloads, which counts."""

    reporter = SILENCE

    def __init__(self, folder: Path, downloads: dict[Digest, bytes]) -> None:
        self.compressors = ThreadPoolExecutor(2)
        self.folder = folder
        self.downloads = downloads
        self.fetched: list[Digest] = []
        self.written: list[str] = []
        self.lock = threading.Lock()

    def material(self, digest: Digest) -> Path:
        with self.lock:
            path = self.folder / digest.hex
            if not path.exists():
                if digest not in self.downloads:
                    raise SourceError("nowhere to be had", where=digest.short)
                self.fetched.append(digest)
                path.write_bytes(self.downloads[digest])
        return path

    def project_path(self, path: str) -> Path:
        return self.folder / path

    def open_project_file(self, path: str, digest: Digest) -> BinaryIO:
        return cast(BinaryIO, VerifiedReader((self.folder / path).open("rb", buffering=0), digest, what=path))

    def compile_bytecode(self, minor: str, sources: Sequence[tuple[str, bytes]]) -> list[bytes | None]:
        return [b"code of " + source for _, source in sources]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    folder = tmp_path / "bench"
    folder.mkdir()
    made = Bench(folder, {Digest.of(data): data for data in (b"one", b"two", b"three")})

    def write_toy(recipe: ToyRecipe, tar: TarWriter, given: Workbench) -> None:
        made.written.append(recipe.inputs[0].short)
        if Digest.of(b"three") in recipe.inputs:
            tar.warn("three is much", "take two")
        for digest in recipe.inputs:
            tar.file(digest.short, given.material(digest).read_bytes())

    monkeypatch.setitem(kinds._WRITERS, ToyRecipe, write_toy)
    return made


def toy(name: str, *inputs: bytes) -> Step:
    return Step(name, ToyRecipe(tuple(Digest.of(data) for data in inputs)))


def plan(*steps: Step) -> Plan:
    return Plan(LINUX_AMD64, steps, ContainerConfig(), {})


def build(steps: Plan, store: Store, bench: Bench) -> tuple[Digest, tuple[str, ...]]:
    built = build_image(steps, store, lambda: nullcontext(bench), 0, SILENCE)
    return built.image.manifest.digest, built.made


def test_each_download_and_each_layer_is_made_once(store: Store, bench: Bench) -> None:
    both = plan(toy("a", b"one", b"two"), toy("b", b"two", b"three"))
    first, made = build(both, store, bench)
    assert made == ("a", "b")
    assert sorted(bench.fetched) == sorted(Digest.of(x) for x in (b"one", b"two", b"three"))
    again, made = build(both, store, bench)
    assert (again, made) == (first, ())
    assert len(bench.written) == 2


def test_only_what_changed_is_made(store: Store, bench: Bench) -> None:
    build(plan(toy("a", b"one"), toy("b", b"two")), store, bench)
    _, made = build(plan(toy("a", b"one"), toy("b", b"three")), store, bench)
    assert made == ("b",)


class Listener(Silence):
    """Keeps warnings and outcomes."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def warn(self, text: str, hint: str = "") -> None:
        self.heard.append(f"{text}: {hint}")

    def finish(self, task: str, outcome: str) -> None:
        self.heard.append(outcome)


def test_what_there_is_to_know_about_a_layer_is_said_wherever_it_comes_from(
    store: Store, bench: Bench, tmp_path: Path
) -> None:
    steps = plan(toy("a", b"three"))
    made, kept, remote = Listener(), Listener(), Listener()
    image = build_image(steps, store, lambda: nullcontext(bench), 0, made).image
    build_image(steps, store, lambda: nullcontext(bench), 0, kept)
    (descriptor,) = decode(image.manifest_bytes, Manifest).layers
    key, layer = identify_layer(descriptor) or (None, None)
    assert key == steps.steps[0].key
    with closing(Store(tmp_path / "other")) as other:
        built = build_image(steps, other, lambda: nullcontext(bench), 0, remote, lambda _: layer)
        assert built.image.manifest.digest == image.manifest.digest
    assert [each.heard[0] for each in (made, kept, remote)] == ["three is much: take two"] * 3
    assert (kept.heard[1], remote.heard[1]) == ("cached", "in registry")


def test_a_step_waits_for_those_it_names(store: Store, bench: Bench) -> None:
    first, second = toy("first", b"one"), toy("second", b"two")
    late = msgspec.structs.replace(toy("late", b"three"), after=("first", "second", "no such step"))
    assert late.key == toy("late", b"three").key
    build(plan(late, second, first), store, bench)
    assert bench.written[-1] == Digest.of(b"three").short
    build(plan(late, toy("again", b"one", b"two"), first), store, bench)
    assert len(bench.written) == 4


def test_a_step_begins_when_the_facts_of_those_it_names_are_there(
    store: Store, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = threading.Event()

    def write_early(recipe: EarlyRecipe, tar: TarWriter, given: Workbench, on_read: Callable[[], None]) -> None:
        assert not begun.is_set()
        on_read()
        assert begun.wait(30), "the other layer did not begin before the end of this one"
        bench.written.append("early")

    def write_late(recipe: ToyRecipe, tar: TarWriter, given: Workbench) -> None:
        begun.set()

    monkeypatch.setitem(kinds._WRITERS, EarlyRecipe, write_early)
    monkeypatch.setitem(kinds._WRITERS, ToyRecipe, write_late)
    monkeypatch.setattr(kinds, "_TELLING", (EarlyRecipe,))
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    late = msgspec.structs.replace(toy("late", b"three"), after=("early",))
    _, made = build(plan(late, Step("early", EarlyRecipe())), store, bench)
    assert (made, bench.written) == (("late", "early"), ["early"])


def test_a_name_is_no_part_of_the_key() -> None:
    assert toy("a", b"one").key == toy("b", b"one").key
    assert toy("a", b"one").key != toy("a", b"two").key


def test_a_layer_whose_blob_is_gone_or_torn_is_made_again(store: Store, bench: Bench) -> None:
    single = plan(toy("a", b"one"))
    first, _ = build(single, store, bench)
    layer = store.find_layer(single.steps[0].key)
    assert layer is not None
    store.blob_path(layer.descriptor.digest).write_bytes(b"torn")
    assert build(single, store, bench) == (first, ("a",))


def test_one_failure_ends_the_build_and_keeps_what_was_finished(store: Store, bench: Bench) -> None:
    good = toy("good", b"one")
    build(plan(good), store, bench)
    bad = plan(good, toy("bad", b"nowhere"))
    with pytest.raises(SourceError, match="nowhere"):
        build(bad, store, bench)
    assert store.find_layer(good.key) is not None
    assert store.find_layer(bad.steps[1].key) is None
    assert list((store.root / "tmp").glob("*/*")) == []


def test_code_has_its_bytecode_and_schema(store: Store, bench: Bench) -> None:
    (bench.folder / "run.py").write_bytes(b"x = 1")
    files = (
        TreeFile("src/run.py", "run.py", 5, 0o644, Digest.of(b"x = 1")),
        TreeFile("src/l", "l", 0, 0, link="run.py"),
    )
    steps = plan(Step("code", CodeRecipe(files, ("src",), '{"a":1}', "3.13")))
    build(steps, store, bench)
    layer = store.find_layer(steps.steps[0].key)
    assert layer is not None
    with tarfile.open(store.blob_path(layer.descriptor.digest)) as tar:
        names = {member.name: member for member in tar}
        assert tar.extractfile(".cog/openapi_schema.json").read() == b'{"a":1}'  # type: ignore[union-attr]
    assert list(names) == [
        ".cog",
        ".cog/openapi_schema.json",
        "src",
        "src/run.py",
        "src/l",
        "src/__pycache__",
        "src/__pycache__/run.cpython-313.pyc",
    ]
    assert names["src/l"].linkname == "run.py"


def test_a_file_that_changed_since_the_scan_is_an_error(store: Store, bench: Bench) -> None:
    (bench.folder / "run.py").write_bytes(b"x = 2")
    files = (TreeFile("src/run.py", "run.py", 5, 0o644, Digest.of(b"x = 1")),)
    steps = plan(Step("code", CodeRecipe(files, ("src",), "{}", "3.13")))
    with pytest.raises(SourceError, match="digest"):
        build(steps, store, bench)
    assert store.find_layer(steps.steps[0].key) is None


def test_layers_are_equal_whatever_the_threads(bench: Bench, tmp_path: Path) -> None:
    def write(executor: ThreadPoolExecutor | None) -> tuple[Layer, bytes]:
        chunks: list[bytes] = []

        class Sink:
            def write(self, data: bytes, /) -> None:
                chunks.append(data)

        tar = TarWriter(Sink(), executor=executor)
        for number in range(40):
            tar.file(f"f{number:02}", bytes([number]) * 900_000)
        return tar.finish(), b"".join(chunks)

    alone, data = write(None)
    assert write(bench.compressors) == (alone, data)
    assert alone.descriptor == Descriptor(alone.descriptor.media_type, Digest.of(data), len(data))
