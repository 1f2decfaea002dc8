"""``layerforge serve``."""

from __future__ import annotations

from pathlib import Path

import click

from layerforge.cli import options


@click.command("serve", short_help="Build a model and serve its HTTP API.")
@options.directory
@options.config_file
@click.option("-p", "--port", default=8393, show_default=True, help="Port to serve on.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to serve on.")
@options.engine
@options.environment
@options.setup_timeout
@options.locked
@options.schema
def command(
    directory: Path | None,
    config_name: str,
    port: int,
    host: str,
    engine: str | None,
    environment: tuple[str, ...],
    setup_timeout: int,
    locked: bool,
    schema: Path | None,
) -> None:
    """Build the model in DIRECTORY (default: here) and serve it until Ctrl-C."""
    from layerforge.cli.session import start_model, stream_logs
    from layerforge.forge import Options

    variables = options.parse_environment(environment)
    chosen = Options(locked, schema, options.created_time())
    with start_model(directory, config_name, chosen, engine, variables, port=port, host=host) as running:
        running.wait_until_ready(setup_timeout)
        running.terminal.note(f"serving on http://{host}:{port} (Ctrl-C stops it)")
        stream_logs(running)
