"""``layerforge logout``."""

from __future__ import annotations

import click


@click.command("logout", short_help="Log out of a registry.")
@click.argument("registry", default="docker.io")
def command(registry: str) -> None:
    """Remove what is kept for REGISTRY from Docker's configuration or helper."""
    from layerforge.cli.terminal import Terminal
    from layerforge.reference import parse_reference
    from layerforge.registry.login import forget_login

    host = parse_reference(f"{registry.removeprefix('https://').partition('/')[0]}/x").registry
    with Terminal() as terminal:
        known = forget_login(host)
        terminal.note(f"logged out of {host}" if known else f"not logged in to {host}")
