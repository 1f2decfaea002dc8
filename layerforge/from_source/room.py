"""Where packages are built: the image's base, interpreter and system packages, and what the backend needs.

These are layers, made or found like any others, stacked by the built-in sandbox under a folder with the source. There
is no network unless cog.yaml says so. Whatever the machine is like, the same paths, times and variables are seen.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from layerforge.base_image import BaseImage
from layerforge.build import build_layers
from layerforge.engines.image import read_image
from layerforge.engines.protocol import LOOPBACK
from layerforge.engines.sandbox import enter_layers, make_order, unpack_image
from layerforge.errors import EngineError, ResolveError
from layerforge.image import assemble_image
from layerforge.layers.headers import EPOCH
from layerforge.lock import Lock, LockedWheel, PlatformLock, Wanted
from layerforge.oci import CONFIG, MANIFEST, ContainerConfig, Descriptor
from layerforge.plan import parse_platform, plan_foundation, plan_packages
from layerforge.progress import Reporter
from layerforge.sources.base.fetch import load_base
from layerforge.store import Store
from layerforge.workbench import LocalWorkbench

OUT = "/layerforge/out"
"""The folder inside where what is built goes."""

_PATIENCE = 6 * 3600.0
"""Seconds that a build may take."""

_VARIABLES = {
    "SOURCE_DATE_EPOCH": str(EPOCH),
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONNOUSERSITE": "1",
    "PIP_NO_INDEX": "1",
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC",
    "ZERO_AR_DATE": "1",
}


class Room(msgspec.Struct, frozen=True):
    """The surroundings of one platform's image: ``section`` without Python packages. ``project`` is the model's folder.

    With ``network``, what is built may reach whatever this machine reaches.
    """

    store: Store
    section: PlatformLock
    project: Path
    reporter: Reporter
    network: bool = False

    def run(
        self,
        wheels: tuple[LockedWheel, ...],
        tree: Path,
        command: tuple[str, ...],
        out: Path,
    ) -> tuple[int, str]:
        """Run ``command`` where ``wheels`` are installed and the files of ``tree`` lie upon the root.

        What it writes into :data:`OUT` is in the folder ``out`` afterwards. Returns its exit status and the end of what
        it said.

        Raises:
            ResolveError: nothing can be entered on this machine, or it took too long.
        """
        image = read_image(self.store, self._assemble(wheels))
        layers = [*unpack_image(self.store, image, self.reporter), tree]
        order = make_order(image, _VARIABLES, LOOPBACK, 0, command)
        order |= {"network": self.network, "shared": {OUT: str(out)}, "user": "", "cwd": "/"}
        try:
            with enter_layers(self.store, layers, order, self.reporter) as container:
                status = container.wait(_PATIENCE)
                log = container.logs()
        except EngineError as error:
            message = f"packages are built in the image's surroundings, and these cannot be entered: {error.message}"
            raise ResolveError(message, where=error.where, hint=error.hint) from error
        if status is None:
            raise ResolveError(f"building took more than {_PATIENCE / 3600:.0f} hours")
        return status, log

    def _assemble(self, wheels: tuple[LockedWheel, ...]) -> Descriptor:
        section = msgspec.structs.replace(self.section, packages=wheels, runtime=())
        platform = parse_platform(section.platform)
        base: BaseImage | None = None
        if section.image is not None:
            base = load_base(section.image, platform, self.store, self.reporter)
        steps = [*plan_foundation(section, platform, ()), *plan_packages(wheels, section.python.minor, False)]
        lock = Lock(Wanted(section.python.version), (section,))

        def open_bench() -> LocalWorkbench:
            return LocalWorkbench(self.store, lock, section, self.project, self.reporter, base)

        named, _ = build_layers(steps, self.store, open_bench, self.reporter)
        container = ContainerConfig(env=base.container.env if base is not None else ())
        image = assemble_image(named, container, platform, EPOCH, {}, base)
        self.store.put_bytes(image.config_bytes, CONFIG)
        self.store.put_bytes(image.manifest_bytes, MANIFEST)
        return image.manifest
