"""Measures building and pushing a model with Layerforge against ``docker build`` and ``docker push``.

See benchmarks/README.md for what is compared and how the figures are taken.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path

from benchmarks.environment import (
    BenchmarkError,
    Engine,
    Measurement,
    describe_machine,
    interruptible,
    make_scratch,
    start_engine,
    start_registry,
)
from benchmarks.inputs import LARGE_WEIGHTS, ROOT, Project, default_cache, prepare_base, prepare_wheels, write_project
from benchmarks.sides import (
    LayerforgeSide,
    Side,
    check_image,
    copy_downloads,
    find_versions,
    measure_side,
    prepare_docker,
    warm_layerforge,
)
from benchmarks.table import Results, format_table, peak_memory, to_json

FIRST, FIRST_BASE, NOTHING = "first build", "first build, base known to both", "nothing changed"
CODE, WEIGHT = "one line of code changed", "one of four 64 MiB weight files changed"
NOTES = """\
Times are medians of wall-clock seconds: docker build and docker push together, and layerforge build --push.
What is downloaded (wheels, Debian packages) was there before, for both, and Layerforge's lock, too. Docker's base image
was made, imported and pushed to its registry before; in the first row Layerforge makes and pushes its base. Only the
second row gives both the same start: another model of the same Python has been built and pushed with Layerforge."""


def talk(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


class Benchmark:
    """One run of the benchmark, in ``scratch``, which holds everything that it makes."""

    def __init__(self, scratch: Path, options: argparse.Namespace) -> None:
        self.scratch = scratch
        self.options = options
        self.results: dict[str, dict[str, list[Measurement]]] = {
            scenario: {"docker": [], "layerforge": []} for scenario in (FIRST, FIRST_BASE, NOTHING, CODE, WEIGHT)
        }

    def run(self, engine: Engine) -> None:
        """Prepare, and take every measurement."""
        talk("preparing: base image, wheels, model")
        base, wheels = prepare_base(self.options.cache), prepare_wheels(self.options.cache)
        self.log = self.scratch / "layerforge.log"
        self.warm = self.scratch / "warm"
        if not self.options.docker_only:
            talk("preparing: locking, and downloading with layerforge")
            self.neighbour = self.scratch / "hello"
            shutil.copytree(ROOT / "fixtures/hello", self.neighbour, ignore=shutil.ignore_patterns("pylock.*"))
            model = write_project(self.scratch / "model", wheels).folder
            warm_layerforge(self.warm, [self.neighbour, model], self.log)
            self.lock = model / "pylock.layerforge.toml"
        for number in range(1, self.options.rounds + 1):
            with ExitStack() as stack:
                self._run_round(engine, number, base, wheels, stack)

    def _run_round(self, engine: Engine, number: int, base: Path, wheels: Path, stack: ExitStack) -> None:
        """All scenarios once, from nothing: new registries, a new store, no build cache."""
        folder = self.scratch / f"round{number}"
        folder.mkdir()
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        talk(f"round {number} of {self.options.rounds}")
        project = write_project(folder / "context" / "project", wheels)
        registry = stack.enter_context(start_registry(folder / "registry-docker"))
        docker = prepare_docker(engine, registry, folder / "context", project, wheels=wheels, base=base)
        sides: dict[str, Side] = {"docker": docker}
        if not self.options.docker_only:
            shutil.copy(self.lock, project.folder)
            registry = stack.enter_context(start_registry(folder / "registry-layerforge"))
            copy_downloads(self.warm, folder / "home")
            sides["layerforge"] = LayerforgeSide(registry, folder / "home", project, self.log)

        self._measure(FIRST, sides)
        for _ in range(self.options.repeats):
            self._measure(NOTHING, sides)
        for _ in range(self.options.repeats):
            project.edit_code()
            self._measure(CODE, sides)
        for name in LARGE_WEIGHTS:
            project.replace_weights(name)
            self._measure(WEIGHT, sides)
        self._compare(engine, sides, project)

        self.results[FIRST_BASE]["docker"] = self.results[FIRST]["docker"]
        if not self.options.docker_only:
            registry = stack.enter_context(start_registry(folder / "registry-base"))
            copy_downloads(self.warm, folder / "home-base")
            side = LayerforgeSide(registry, folder / "home-base", project, self.log)
            side.build(self.neighbour, f"{registry.address}/model:neighbour")
            self._measure(FIRST_BASE, {"layerforge": side})

    def _measure(self, scenario: str, sides: dict[str, Side]) -> None:
        for name, side in sides.items():
            measurement = measure_side(side)
            self.results[scenario][name].append(measurement)
            talk(f"  {scenario}: {name} {measurement.seconds:.2f} s, {measurement.pushed / 1e6:.2f} MB pushed")

    def _compare(self, engine: Engine, sides: dict[str, Side], project: Project) -> None:
        """Start both images, and make sure that they hold the model as it is now, and the same versions."""
        versions = {name: check_image(engine, side.image, project) for name, side in sides.items()}
        talk("  the images hold the model: " + "; ".join(f"{name}: {text}" for name, text in versions.items()))
        if len(set(versions.values())) != 1:
            raise BenchmarkError("the two images hold different versions")


def report(results: Results, facts: dict[str, object]) -> None:
    """Print the table, and keep every figure as JSON."""
    print(format_table(results))
    print()
    for name, value in facts.items():
        print(f"{name}: {value}")
    for side, program in (("layerforge", "layerforge"), ("docker", "dockerd and containerd")):
        if peak := peak_memory(results, side):
            print(f"peak memory of {program}: {peak / 2**20:.0f} MiB")
    print(NOTES)
    now = datetime.now(timezone.utc)
    path = Path(__file__).parent / "results" / f"{now:%Y%m%dT%H%M%SZ}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(to_json(results, facts | {"taken": now.isoformat()}), indent=1) + "\n")
    talk(f"written to {path}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("--rounds", type=int, default=2, help="how often everything is done from nothing (default 2)")
    add("--repeats", type=int, default=3, help="how often the quick scenarios are done in a round (default 3)")
    add("--scratch", type=Path, help="where temporary files go: about 5 GB (default: the system's folder for them)")
    add("--cache", type=Path, default=default_cache(), help="where Docker's base image and the wheels are kept")
    add("--docker-only", action="store_true", help="leave out Layerforge, to try the benchmark itself")
    options = parser.parse_args()
    start = time.monotonic()
    try:
        with interruptible(), make_scratch(options.scratch) as scratch, start_engine(scratch / "engine") as engine:
            benchmark = Benchmark(scratch, options)
            benchmark.run(engine)
            facts = describe_machine() | find_versions(engine)
    except BenchmarkError as error:
        talk(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        talk("interrupted; everything is stopped")
        return 130
    report(benchmark.results, facts | {"rounds": options.rounds, "repeats": options.repeats})
    talk(f"took {time.monotonic() - start:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
