"""The two sides: how each of them builds the model and pushes the image."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from benchmarks.environment import BenchmarkError, Engine, Measurement, Registry, measure
from benchmarks.inputs import LARGE_WEIGHTS, ROOT, Project

BASE = "layerforge-benchmark/base:latest"
LAYERFORGE = Path(sys.executable).parent / "layerforge"


class Side(Protocol):
    """One of the two."""

    registry: Registry
    project: Project

    def build_and_push(self) -> Measurement:
        """Build the image from the project as it is now, and push it."""
        ...

    @property
    def image(self) -> str:
        """The reference that it pushes to."""
        ...


def measure_side(side: Side) -> Measurement:
    """One build and push, with the bytes that the registry grew by."""
    before = side.registry.stored_bytes()
    return replace(side.build_and_push(), pushed=side.registry.stored_bytes() - before)


# As a careful person writes it: what changes least comes first, a layer for each large file, wheels mounted rather than
# copied, no cache of pip in the image. What Layerforge's images hold beside the model is installed here, too.
DOCKERFILE = f"""\
FROM {BASE}
ENV PYTHONUNBUFFERED=1
WORKDIR /src
RUN --mount=type=bind,source=wheels,target=/wheels \\
    --mount=type=bind,source=runtime/requirements.txt,target=/requirements.txt \\
    python -m pip install --no-cache-dir --no-index --find-links /wheels \\
    --target /opt/layerforge/lib -r /requirements.txt
COPY runtime /opt/layerforge/sdk
RUN --mount=type=bind,source=wheels,target=/wheels \\
    --mount=type=bind,source=project/requirements.txt,target=/requirements.txt \\
    python -m pip install --no-cache-dir --no-index --find-links /wheels -r /requirements.txt
COPY project/weights/layer*.safetensors /src/weights/
{"".join(f"COPY project/{name} /src/weights/{chr(10)}" for name in LARGE_WEIGHTS)}\
COPY project/*.py project/cog.yaml project/requirements.txt /src/
EXPOSE 5000
CMD ["python", "-m", "cog.server.http"]
"""


@dataclass
class DockerSide:
    """``docker build`` with BuildKit, then ``docker push``. In ``context``: the Dockerfile, the wheels, the project."""

    engine: Engine
    registry: Registry
    context: Path
    project: Project

    @property
    def image(self) -> str:
        return f"{self.registry.address}/model:latest"

    def build_and_push(self) -> Measurement:
        build = ["build", "--network", "none", "--tag", self.image, str(self.context)]
        return self.engine.measure(build, ["push", self.image])


def import_base(engine: Engine, registry: Registry, base: Path) -> None:
    """Forget what was built, and bring the base into the engine and, under another name, into the registry."""
    engine.call("builder", "prune", "--all", "--force")
    engine.call("image", "prune", "--all", "--force")
    environment = "PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
    engine.call("import", "--change", f"ENV {environment} LANG=C.UTF-8", base, BASE)
    pushed_base = f"{registry.address}/base:latest"
    engine.call("tag", BASE, pushed_base)
    engine.call("push", pushed_base)


def prepare_docker(
    engine: Engine, registry: Registry, context: Path, project: Project, *, wheels: Path, base: Path
) -> DockerSide:
    """A Docker side that has built nothing yet; its base is in the engine and, under another name, in the registry."""
    import_base(engine, registry, base)
    shutil.copytree(wheels, context / "wheels")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "runtime", context / "runtime", ignore=ignored)
    (context / "Dockerfile").write_text(DOCKERFILE)
    return DockerSide(engine, registry, context, project)


@dataclass
class LayerforgeSide:
    """``layerforge build --push`` as its users call it, with a store of its own."""

    registry: Registry
    home: Path
    project: Project
    log: Path
    options: tuple[str, ...] = ()

    @property
    def image(self) -> str:
        return f"{self.registry.address}/model:latest"

    @property
    def env(self) -> dict[str, str]:
        """What the command line is called with."""
        return _layerforge_env(self.home)

    def build_and_push(self) -> Measurement:
        return self.build(self.project.folder, self.image)

    def build(self, folder: Path, image: str) -> Measurement:
        """Build the model in ``folder`` and push it as ``image``."""
        command = [str(LAYERFORGE), "build", str(folder), "--push", "-t", image, *self.options]
        return measure(command, self.env, self.log)


def _layerforge_env(home: Path) -> dict[str, str]:
    taken = ("LAYERFORGE_", "COG_", "DOCKER_")
    env = {key: value for key, value in os.environ.items() if not key.startswith(taken)}
    return env | {"LAYERFORGE_HOME": str(home), "DOCKER_CONFIG": str(home.parent / "no-docker-config")}


def warm_layerforge(home: Path, projects: list[Path], log: Path) -> None:
    """Lock ``projects`` and download all they need into the store ``home``."""
    if not LAYERFORGE.exists():
        raise BenchmarkError(f"{LAYERFORGE} is not there: make the virtual environment first, and run its Python")
    for project in projects:
        measure([str(LAYERFORGE), "build", str(project), "-t", "warm"], _layerforge_env(home), log)


def copy_downloads(warm: Path, home: Path) -> None:
    """A store with the downloads of ``warm`` and nothing made of them: no layer, no derived fact, no file state."""
    home.mkdir()
    if (warm / "materials").exists():
        shutil.copytree(warm / "materials", home / "materials", copy_function=os.link)


_CHECK = """
import hashlib, pathlib, sys
import numpy, network, PIL
for path in sorted([*pathlib.Path("/src").glob("*.py"), *pathlib.Path("/src/weights").iterdir()]):
    print(path.name, hashlib.sha256(path.read_bytes()).hexdigest())
assert abs(network.Network().classify(numpy.zeros((1, 64))).sum() - 1) < 1e-5
print("python", sys.version.split()[0], "numpy", numpy.__version__, "pillow", PIL.__version__)
"""


def check_image(engine: Engine, image: str, project: Project) -> str:
    """Start a container of ``image`` that uses the model, and return the versions that it reports.

    Raises:
        BenchmarkError: a file of the model is not as in ``project``, or the model does not work.
    """
    engine.call("pull", image)
    printed = engine.call("run", "--rm", "--network", "none", "--workdir", "/src", image, "python", "-c", _CHECK)
    engine.call("image", "rm", "--force", image)
    *files, versions = printed.splitlines()
    paths = sorted([*project.folder.glob("*.py"), *(project.folder / "weights").iterdir()])
    expected = [f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in paths]
    if files != expected:
        raise BenchmarkError(f"{image} does not hold the model as it is: found {files}, expected {expected}")
    return versions


def find_versions(engine: Engine) -> dict[str, str]:
    """The versions of the programs that are measured."""
    registry = subprocess.run(["docker-registry", "--version"], capture_output=True, text=True).stdout
    layerforge = subprocess.run([str(LAYERFORGE), "--version"], capture_output=True, text=True).stdout
    return {
        "docker": engine.call("version", "--format", "client {{.Client.Version}}, engine {{.Server.Version}}"),
        "docker-registry": registry.strip().rpartition(" ")[2],
        "layerforge": layerforge.strip().rpartition(" ")[2] or "unknown",
    }
