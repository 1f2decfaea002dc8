"""``layerforge export-store``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from layerforge.cli import options


@click.command("export-store", short_help="Write what builds need into one file, for a machine without a network.")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@click.argument("directories", nargs=-1, type=click.Path(path_type=Path, file_okay=False), metavar="[DIRECTORY]...")
@options.config_file
@options.base
@click.option("--all", "everything", is_flag=True, help="Every download and image of the store.")
def command(file: Path, directories: tuple[Path, ...], config_name: str, base: str | None, everything: bool) -> None:
    """Write what the locks of the models in DIRECTORY... (default: here) name to FILE, or to standard output for `-`.

    Run `layerforge fetch` for each before. The other machine reads it with `layerforge import-store FILE`.
    """
    from layerforge.cli.terminal import Terminal
    from layerforge.forge import find_project, load_config
    from layerforge.locking import lock_model
    from layerforge.parcel import export_parcel, list_everything, list_locked
    from layerforge.store import Store

    if everything and directories:
        raise click.UsageError("--all is everything: leave the folders out")
    if str(file) == "-" and sys.stdout.isatty():
        raise click.UsageError("send standard output to a file or a program")
    with Terminal() as terminal:
        store = Store()
        try:
            if everything:
                contents = list_everything(store, terminal)
            else:
                locks = []
                for directory in directories or (None,):
                    folder = find_project(directory, config_name)
                    config = load_config(folder, config_name, terminal, base=base)
                    locks.append(lock_model(folder, config, store, terminal, (), locked=True))
                contents = list_locked(locks, store)
            export_parcel(contents, store, sys.stdout.buffer if str(file) == "-" else file, terminal)
        finally:
            store.close()
        terminal.note(f"{len(contents.files)} files; read them elsewhere with `layerforge import-store`")
