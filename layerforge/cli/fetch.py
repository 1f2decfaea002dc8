"""``layerforge fetch``."""

from __future__ import annotations

from pathlib import Path

import click

from layerforge.cli import options


@click.command("fetch", short_help="Download everything that the lock names, for building offline.")
@options.directory
@options.config_file
@options.platform
@options.base
@options.locked
def command(
    directory: Path | None, config_name: str, platforms: tuple[str, ...], base: str | None, locked: bool
) -> None:
    """Bring everything that the lock of the model in DIRECTORY (default: here) names into the store.

    Afterwards `layerforge build --offline` needs no network.
    """
    from layerforge.cli.terminal import Terminal
    from layerforge.fetch import fetch_lock, list_items
    from layerforge.forge import choose_platforms, find_project, load_config
    from layerforge.locking import lock_model
    from layerforge.platforms import parse_platforms
    from layerforge.progress import format_size
    from layerforge.store import Store

    with Terminal() as terminal:
        folder = find_project(directory, config_name)
        config = load_config(folder, config_name, terminal, base=base)
        wanted = choose_platforms(config, parse_platforms(platforms))
        store = Store()
        try:
            lock = lock_model(folder, config, store, terminal, wanted, locked=locked)
            fetch_lock(lock, folder, store, terminal)
        finally:
            store.close()
        items = {item.digest: item for section in lock.platforms for item in list_items(section)}
        total = format_size(sum(item.size for item in items.values()))
        terminal.note(f"the store has all {len(items)} files of the lock ({total})")
