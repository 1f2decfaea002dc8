"""``layerforge build``."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click
from msgspec.structs import replace

from layerforge.cli import options

if TYPE_CHECKING:
    from layerforge.cli.terminal import Terminal
    from layerforge.registry.eager import EagerUploads
    from layerforge.store import Store


@click.command("build", short_help="Build an image of a model, and push it.")
@options.directory
@options.config_file
@click.option("-t", "--tag", metavar="REF", help="Name of the image (default: `image` of cog.yaml, else the folder's).")
@click.option("--push", is_flag=True, help="Push the image to the registry that its name says.")
@click.option("-o", "--output", "outputs", multiple=True, metavar="KIND:PATH", help="Write dir:PATH or tar:PATH too.")
@click.option(
    "--cache-from",
    "cache",
    multiple=True,
    metavar="REF",
    help="Image whose layers need not be made (default: the tag).",
)
@click.option("--no-remote-cache", is_flag=True, help="Look for layers in this machine's store only.")
@options.platform
@options.base
@options.compression
@options.no_bytecode
@options.locked
@options.offline
@options.schema
def command(
    directory: Path | None,
    config_name: str,
    tag: str | None,
    push: bool,
    outputs: tuple[str, ...],
    cache: tuple[str, ...],
    no_remote_cache: bool,
    platforms: tuple[str, ...],
    base: str | None,
    compression: str | None,
    no_bytecode: bool,
    locked: bool,
    offline: bool,
    schema: Path | None,
) -> None:
    """Build an image of the model in DIRECTORY (default: here), and print its manifest digest."""
    from layerforge.cli.terminal import Terminal, print_data
    from layerforge.forge import Options, build_model, default_name, find_project, load_config, override_storage
    from layerforge.network import forbid_network
    from layerforge.platforms import parse_platforms
    from layerforge.reference import parse_reference
    from layerforge.remote_cache import choose_sources
    from layerforge.sinks import LocalSink, RegistrySink, parse_output
    from layerforge.sinks.content import parse_name
    from layerforge.store import Store

    if offline and (push or cache):
        raise click.UsageError("--offline opens no connection: leave --push and --cache-from out")
    sinks = [parse_output(text) for text in outputs]
    caches = [parse_reference(text) for text in cache]
    with Terminal() as terminal:
        folder = find_project(directory, config_name)
        config = load_config(folder, config_name, terminal, base=base)
        config = override_storage(config, compression, no_bytecode)
        name = tag or config.image or default_name(folder)
        targets = [LocalSink(), *sinks, *([RegistrySink(terminal)] if push else [])]
        for sink in targets:
            sink.check(name)
        known = choose_sources(caches, parse_name(name), push=push and not no_remote_cache)
        chosen = Options(locked, schema, options.created_time(), parse_platforms(platforms), known, offline)
        store = Store()
        try:
            with (
                forbid_network() if offline else nullcontext(),
                _open_eager(name, store, terminal) if push else nullcontext() as eager,
            ):
                built = build_model(folder, config, store, terminal, replace(chosen, eager=eager))
                for sink in targets:
                    sink.deliver(store, built.manifest, name)
        finally:
            store.close()
    print_data(built.manifest.digest)


def _open_eager(name: str, store: Store, terminal: Terminal) -> EagerUploads:
    from layerforge.registry.eager import EagerUploads
    from layerforge.sinks.content import parse_name

    return EagerUploads(parse_name(name), store, terminal)
