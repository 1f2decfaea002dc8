"""The measurements as a table and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from statistics import median

from benchmarks.environment import Measurement

Results = Mapping[str, Mapping[str, list[Measurement]]]  # scenario -> side -> every run
_HEAD = ("", "docker", "layerforge", "docker : layerforge", "pushed by docker", "pushed by layerforge")


def format_table(results: Results) -> str:
    """A Markdown table: the median time of each side, their ratio, and the median of the bytes pushed."""
    rows = [_HEAD, *(_format_row(scenario, sides) for scenario, sides in results.items())]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    rows.insert(1, tuple("-" * (width - 1) + ":" if column else "-" * width for column, width in enumerate(widths)))
    return "\n".join(_join(row, widths) for row in rows)


def _join(row: Iterable[str], widths: list[int]) -> str:
    first, *others = zip(row, widths, strict=True)
    cells = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
    return f"| {' | '.join(cells)} |"


def _format_row(scenario: str, sides: Mapping[str, list[Measurement]]) -> tuple[str, ...]:
    docker, layerforge = sides.get("docker", []), sides.get("layerforge", [])
    ratio = f"{_seconds(docker) / _seconds(layerforge):.1f}" if docker and layerforge else "-"
    times = [f"{_seconds(runs):.2f} s" if runs else "-" for runs in (docker, layerforge)]
    return (scenario, *times, ratio, *(_pushed(runs) for runs in (docker, layerforge)))


def _seconds(runs: list[Measurement]) -> float:
    return median(run.seconds for run in runs)


def _pushed(runs: list[Measurement]) -> str:
    return f"{median(run.pushed for run in runs) / 1e6:.2f} MB" if runs else "-"


def peak_memory(results: Results, side: str) -> int:
    """The most resident bytes that a side had in any run."""
    return max((run.peak_memory for sides in results.values() for run in sides.get(side, [])), default=0)


def to_json(results: Results, facts: Mapping[str, object]) -> dict[str, object]:
    """Every run, and the facts about where and how it was taken."""
    runs = {
        scenario: {side: [asdict(run) for run in runs] for side, runs in sides.items()}
        for scenario, sides in results.items()
    }
    return {**facts, "results": runs}
