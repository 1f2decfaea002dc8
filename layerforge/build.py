"""Runs a Plan: what the store has is taken from there, the rest is made, downloads and layers at the same time.

The graph has a node for each missing layer and for each download that one of them needs. A layer starts when its
downloads are there, and the facts that other layers leave behind for it. Downloads wait for the network and layers for
the processor, so each has a thread pool.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager
from graphlib import TopologicalSorter

import msgspec

from layerforge.image import Image, NamedLayer, assemble_image
from layerforge.layers.kinds import locate_layer, records_demands, write_layer
from layerforge.layers.remarks import read_remarks
from layerforge.layers.step import Step, Workbench
from layerforge.layers.tar import Layer, TarWriter
from layerforge.memory import bound_heap
from layerforge.oci import CONFIG, MANIFEST, Digest
from layerforge.plan import Plan
from layerforge.progress import Reporter, format_size
from layerforge.store import BlobWriter, Store

_DOWNLOADS = 8
_MAKERS = 4
"""Layers made at once, at most: each has its own buffers, and compressing and compiling use all processors anyway."""


class _Facts(msgspec.Struct, frozen=True):
    """The node of what making ``step`` leaves behind for others, which is often there before its layer is."""

    step: Step


class Cancelled(BaseException):
    """Raised inside a worker when the build has already failed or was interrupted elsewhere."""


class BuiltImage(msgspec.Struct, frozen=True):
    """What a build gave: the Image, and the names of the steps whose layers had to be made."""

    image: Image
    made: tuple[str, ...]


def build_image(
    plan: Plan,
    store: Store,
    open_bench: Callable[[], AbstractContextManager[Workbench]],
    created: int,
    reporter: Reporter,
    find_elsewhere: Callable[[Digest], Layer | None] = lambda _: None,
) -> BuiltImage:
    """Make what is missing, assemble, and put manifest and config into the store (no tag).

    ``open_bench`` is called only when something is missing; ``created`` is the time stamp, in seconds since 1970;
    ``find_elsewhere`` as for :func:`build_layers`.

    Raises:
        LayerforgeError: whatever the first failing step raised; everything finished before stays in the store.
    """
    named, missing = build_layers(plan.steps, store, open_bench, reporter, find_elsewhere)
    image = assemble_image(named, plan.container, plan.platform, created, plan.annotations, plan.base)
    store.put_bytes(image.config_bytes, CONFIG)
    store.put_bytes(image.manifest_bytes, MANIFEST)
    return BuiltImage(image, missing)


def build_layers(
    steps: Sequence[Step],
    store: Store,
    open_bench: Callable[[], AbstractContextManager[Workbench]],
    reporter: Reporter,
    find_elsewhere: Callable[[Digest], Layer | None] = lambda _: None,
) -> tuple[tuple[NamedLayer, ...], tuple[str, ...]]:
    """The layers of ``steps``, and the names of those that had to be made.

    ``find_elsewhere`` finds a layer by its key that need not be made though the store lacks it.

    Raises:
        LayerforgeError: as :func:`build_image`.
    """
    keys = {step.name: step.key for step in steps}
    layers = {name: found for name, key in keys.items() if (found := store.find_layer(key))}
    remote = {name: found for name, key in keys.items() if name not in layers and (found := find_elsewhere(key))}
    for name, layer in layers.items():
        _tell(name, layer, "cached", reporter)
    for name, layer in remote.items():
        _tell(name, layer, "in registry", reporter)
    layers |= remote
    missing = [step for step in steps if step.name not in layers]
    if missing:
        bound_heap()
        with open_bench() as bench:
            layers.update(_make_layers(missing, store, bench, reporter))
    named = tuple(NamedLayer(step.name, keys[step.name], layers[step.name]) for step in steps)
    return named, tuple(step.name for step in missing)


def _make_layers(steps: list[Step], store: Store, bench: Workbench, reporter: Reporter) -> dict[str, Layer]:
    graph: TopologicalSorter[Step | Digest | _Facts] = TopologicalSorter()
    named = {step.name: step for step in steps}
    facts: dict[Step, Future[object]] = {step: Future() for step in steps}
    for step in steps:
        graph.add(step, *step.recipe.materials(), *(_Facts(named[name]) for name in step.after if name in named))
    graph.prepare()
    made: dict[str, Layer] = {}
    stop = threading.Event()

    def make(step: Step) -> None:
        made[step.name] = _make_layer(step, store, bench, reporter, stop, functools.partial(_complete, facts[step]))
        _complete(facts[step])

    with _pool(min(os.cpu_count() or 1, _MAKERS)) as makers, _pool(_DOWNLOADS) as fetchers:
        running: dict[Future[object], Step | Digest | _Facts] = {}
        try:
            while graph.is_active():
                for node in graph.get_ready():
                    if isinstance(node, Step):
                        running[makers.submit(make, node)] = node
                    elif isinstance(node, _Facts):
                        running[facts[node.step]] = node
                    else:
                        running[fetchers.submit(bench.material, node)] = node
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
                    graph.done(running.pop(future))
        except BaseException:
            stop.set()
            raise
    return made


def _complete(future: Future[object]) -> None:
    if not future.done():
        future.set_result(None)


@contextmanager
def _pool(size: int) -> Iterator[ThreadPoolExecutor]:
    """A thread pool that drops what has not begun when its block fails."""
    pool = ThreadPoolExecutor(size)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=True, cancel_futures=True)
        raise
    pool.shutdown()


def _make_layer(
    step: Step,
    store: Store,
    bench: Workbench,
    reporter: Reporter,
    stop: threading.Event,
    on_read: Callable[[], None],
) -> Layer:
    key = step.key
    with store.key_lock(key):
        layer = store.find_layer(key)  # another build may have made it while this one waited
        if layer is not None:
            _tell(step.name, layer, "cached", reporter)
            return layer
        reporter.start(step.name, step.size or None)
        located = locate_layer(step.recipe, bench)
        if located is not None:
            layer, segments = located
            store.put_segments(layer.descriptor.digest, segments)
        else:
            layer = _write_layer(step, store, bench, stop, reporter, on_read)
        store.remember_layer(key, layer)
    _tell(step.name, layer, format_size(layer.descriptor.size), reporter)
    return layer


def _tell(name: str, layer: Layer, outcome: str, reporter: Reporter) -> None:
    """Say what became of a step, and what there is to know about its layer, made now or before."""
    for remark in read_remarks(layer.descriptor.annotations):
        reporter.warn(remark.text, remark.hint)
    reporter.finish(name, outcome)


def _write_layer(
    step: Step,
    store: Store,
    bench: Workbench,
    stop: threading.Event,
    reporter: Reporter,
    on_read: Callable[[], None],
) -> Layer:
    # What a build that finds everything done has no time to import.
    from layerforge.abi.demands import ANNOTATION, encode_demands, summarize_demands
    from layerforge.abi.survey import Surveyor

    surveyor = Surveyor(store.scratch) if records_demands(step.recipe) else None
    with store.write_blob() as blob:
        output = _Watched(blob, stop.is_set, lambda size: reporter.advance(step.name, size))
        tar = TarWriter(
            output,
            compression=step.compression,
            mtime=step.mtime,
            executor=bench.compressors,
            observer=surveyor,
        )
        write_layer(step.recipe, tar, bench, on_read)
        seen = surveyor.seen if surveyor is not None else None
        layer = tar.finish({ANNOTATION: encode_demands(summarize_demands(seen))} if seen is not None else None)
        blob.commit(layer.descriptor.digest)
    return layer


class _Watched:
    """Passes bytes on, tells of them, and stops when the build is to stop.

    What goes out is about as much as came in (compressed packages and wheels), so it serves as progress.
    """

    def __init__(self, blob: BlobWriter, stopped: Callable[[], bool], tell: Callable[[int], None]) -> None:
        self._blob = blob
        self._stopped = stopped
        self._tell = tell

    def write(self, data: bytes, /) -> None:
        if self._stopped():
            raise Cancelled
        self._blob.write(data)
        self._tell(len(data))
