"""Measures packages becoming pushed layers against Docker: ``python -m benchmarks.packages``.

Docker: ``docker build`` running pip on a folder of local wheels, then ``docker push``. Layerforge: ``layerforge build
--push`` of a model that requires the same versions, its base known to the store and the registry as Docker's is; with
and without bytecode. Then: the same packages in a second model, one small package added to a lock of forty, and
how long the image takes to import what it holds. Downloads are warm for all. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from packaging.utils import parse_wheel_filename

from benchmarks.environment import Engine, Measurement, interruptible, make_scratch, start_engine, start_registry
from benchmarks.inputs import PYTHON, ROOT, Project, default_cache, download_wheels, prepare_base
from benchmarks.sides import BASE, LayerforgeSide, copy_downloads, import_base, warm_layerforge

PACKAGES = ("numpy", "scipy", "pandas", "scikit-learn")
IMPORTS = "import scipy.stats, sklearn.linear_model, pandas"
FORTY = """
requests urllib3 idna certifi charset-normalizer click rich pygments markdown-it-py mdurl jinja2 markupsafe packaging
filelock fsspec pyyaml tqdm typing-extensions attrs six python-dateutil pytz platformdirs httpx httpcore h11 anyio
sympy mpmath networkx joblib threadpoolctl regex psutil tomli wcwidth more-itertools tabulate colorama toml
"""
ADDED = "humanize"

DOCKERFILE = f"""\
FROM {BASE}
RUN --mount=type=bind,source=wheels,target=/wheels \\
    python -m pip install --no-cache-dir --no-index --find-links /wheels {" ".join(PACKAGES)}
"""


def require(project: Project, requirements: list[str]) -> None:
    """Write the requirements of ``project``."""
    (project.folder / "requirements.txt").write_text("".join(f"{line}\n" for line in requirements))


def write_model(folder: Path, requirements: list[str]) -> Project:
    """A model in ``folder`` that requires these."""
    shutil.copytree(ROOT / "fixtures/hello", folder, ignore=shutil.ignore_patterns("pylock.*", "__pycache__"))
    (folder / "cog.yaml").write_text(
        f'build:\n  python_version: "{PYTHON}"\n  python_requirements: requirements.txt\nrun: "run.py:Runner"\n'
    )
    model = Project(folder)
    require(model, requirements)
    return model


class Comparison:
    """All rounds, in ``scratch``."""

    def __init__(self, scratch: Path, cache: Path) -> None:
        self.scratch = scratch
        self.base = prepare_base(cache)
        self.wheels = download_wheels(cache / "wheels-packages", [*PACKAGES])
        versions = [parse_wheel_filename(path.name)[:2] for path in sorted(self.wheels.iterdir())]
        self.pins = [f"{name}=={version}" for name, version in versions]
        self.log = scratch / "layerforge.log"
        self.warm = scratch / "warm"
        self.hello = write_model(scratch / "hello", [])
        self.model = write_model(scratch / "model", self.pins)
        self.many = write_model(scratch / "many", FORTY.split())
        warm_layerforge(self.warm, [self.hello.folder, self.model.folder, self.many.folder], self.log)
        self.times: dict[str, list[Measurement]] = {}

    def run(self, engine: Engine, number: int) -> None:
        """One round."""
        folder = self.scratch / f"round{number}"
        with ExitStack() as stack:
            folder.mkdir()
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            registry = stack.enter_context(start_registry(folder / "registry-docker"))
            context = folder / "context"
            shutil.copytree(self.wheels, context / "wheels")
            (context / "Dockerfile").write_text(DOCKERFILE)
            import_base(engine, registry, self.base)
            image = f"{registry.address}/packages:latest"
            build = ["build", "--network", "none", "--tag", image, str(context)]
            self._note("docker build, docker push", lambda: engine.measure(build, ["push", image]))
            variants: dict[str, tuple[str, ...]] = {"bytecode": (), "no bytecode": ("--no-bytecode",)}
            for name, options in variants.items():
                registry = stack.enter_context(start_registry(folder / f"registry-{name[:2]}"))
                home = folder / f"home-{name[:2]}"
                copy_downloads(self.warm, home)
                side = LayerforgeSide(registry, home, self.model, self.log, options)
                side.build(self.hello.folder, f"{registry.address}/hello:latest")
                self._note(f"layerforge, {name}", lambda: side.build(self.model.folder, side.image))  # noqa: B023
                again = self.scratch / "again"
                shutil.copytree(self.model.folder, again)
                self._note(
                    f"layerforge, {name}, packages seen before",
                    lambda: side.build(again, f"{registry.address}/again:latest"),  # noqa: B023
                )
                shutil.rmtree(again)
                self._measure_start(engine, side.image, name)
            self._measure_addition(side)

    def _measure_addition(self, side: LayerforgeSide) -> None:
        require(self.many, FORTY.split())
        image = f"{side.registry.address}/many:latest"
        full = LayerforgeSide(side.registry, side.home, self.many, self.log)
        full.build(self.many.folder, image)
        require(self.many, [*FORTY.split(), ADDED])
        command = [str(Path(sys.executable).parent / "layerforge"), "lock", str(self.many.folder)]
        subprocess.run(command, check=True, capture_output=True, env=full.env)
        self._note("layerforge, one small package added to forty", lambda: full.build(self.many.folder, image))

    def _measure_start(self, engine: Engine, image: str, name: str) -> None:
        engine.call("pull", image)
        engine.call("run", "--rm", image, "python", "-c", IMPORTS)  # the files are in the page cache then
        command = ["run", "--rm", "--network", "none", image, "python", "-c"]
        for _ in range(3):
            self._note(f"start-up without imports, {name}", lambda: engine.measure([*command, "pass"]))
            self._note(f"start-up with imports, {name}", lambda: engine.measure([*command, IMPORTS]))
        engine.call("image", "rm", "--force", image)

    def _note(self, what: str, take: Callable[[], Measurement]) -> None:
        measurement = take()
        self.times.setdefault(what, []).append(measurement)
        used = (
            f", {measurement.processor:.2f} s of processors, {measurement.peak_memory >> 20} MiB"
            if what.startswith("layerforge")
            else ""
        )
        print(f"  {what}: {measurement.seconds:.2f} s{used}", flush=True)

    def report(self) -> None:
        """Medians, and the ratios to Docker."""
        medians = {what: statistics.median(each.seconds for each in found) for what, found in self.times.items()}
        docker = medians["docker build, docker push"]
        for what, seconds in medians.items():
            ratio = f" ({docker / seconds:.1f} times as fast as docker)" if what.startswith("layerforge, ") else ""
            print(f"{what}: {seconds:.2f} s{ratio}")
        print("goals: 3 times with bytecode, 8 times without; one package added to forty: 1 s")


def main() -> None:
    """Parse the options and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--scratch", type=Path, help="where temporary files go: about 5 GB")
    parser.add_argument("--cache", type=Path, default=default_cache(), help="where wheels and Docker's base are kept")
    options = parser.parse_args()
    with interruptible(), make_scratch(options.scratch) as scratch, start_engine(scratch / "engine") as engine:
        comparison = Comparison(scratch, options.cache)
        for number in range(1, options.rounds + 1):
            comparison.run(engine, number)
        comparison.report()


if __name__ == "__main__":
    main()
