"""Our root of a package set: the lower layers of the plan that a build would follow."""

from __future__ import annotations

from pathlib import Path

from layerforge.config import Config
from layerforge.layers.kinds import write_layer
from layerforge.layers.tar import TarWriter
from layerforge.lock import Lock, PlatformLock, Wanted
from layerforge.plan import plan_image
from layerforge.platforms import host_platform
from layerforge.progress import SILENCE
from layerforge.project import Project
from layerforge.sources.debian import open_index
from layerforge.sources.debian.locking import choose_packages
from layerforge.sources.debian.resolve import Index
from layerforge.store import Store
from layerforge.workbench import LocalWorkbench
from tests.fidelity.package_sets import MINORS, names_of

_KINDS = ("debian", "python", "root")


class Chooser:
    """Locks packages from the releases' indexes, each opened once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._indexes: dict[str, Index] = {}

    def choose(self, release: str, name: str) -> PlatformLock:
        """The packages of the set ``name`` in ``release``."""
        platform = host_platform()
        if release not in self._indexes:
            self._indexes[release] = open_index(release, platform.architecture, self._store)
        found = choose_packages(self._indexes[release], MINORS[release], release, names_of(release, name))
        return PlatformLock(
            platform=str(platform),
            release=release,
            python=found.python,
            base=found.base,
            interpreter=found.interpreter,
            system=found.system,
            packages=(),
            runtime=(),
        )


def open_workbench(section: PlatformLock, store: Store) -> LocalWorkbench:
    """The Workbench of a build with these packages."""
    return LocalWorkbench(store, Lock(Wanted(section.python.minor), (section,)), section, Path(), SILENCE)


def assemble(section: PlatformLock, bench: LocalWorkbench, folder: Path) -> list[Path]:
    """Write the layers of the root into ``folder``, lowest first."""
    plan = plan_image(Config("cog.yaml"), section, Project((), (), ()), (), {})
    paths = []
    for step in plan.steps:
        if type(step.recipe).__struct_config__.tag in _KINDS:
            path = folder / f"{len(paths)}.tar.gz"
            with path.open("wb") as file:
                tar = TarWriter(file, executor=bench.compressors)
                write_layer(step.recipe, tar, bench)
                tar.finish()
            paths.append(path)
    return paths
