"""A model that needs all the packages: built, taken apart, and entered to import each of them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import msgspec

from layerforge.engines.sandbox import Sandbox
from layerforge.forge import Options, build_model, load_config
from layerforge.lock import PlatformLock
from layerforge.locking import load_lock
from layerforge.oci import Descriptor, Manifest, decode
from layerforge.progress import SILENCE, Reporter
from layerforge.store import Store
from tests.corpus.package_list import SYSTEM_PACKAGES
from tests.corpus.review import Review, review_trees
from tests.corpus.trees import install_with_uv, read_package_layers

_RUNNER = "from cog import BaseRunner\n\n\nclass Runner(BaseRunner):\n    def run(self) -> str:\n        return ''\n"

_PROBE = """import json, subprocess, sys, time
for name, module in json.loads(sys.argv[1]).items():
    begun = time.monotonic()
    script = f"import sys, {module}; sys.stdout.write({module.partition('.')[0]}.__file__ or 'a namespace')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    outcome = done.stdout.splitlines()[-1] if not done.returncode and done.stdout else done.stderr[-1500:]
    print(json.dumps([name, done.returncode, outcome, round(time.monotonic() - begun, 2)]), flush=True)
"""


class BuiltCorpus(msgspec.Struct):
    """The model of the corpus after a build."""

    store: Store
    manifest: Descriptor
    lock: PlatformLock

    @property
    def image(self) -> Manifest:
        """Its manifest."""
        return decode(self.store.read_blob(self.manifest), Manifest)


def build_corpus(
    minor: str, packages: Mapping[str, str], folder: Path, store: Store, reporter: Reporter
) -> BuiltCorpus:
    """Lock and build a model for Python ``minor`` with ``packages`` in ``folder``, which may have a lock already."""
    folder.mkdir(parents=True, exist_ok=True)
    system = ", ".join(SYSTEM_PACKAGES)
    yaml = f'build:\n  python_version: "{minor}"\n  python_requirements: requirements.txt\n'
    (folder / "cog.yaml").write_text(f"{yaml}  system_packages: [{system}]\nrun: run.py:Runner\n")
    (folder / "requirements.txt").write_text("".join(f"{name}\n" for name in packages))
    (folder / "run.py").write_text(_RUNNER)
    (folder / "probe.py").write_text(_PROBE)
    config = load_config(folder, "cog.yaml", reporter)
    built = build_model(folder, config, store, reporter, Options())
    lock = load_lock(folder, store)
    assert lock is not None
    return BuiltCorpus(store, built.manifest, lock.platforms[0])


def review_corpus(corpus: BuiltCorpus, folder: Path) -> Review:
    """Compare the tree of the package layers with the one that uv makes of the same wheels below ``folder``."""
    wheels = []
    (folder / "wheels").mkdir(parents=True)
    for wheel in corpus.lock.packages:
        path = folder / "wheels" / wheel.filename
        material = corpus.store.material_path(wheel.digest)
        try:
            os.link(material, path)
        except OSError:  # another file system
            shutil.copyfile(material, path)
        wheels.append(path)
    ours = read_package_layers(corpus.store, corpus.image)
    return review_trees(ours, install_with_uv(wheels, corpus.lock.python.minor, folder))


def import_corpus(corpus: BuiltCorpus, packages: Mapping[str, str]) -> dict[str, tuple[int, str, float]]:
    """Import each package in the built image, in a process of its own: exit status, file or error, and seconds."""
    command = ["python", "/src/probe.py", json.dumps(dict(packages))]
    found: list[str] = []
    with Sandbox().start(
        corpus.store, corpus.manifest, environment={"HOME": "/tmp"}, command=command, reporter=SILENCE
    ) as container:
        container.follow(found.append)
        status = container.wait(900)
    assert status == 0, "".join(found)[-2000:]
    results = (json.loads(line) for line in "".join(found).splitlines() if line.startswith("["))
    return {name: (code, outcome, seconds) for name, code, outcome, seconds in results}
