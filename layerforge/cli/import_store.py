"""``layerforge import-store``."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command("import-store", short_help="Read what `export-store` wrote into this machine's store.")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
def command(file: Path) -> None:
    """Put what FILE (standard input for `-`) holds into the store, every file of it verified.

    What is there already is passed over; if it breaks off, run it again.
    """
    from layerforge.cli.terminal import Terminal
    from layerforge.parcel import import_parcel
    from layerforge.parcel.reading import open_parcel
    from layerforge.store import Store

    with Terminal() as terminal:
        store = Store()
        try:
            if str(file) == "-":
                contents = import_parcel(sys.stdin.buffer, store, "standard input", terminal)
            else:
                with open_parcel(file) as source:
                    contents = import_parcel(source, store, str(file), terminal)
        finally:
            store.close()
        terminal.note(f"the store has all {len(contents.files)} files of it")
