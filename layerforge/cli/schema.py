"""``layerforge schema``."""

from __future__ import annotations

from pathlib import Path

import click

from layerforge.cli import options


@click.command("schema", short_help="Print the OpenAPI document of a model.")
@options.directory
@options.config_file
@click.option("--json", "as_json", is_flag=True, help="Print the document itself, as JSON.")
@click.option("--execute", is_flag=True, help="Build the image and import the model in it: its code runs.")
@click.option("--from-image", "image", metavar="NAME", help="Import the model in this image that was built before.")
@options.engine
@options.schema
def command(
    directory: Path | None,
    config_name: str,
    as_json: bool,
    execute: bool,
    image: str | None,
    engine: str | None,
    schema: Path | None,
) -> None:
    """Print the inputs and the output of the model in DIRECTORY (default: here), from its source alone."""
    from layerforge.cli.terminal import Terminal, print_data
    from layerforge.documents import load_schema
    from layerforge.forge import find_project, load_config
    from layerforge.oci import encode
    from layerforge.schema import format_table

    with Terminal() as terminal:
        folder = find_project(directory, config_name)
        executed = execute or image is not None
        config = load_config(folder, config_name, terminal, buildable=executed)
        if executed:
            from layerforge.execution import execute_model

            document = execute_model(folder, config, image, engine, terminal)
        else:
            document = load_schema(folder, config, schema, terminal)
    print_data(encode(document).decode() if as_json else format_table(document))
