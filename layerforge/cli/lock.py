"""``layerforge lock``."""

from __future__ import annotations

from pathlib import Path

import click

from layerforge.cli import options

_EVERYTHING = "*"


@click.command("lock", short_help="Resolve everything a build needs into pylock.layerforge.toml.")
@options.directory
@options.config_file
@options.platform
@options.base
@click.option(
    "--upgrade",
    "upgrade",
    is_flag=False,
    flag_value=_EVERYTHING,
    multiple=True,
    metavar="[NAME]",
    help="Take the newest versions: of everything, or of the Python or Debian package NAME (may be repeated).",
)
@click.option("--check", is_flag=True, help="Change nothing; fail when the lock is missing or stale.")
def command(
    directory: Path | None,
    config_name: str,
    platforms: tuple[str, ...],
    base: str | None,
    upgrade: tuple[str, ...],
    check: bool,
) -> None:
    """Write the lock of the model in DIRECTORY (default: here), unless the one there fits.

    Only what changed since is resolved again, and versions are kept. A bare --upgrade comes last, or before another
    option.
    """
    if check and upgrade:
        raise click.UsageError("--check changes nothing: leave --upgrade out")
    from layerforge.cli.terminal import Terminal
    from layerforge.forge import choose_platforms, find_project, load_config
    from layerforge.locking import lock_model
    from layerforge.platforms import parse_platforms
    from layerforge.staleness import Upgrade
    from layerforge.store import Store

    names = frozenset(name for name in upgrade if name != _EVERYTHING)
    newer = Upgrade(_EVERYTHING in upgrade, names)
    with Terminal() as terminal:
        folder = find_project(directory, config_name)
        config = load_config(folder, config_name, terminal, base=base)
        wanted = choose_platforms(config, parse_platforms(platforms))
        store = Store()
        try:
            lock = lock_model(folder, config, store, terminal, wanted, locked=check, upgrade=newer)
        finally:
            store.close()
        for platform in lock.platforms:
            debs, wheels = len(platform.debs), len(platform.packages)
            terminal.note(f"{platform.platform}: {platform.release}, {debs} Debian packages, {wheels} wheels")
