"""``layerforge lock``."""

from __future__ import annotations

from pathlib import Path

import click

from layerforge.cli import options


@click.command("lock", short_help="Resolve everything a build needs into pylock.layerforge.toml.")
@options.directory
@options.config_file
@options.platform
@options.base
@click.option("--check", is_flag=True, help="Change nothing; fail when the lock is missing or stale.")
def command(
    directory: Path | None, config_name: str, platforms: tuple[str, ...], base: str | None, check: bool
) -> None:
    """Write the lock of the model in DIRECTORY (default: here), unless the one there fits."""
    from layerforge.cli.terminal import Terminal
    from layerforge.forge import choose_platforms, find_project, load_config
    from layerforge.locking import lock_model
    from layerforge.platforms import parse_platforms
    from layerforge.store import Store

    with Terminal() as terminal:
        folder = find_project(directory, config_name)
        config = load_config(folder, config_name, terminal, base=base)
        wanted = choose_platforms(config, parse_platforms(platforms))
        store = Store()
        try:
            lock = lock_model(folder, config, store, terminal, wanted, locked=check)
        finally:
            store.close()
        for platform in lock.platforms:
            debs, wheels = len(platform.debs), len(platform.packages)
            terminal.note(f"{platform.platform}: {platform.release}, {debs} Debian packages, {wheels} wheels")
