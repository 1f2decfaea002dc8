"""``layerforge run``."""

from __future__ import annotations

from pathlib import Path

import click

from layerforge.cli import options


@click.command("run", short_help="Build a model and run one prediction.")
@options.directory
@options.config_file
@click.option("-i", "--input", "inputs", multiple=True, metavar="NAME=VALUE", help="An input; NAME=@PATH for a file.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Where to write the output.")
@options.engine
@options.environment
@options.setup_timeout
@options.locked
@options.schema
def command(
    directory: Path | None,
    config_name: str,
    inputs: tuple[str, ...],
    output: Path | None,
    engine: str | None,
    environment: tuple[str, ...],
    setup_timeout: int,
    locked: bool,
    schema: Path | None,
) -> None:
    """Build the model in DIRECTORY (default: here), run one prediction, and print or write its output."""
    from layerforge.cli.session import predict_once, start_model
    from layerforge.forge import Options

    variables = options.parse_environment(environment)
    chosen = Options(locked, schema, options.created_time())
    with start_model(directory, config_name, chosen, engine, variables, inputs=inputs) as running:
        running.wait_until_ready(setup_timeout)
        predict_once(running, output)
