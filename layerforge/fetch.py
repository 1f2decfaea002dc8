"""Everything that a lock names, in the store: afterwards a build needs no network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path

from layerforge.blobs import require_blobs
from layerforge.errors import SourceError
from layerforge.layers.step import Step
from layerforge.lock import Lock, LockedDeb, LockedFile, LockedWheel, PlatformLock
from layerforge.network import FETCH
from layerforge.oci import Descriptor, Digest
from layerforge.plan import parse_platform
from layerforge.platforms import host_platform
from layerforge.progress import Reporter
from layerforge.sources.base.fetch import load_base
from layerforge.store import Store
from layerforge.workbench import LocalWorkbench

_JOBS = 8
_SHOWN = 5

Item = LockedDeb | LockedFile | LockedWheel


def fetch_lock(lock: Lock, folder: Path, store: Store, reporter: Reporter) -> None:
    """Bring everything that ``lock`` names into ``store``, eight files at a time; ``folder`` is the model's.

    What is there already is not fetched; what was cut off is continued.

    Raises:
        SourceError: a mirror or an index does not give a file.
        VerificationError: it gave another one.
        RegistryError: a registry does not give a base image.
        StoreError: the disk is full.
    """
    blobs: dict[Digest, Descriptor] = {}
    with ExitStack() as stack:
        pool = ThreadPoolExecutor(_JOBS, thread_name_prefix="fetch")
        stack.callback(pool.shutdown, cancel_futures=True)
        futures = []
        seen: set[Digest] = set()
        for section in lock.platforms:
            image = None
            if section.image is not None:
                image = load_base(section.image, parse_platform(section.platform), store, reporter)
                blobs |= {layer.descriptor.digest: layer.descriptor for layer in image.layers}
            bench = stack.enter_context(LocalWorkbench(store, lock, section, folder, reporter, image))
            for item in sorted(list_items(section), key=lambda item: item.size, reverse=True):
                if item.digest not in seen:
                    seen.add(item.digest)
                    futures.append(pool.submit(bench.material, item.digest))
        done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        for future in done:
            future.result()
    require_blobs(store, blobs.values(), reporter)
    _warn_of_foreign_platforms(lock, reporter)


def list_items(section: PlatformLock) -> tuple[Item, ...]:
    """The files that one platform's image is made of, wherever they come from."""
    archive = (section.python.archive,) if section.python.archive else ()
    return (*section.debs, *archive, *section.packages, *section.runtime)


def require_fetched(steps: Iterable[Step], section: PlatformLock, store: Store) -> None:
    """See that ``store`` has what the missing ones of ``steps`` are made of.

    Raises:
        SourceError: it does not; names what is missing.
    """
    items = (item for item in list_items(section) if not is_in_project(item))
    names = {item.digest: name_item(item) for item in items}
    lacking: dict[Digest, str] = {}
    for step in steps:
        if store.find_layer(step.key) is None:
            for digest in step.recipe.materials():
                if digest in names and not store.material_path(digest).exists():
                    lacking[digest] = names[digest]
    if lacking:
        raise SourceError(_describe_lacking(sorted(lacking.values())), where=section.platform, hint=FETCH)


def is_in_project(item: Item) -> bool:
    """Whether it is a file of the model's folder."""
    return isinstance(item, LockedWheel) and bool(item.path)


def name_item(item: Item) -> str:
    """The name of a file of the lock, for people."""
    return item.path.rpartition("/")[2] if isinstance(item, LockedDeb) else item.filename


def _describe_lacking(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"--offline, and the store lacks {', '.join(names[:_SHOWN])}{more}"


def _warn_of_foreign_platforms(lock: Lock, reporter: Reporter) -> None:
    """Bytecode is compiled on the building machine, by the Python of its own platform."""
    here = str(host_platform())
    if any(section.platform == here for section in lock.platforms):
        return
    names = ", ".join(section.platform for section in lock.platforms)
    hint = f"layerforge lock --platform {here},{names.replace(' ', '')}"
    reporter.warn(f"the lock is for {names}: building it offline on {here} takes that platform's Python, too", hint)
