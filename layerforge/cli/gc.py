"""``layerforge gc``."""

from __future__ import annotations

import re

import click

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


@click.command("gc", short_help="Remove from the store what has not been used for long.")
@click.option(
    "--max-size", default="20GB", show_default=True, metavar="SIZE", help="What may stay, such as 500MB or 0."
)
@click.option("--dry-run", is_flag=True, help="Only tell what would go.")
def command(max_size: str, dry_run: bool) -> None:
    """Remove layers, downloads and unpacked images, those used longest ago first, until the store has SIZE.

    Images that have a tag in the store stay whole, and so does what was used in the last six hours.
    """
    from layerforge.cli.terminal import Terminal
    from layerforge.collect import collect
    from layerforge.progress import format_size
    from layerforge.store import Store

    most = parse_size(max_size)
    with Terminal() as terminal:
        store = Store()
        try:
            done = collect(store, most, terminal, dry_run=dry_run)
        finally:
            store.close()
        verb = "would remove" if dry_run else "removed"
        terminal.note(f"{verb} {done.count} items, {format_size(done.removed)}; {format_size(done.kept)} stay")


def parse_size(text: str) -> int:
    """``text`` in bytes: a number with ``kB``, ``MB``, ``GB`` or ``TB``.

    Raises:
        click.UsageError: it is not that.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)b?", text.strip().lower())
    if match is None:
        raise click.UsageError(f"--max-size {text}: give a size such as 500MB or 20GB")
    return int(float(match[1]) * _UNITS[match[2]])
