"""``layerforge build``."""

from __future__ import annotations

from pathlib import Path

import click

from layerforge.cli import options


@click.command("build", short_help="Build an image of a model, and push it.")
@options.directory
@options.config_file
@click.option("-t", "--tag", metavar="REF", help="Name of the image (default: `image` of cog.yaml, else the folder's).")
@click.option("--push", is_flag=True, help="Push the image to the registry that its name says.")
@click.option("-o", "--output", "outputs", multiple=True, metavar="KIND:PATH", help="Write dir:PATH or tar:PATH too.")
@options.platform
@options.base
@options.locked
@options.schema
def command(
    directory: Path | None,
    config_name: str,
    tag: str | None,
    push: bool,
    outputs: tuple[str, ...],
    platforms: tuple[str, ...],
    base: str | None,
    locked: bool,
    schema: Path | None,
) -> None:
    """Build an image of the model in DIRECTORY (default: here), and print its manifest digest."""
    from layerforge.cli.terminal import Terminal, print_data
    from layerforge.forge import Options, build_model, default_name, find_project, load_config
    from layerforge.platforms import parse_platforms
    from layerforge.sinks import LocalSink, RegistrySink, parse_output
    from layerforge.store import Store

    sinks = [parse_output(text) for text in outputs]
    chosen = Options(locked, schema, options.created_time(), parse_platforms(platforms))
    with Terminal() as terminal:
        folder = find_project(directory, config_name)
        config = load_config(folder, config_name, terminal, base=base)
        name = tag or config.image or default_name(folder)
        targets = [LocalSink(), *sinks, *([RegistrySink(terminal)] if push else [])]
        for sink in targets:
            sink.check(name)
        store = Store()
        try:
            built = build_model(folder, config, store, terminal, chosen)
            for sink in targets:
                sink.deliver(store, built.manifest, name)
        finally:
            store.close()
    print_data(built.manifest.digest)
