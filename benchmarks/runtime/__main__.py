"""``python -m benchmarks.runtime``: both servers on the same models in one run, taking turns."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.environment import BenchmarkError, describe_machine
from benchmarks.inputs import default_cache
from benchmarks.runtime.loads import LOADS, Figures, folder_of
from benchmarks.runtime.models import write_models
from benchmarks.runtime.servers import Side, coglet, layerforge


class Row(NamedTuple):
    """A line of the table: a figure of a load, and what its ratio (ours to coglet's) is to reach."""

    load: str
    figure: str
    label: str
    unit: str
    at_most: float = 0
    at_least: float = 0


ROWS = (
    Row("one_connection", "p50", "synchronous, one connection: median", "ms", at_most=0.5),
    Row("one_connection", "refused", "of those refused with 409", "%"),
    Row("one_connection", "used", "processor time of an answer", "ms"),
    Row("many_connections", "per_second", "asynchronous, 32 connections: requests per second", "", at_least=6),
    Row("many_connections", "p99", "and the 99th percentile", "ms", at_most=1 / 3),
    Row("many_connections", "used", "processor time of an answer", "ms"),
    Row("large_files", "median", "10 MB as a data URL, in and out", "ms", at_most=1),
    Row("tokens", "first", "stream: first token", "ms", at_most=0.5),
    Row("tokens", "gap", "stream: delay of a token (model pauses 5 ms)", "ms", at_most=0.5),
    Row("tokens", "token", "stream: time of a token without pauses", "ms", at_most=0.5),
    Row("memory", "bytes", "resident memory, idle", "MB", at_most=1),
    Row("start", "seconds", "exec to READY", "ms", at_most=1),
)
_SCALES = {"ms": 1e3, "MB": 1e-6, "%": 100, "": 1}

Results = dict[str, dict[str, list[Figures]]]  # load -> side -> every round


def measure(sides: tuple[Side, ...], root: Path, rounds: int, seconds: float) -> Results:
    """Every load on every side, ``rounds`` times, the sides taking turns."""
    results: Results = {}
    for number in range(rounds):
        for model, load in LOADS:
            for side in sides if number % 2 == 0 else sides[::-1]:
                print(f"round {number + 1}: {load.__name__}, {side.name}", file=sys.stderr, flush=True)
                with side.serve(folder_of(model, root)) as server:
                    figures = load(server, seconds)
                results.setdefault(load.__name__, {}).setdefault(side.name, []).append(figures)
    return results


def format_rows(results: Results) -> str:
    """A Markdown table of medians over the rounds."""
    lines = ["| | coglet | layerforge | ratio | wanted |", "|---|---:|---:|---:|---|"]
    for row in ROWS:
        values = {side: median(run[row.figure] for run in runs) for side, runs in results[row.load].items()}
        scale = _SCALES[row.unit]
        shown = [f"{values[side] * scale:.2f} {row.unit}".strip() for side in ("coglet", "layerforge")]
        ratio = values["layerforge"] / values["coglet"] if values["coglet"] else 0
        wanted = f"≤ {row.at_most:.2f}" if row.at_most else f"≥ {row.at_least:g}" if row.at_least else ""
        missed = (row.at_most and ratio > row.at_most) or (row.at_least and ratio < row.at_least)
        lines.append(
            f"| {row.label} | {shown[0]} | {shown[1]} | {ratio:.2f} | {wanted}{' (missed)' if missed else ''} |"
        )
    return "\n".join(lines)


def main() -> int:
    """Measure, print the table, and keep every figure as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.runtime", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5, help="length of each load (default: 5)")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"), help="folder for the figures")
    options = parser.parse_args()
    if not shutil.which("wrk"):
        print("error: wrk is not installed\nhint: .ci/setup bench", file=sys.stderr)
        return 1
    try:
        sides = (coglet(default_cache()), layerforge())
        with tempfile.TemporaryDirectory(prefix="layerforge-runtime-bench-") as scratch:
            write_models(Path(scratch))
            results = measure(sides, Path(scratch), options.rounds, options.seconds)
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(format_rows(results))
    options.output.mkdir(parents=True, exist_ok=True)
    taken = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    document = {"taken": taken, "machine": describe_machine(), "rounds": options.rounds, "results": results}
    (options.output / f"runtime-{taken}.json").write_text(json.dumps(document, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
