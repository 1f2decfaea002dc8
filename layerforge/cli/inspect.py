"""``layerforge inspect``."""

from __future__ import annotations

import click

from layerforge.cli import options


@click.command("inspect", short_help="Tell what an image is made of.")
@click.argument("image", metavar="REF|DIR")
@options.platform
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def command(image: str, platforms: tuple[str, ...], as_json: bool) -> None:
    """Print layers, sizes, labels and packages of an image in a registry, a folder or the store; no layer is read."""
    from layerforge.adopt import adopt_image
    from layerforge.cli.summaries import format_summary, read_summaries
    from layerforge.cli.terminal import Terminal, print_data
    from layerforge.oci import encode
    from layerforge.platforms import parse_platforms
    from layerforge.store import Store

    with Terminal() as terminal:
        store = Store()
        try:
            adopted = adopt_image(image, store, terminal)
            summaries = read_summaries(adopted, store, parse_platforms(platforms))
        finally:
            store.close()
    if as_json:
        print_data(encode({"digest": adopted.descriptor.digest, "images": summaries}).decode())
    else:
        print_data("\n\n".join(map(format_summary, summaries)))
