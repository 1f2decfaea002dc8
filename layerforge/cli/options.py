"""Options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from layerforge.errors import LayerforgeError
from layerforge.layers.headers import EPOCH

F = TypeVar("F", bound=Callable[..., Any])

directory = click.argument("directory", required=False, type=click.Path(path_type=Path, file_okay=False))
config_file = click.option("-f", "--file", "config_name", default="cog.yaml", help="Configuration file to use.")
locked = click.option("--locked", is_flag=True, help="Fail when the lock is missing or stale; resolve nothing.")
offline = click.option("--offline", is_flag=True, help="Open no connection; what is missing is an error. See `fetch`.")
schema = click.option(
    "--openapi-schema",
    "schema",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="COG_OPENAPI_SCHEMA",
    help="Use this OpenAPI document instead of deriving it from the source.",
)
platform = click.option(
    "--platform",
    "platforms",
    multiple=True,
    metavar="OS/ARCH[,…]",
    help="Platforms (default: cog.yaml's, else this one).",
)
base = click.option("--base", metavar="REF", help="Image to build upon, instead of Debian from its packages.")
compression = click.option(
    "--compression",
    type=click.Choice(["gzip", "zstd", "none"]),
    help="How layers are stored (default: cog.yaml's, else gzip).",
)
no_bytecode = click.option("--no-bytecode", is_flag=True, help="Leave packages and code uncompiled: faster to build.")
engine = click.option(
    "--engine",
    type=click.Choice(["docker", "podman", "sandbox"]),
    envvar="LAYERFORGE_ENGINE",
    help="What to run the image with (default: the first that answers).",
)
environment = click.option("-e", "--env", "environment", multiple=True, metavar="NAME=VALUE", help="Set a variable.")
setup_timeout = click.option(
    "--setup-timeout", default=300, show_default=True, metavar="SECONDS", help="How long setup() may take."
)


def created_time() -> int:
    """The image's time in seconds since 1970: SOURCE_DATE_EPOCH, else a fixed one.

    Raises:
        LayerforgeError: SOURCE_DATE_EPOCH is not a number.
    """
    text = os.environ.get("SOURCE_DATE_EPOCH", "")
    if text and not text.isdigit():
        hint = "give seconds since 1970, such as the output of `git log -1 --format=%ct`"
        raise LayerforgeError(f"SOURCE_DATE_EPOCH is not a number: {text!r}", hint=hint)
    return int(text) if text else EPOCH


def parse_environment(items: tuple[str, ...]) -> dict[str, str]:
    """``-e NAME=VALUE`` items; a bare NAME passes on the value it has here."""
    result = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not name:
            raise click.UsageError(f"-e {item}: give NAME=VALUE")
        result[name] = value if equals else os.environ.get(name, "")
    return result
